-- How old are the data of this standby? The count is in seconds. It is 0 while the standby is connected and has
-- replayed all that it has received, otherwise the age of the last commit that it has replayed. On a primary it is 0.
-- PostgreSQL 12 to 18. No GRANT is needed.
--
-- The age alone would be wrong, because it grows while an idle primary has nothing to send. The positions alone would
-- be wrong, too: they stay equal after the connection is lost. So without a connection the age counts, even if the
-- primary is idle; a standby that only restores archived files always shows the age.
-- 1000000000000000 means that the standby is behind or cut off, and has replayed no commit since it started.
--
-- Where it is wrong: if the primary has committed nothing for a while and then loads much in one transaction, the count
-- is the age of the last commit, although the standby may keep up. While a standby catches up after an interruption,
-- the count may be 0 in between. If the network goes silent, the standby notices it only after wal_receiver_timeout (60
-- s). A standby of a standby does not see that the first one is cut off. The clock of the standby is compared with that
-- of the primary. A row that the primary updates each second has only the last of these faults: last_write in
-- docs/write-outages.md.
--
-- It is a warning because one large transaction delays all standbys alike, and a load balancer would lose all of them
-- together. If recovery_min_apply_delay is set, raise the limit above that delay.

-- check: replay_lag
-- max: 60          seconds
-- severity: warn
SELECT CASE
         WHEN NOT pg_is_in_recovery() THEN 0
         WHEN EXISTS (SELECT FROM pg_stat_wal_receiver)
              AND pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn() THEN 0
         ELSE coalesce(abs(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()))::bigint,
                       1000000000000000)
       END;
