-- Is the WAL archived? The count is in seconds: for how long the oldest finished file has been waiting to be archived.
-- So it also shows an archive_command that hangs or is too slow, which pg_stat_archiver does not count as a failure. It
-- forgives a failure that was made up for, and it stays 0 on a server that has nothing to archive.
-- PostgreSQL 12 to 18. As a superuser, in the database that health-api probes:
--   GRANT EXECUTE ON FUNCTION pg_ls_archive_statusdir() TO health_api;
-- pg_monitor contains this right, and many others. Without it the check fails with the reason access.
--
-- 1000000000000000 means that archive_mode is off: nothing is archived.
--
-- Where it is wrong: it believes archive_command. One that reports success and stores nothing, such as /bin/true, looks
-- perfect; only a restore proves an archive. A standby with archive_mode=on archives nothing until its promotion, and
-- shows 0. Without archive_timeout, a quiet server may finish no file for hours, so its last commits wait unseen. The
-- check lists a directory: about 20 ms with 6,000 files, and 0.4 s when 100,000 wait.
--
-- It is a warning because the server works: the danger is in the next restore, and at last in a full disk.

-- check: wal_archiving
-- every: 30s
-- max: 300         seconds
-- severity: warn
SELECT CASE
         WHEN current_setting('archive_mode') = 'off' THEN 1000000000000000
         ELSE coalesce(max(greatest(extract(epoch FROM clock_timestamp() - modification), 0)), 0)::bigint
       END
  FROM pg_ls_archive_statusdir()
 WHERE name LIKE '%.ready';
