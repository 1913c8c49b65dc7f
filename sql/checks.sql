-- The checks of the sample database, one count each. The file is plain SQL: psql -f runs it unchanged.
--
-- Between a line "check" and its query there may be annotations, each in a comment of its own: how often the check
-- runs, its time limit, the lowest and the highest good value, and whether a failure degrades the service or is only a
-- warning. The manual page health-api-checks(5) lists them. Everything else after two dashes is a comment.

-- check: hypotheses
SELECT count(*) FROM hypotheses;

-- check: analyses
SELECT count(*) FROM analyses;

-- check: entities
SELECT count(*) FROM entities;

-- Counting 714,201 rows costs tens of milliseconds of a core on the server. If this is too much for each interval, add
-- an annotation such as "every" 15s, or use an estimate (below).
-- check: edges
SELECT count(*) FROM edges;

-- check: debates
SELECT count(*) FROM debates;

-- For a table that is too large to count, the planner's estimate costs nothing. It is as recent as the last ANALYZE or
-- VACUUM, and it is -1 before the first one. Remove the dashes before the query to use it.
--
--   -- check: edges_estimate
--   -- min: 1
--   SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'edges'::regclass;
