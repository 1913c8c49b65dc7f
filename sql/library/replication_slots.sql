-- How much WAL does a replication slot retain? The count is in bytes, for the slot that is the furthest behind. A slot
-- keeps the WAL for its reader, even for one that never comes back, until the disk is full and the server stops.
-- PostgreSQL 12 to 18. No GRANT is needed.
--
-- 1000000000000000 means that a slot is lost: because of max_slot_wal_keep_size (PostgreSQL 13) the server has removed
-- WAL that its reader still needs. The disk is safe then, but that standby or subscriber can never catch up. The count
-- stays until you drop the slot.
--
-- Where it is wrong: it does not miss a slot that somebody has dropped; without any slot it is 0. It does not count the
-- rows that a slot keeps VACUUM from removing (xmin). A standby shows its own slots, not those of its primary.
--
-- It is a warning because the server works until the disk is full. Set the limit well below the free space of the
-- volume with the WAL, and below max_slot_wal_keep_size.

-- check: replication_slots
-- every: 15s
-- max: 10737418240  bytes: 10 GiB
-- severity: warn
SELECT CASE
         WHEN bool_or(to_jsonb(slot) ->> 'wal_status' = 'lost') THEN 1000000000000000  -- 12 has no such column
         WHEN count(restart_lsn) = 0 THEN 0  -- a slot that nobody has used yet retains nothing
         ELSE max(abs(pg_wal_lsn_diff(
                CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())
                     ELSE pg_current_wal_lsn() END,
                restart_lsn)))
       END
  FROM pg_replication_slots AS slot;
