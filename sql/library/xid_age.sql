-- Is the server about to run out of transaction ids? The count is the age of the oldest id that VACUUM has not frozen,
-- in transactions, over all databases; the ids of shared row locks (multixacts) likewise. The server refuses each write
-- 3 million before 2147483648 (PostgreSQL 12 and 13: one million).
-- PostgreSQL 12 to 18. No GRANT is needed.
--
-- An age of 200 million is no fault: at autovacuum_freeze_max_age (multixacts: 400 million) autovacuum begins to freeze
-- a table, and a large one takes hours. At a billion it does not keep up, or something holds it up: an old transaction,
-- a prepared one, a replication slot. At 5,000 transactions a second, 2.6 days remain then.
--
-- Where it is wrong: if you have raised autovacuum_freeze_max_age, an age up to there is no fault; set the limit above
-- it. A standby shows the age of its primary, and only a VACUUM there helps.
--
-- It is a warning because nothing is refused yet, and every node sees the same age.

-- check: xid_age
-- every: 1m
-- max: 1000000000  transactions
-- severity: warn
SELECT max(greatest(age(datfrozenxid), mxid_age(datminmxid))) FROM pg_database;
