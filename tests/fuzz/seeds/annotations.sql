-- check: edges
-- every: 15s          how often
-- timeout: 800ms      this check's own limit
-- min: 1
-- max: 1000000000
-- severity: warn
-- fall: 3             down after three failures in a row
-- rise: 2             up again after two good answers
SELECT count(*) FROM edges;
