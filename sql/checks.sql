-- The checks of the sample database, one count each. The file is plain SQL: psql -f runs it as it stands.
--
-- Between a line "check" and its query may stand, each as a comment of its own: how often it runs, its own limit, the
-- least and the greatest good value, and whether a failure degrades the service or is only a warning. The manual page
-- health-api-checks(5) has the list. Everything else after two dashes is a comment.

-- check: hypotheses
SELECT count(*) FROM hypotheses;

-- check: analyses
SELECT count(*) FROM analyses;

-- check: entities
SELECT count(*) FROM entities;

-- Counting 714,201 rows costs tens of milliseconds of a core on the server. Where that is too much at each interval,
-- add an annotation such as "every" 15s, or estimate (below).
-- check: edges
SELECT count(*) FROM edges;

-- check: debates
SELECT count(*) FROM debates;

-- A table too large to be counted: the planner's estimate costs nothing and is as new as the last ANALYZE or VACUUM.
-- It is -1 before the first one. Remove the dashes before the query to use it.
--
--   -- check: edges_estimate
--   -- min: 1
--   SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'edges'::regclass;
