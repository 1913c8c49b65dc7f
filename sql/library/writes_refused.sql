-- Would the server refuse a write? The count is 0 if it would not, otherwise the sum of its reasons:
--   1  it is in recovery: a standby, or a primary whose promotion is missing
--   2  default_transaction_read_only is on for this login, its database or the server: some providers do this when the
--      disk is nearly full
--   4  transaction ids have run out: PostgreSQL does not assign the last 3 million (12 and 13: the last million)
-- PostgreSQL 12 to 18. No GRANT is needed.
--
-- Where it is wrong: health-api never writes, so a 0 does not prove that a write succeeds. A COMMIT that waits for
-- ever, because the volume with the WAL hangs or the only synchronous standby is lost, leaves the count at 0. The
-- position of the WAL would not show that either, because it stands still on any idle server. docs/write-outages.md has
-- the check for it. A setting that belongs to another login (ALTER ROLE app SET default_transaction_read_only) is not
-- seen. Behind PgBouncer, ALTER DATABASE takes effect only on new server connections.
--
-- It fails the node because an application that must write cannot work without it. Do not use it for a standby. If the
-- application can also work without writes, change fail to warn: every node sees the same refusal, so a failover takes
-- all of them out at once.

-- check: writes_refused
-- max: 0
-- severity: fail
SELECT pg_is_in_recovery()::int
     + 2 * (current_setting('default_transaction_read_only') = 'on')::int
     + 4 * (max(age(datfrozenxid)) > 2144483646)::int  -- 2^31 - 1, less 3 million
  FROM pg_database;
