-- How many of the connections are in use that an application may have? The count is in percent of max_connections, less
-- those that superuser_reserved_connections and reserved_connections (PostgreSQL 16) keep for others. From 100 on, the
-- server refuses an ordinary login, and health-api reports that the database is saturated.
-- PostgreSQL 12 to 18. No GRANT is needed.
-- Without pg_read_all_stats the login cannot tell a client from a parallel or background worker of a user, and counts
-- these, too: at most max_worker_processes (8).
--
-- Where it is wrong: a CONNECTION LIMIT of a role or a database may refuse logins long before. Behind PgBouncer the
-- count has only its server connections; PgBouncer alone knows how many clients wait there. The sessions of health-api
-- count.
--
-- It is a warning because the server still works, and a node that is taken out does not give up its connections.

-- check: connections_used
-- every: 5s
-- max: 80          percent
-- severity: warn
SELECT 100 * count(*) / (current_setting('max_connections')::int
                         - current_setting('superuser_reserved_connections')::int
                         - coalesce(current_setting('reserved_connections', true)::int, 0))
  FROM pg_stat_activity
 WHERE datid IS NOT NULL AND usesysid IS NOT NULL  -- processes of the server itself lack one of them
   AND coalesce(backend_type, 'client backend') = 'client backend'
   AND pid NOT IN (SELECT pid FROM pg_stat_replication);  -- max_wal_senders limits these
