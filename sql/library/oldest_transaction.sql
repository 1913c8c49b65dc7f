-- How long has the oldest transaction been open? The count is in seconds, over all databases of the server. An open
-- transaction keeps its locks, and VACUUM removes no row that it may still see. Prepared transactions count: they
-- outlive their session, and a restart.
-- PostgreSQL 12 to 18. As a superuser:
--   GRANT pg_read_all_stats TO health_api;
-- With this right the login can also read the queries of all users. If that is too much, let a function return the
-- number, as docs/write-outages.md does for waiting_commits. Without the right the server hides the transactions of
-- other users, which would look as if there were none. So the check asks for the right, and fails with the reason
-- access; the log then has "permission denied for tablespace pg_global".
--
-- Where it is wrong: pg_dump and a long report are one transaction each, and hold up VACUUM like any other; if yours
-- take longer, raise the limit. A replication slot can hold up VACUUM without a transaction. Autovacuum and the initial
-- copy of a logical subscription do not count, because they take as long as their table is large. On a standby, the
-- count has only the queries of that standby.
--
-- It is a warning because the server works, and the fault is in a client.

-- check: oldest_transaction
-- every: 15s
-- max: 3600        seconds
-- severity: warn
SELECT CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN
         (SELECT extract(epoch FROM clock_timestamp() - min(began))::bigint
            FROM (SELECT xact_start FROM pg_stat_activity WHERE backend_type = 'client backend'
                  UNION ALL
                  SELECT prepared FROM pg_prepared_xacts) AS open (began))
       ELSE pg_tablespace_size('pg_global')  -- needs the same right, and is refused without it
       END;
