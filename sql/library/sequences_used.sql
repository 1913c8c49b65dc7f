-- Is a sequence near its end? The count is in percent of the values that it can give out, for the sequence of this
-- database that has used the most. After the last one, each INSERT is an error. The end is that of the sequence, or
-- that of a column which it fills, if it comes first: a bigint sequence fails an integer column after 2147483647.
-- PostgreSQL 12 to 18. As the owner of the sequences, for each schema that has some:
--   GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO health_api;
--   ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON SEQUENCES TO health_api;
-- The second line is for sequences that the same owner creates later. One sequence without the right fails the check
-- with the reason access, and the log names it: the server would show it as never used.
--
-- 1000000000000000 means that this database has no sequence, or more than 1,000. Reading a sequence takes a lock until
-- the check ends, and too many would fill the lock table of the server. In that case choose some in the query. With
-- 1,000 serial columns the check takes about 0.1 s.
--
-- Where it is wrong: it does not know that a function, a trigger or the application puts the values into a column, nor
-- that an integer column elsewhere refers to a bigint key. A sequence with CYCLE has no end, but its values may be
-- taken.
--
-- It is a warning because the server works, and every node sees the same sequences.

-- check: sequences_used
-- every: 5m
-- max: 80          percent
-- severity: warn
SELECT CASE WHEN (SELECT count(*) FROM pg_sequence) > 1000 THEN 1000000000000000 ELSE (
  SELECT coalesce(max(floor(CASE
           WHEN last IS NULL THEN 0  -- never used
           WHEN seqcycle AND low = seqmin AND high = seqmax THEN 0
           ELSE 100 - 100 * (CASE WHEN seqincrement > 0 THEN high - last ELSE last - low END) / greatest(high - low, 1)
         END)), 1000000000000000)
    FROM (SELECT seqcycle, seqincrement, seqmin, seqmax,
                 greatest(seqmin, -narrowest - 1)::numeric AS low,
                 least(seqmax, narrowest)::numeric AS high,
                 CASE WHEN has_sequence_privilege(seqrelid, 'SELECT, USAGE') THEN pg_sequence_last_value(seqrelid)
                      ELSE query_to_xml(format('SELECT last_value FROM %s', seqrelid::regclass), true, false, '')
                           ::text::bigint  -- is refused; PostgreSQL 18 would return NULL, as for one never used
                 END AS last
            FROM pg_sequence
            JOIN pg_class ON pg_class.oid = seqrelid
            LEFT JOIN (
              SELECT seqrelid, min(CASE coalesce(nullif(typbasetype, 0), pg_type.oid)  -- a domain has a base type
                                     WHEN 'smallint'::regtype THEN 32767
                                     WHEN 'integer'::regtype THEN 2147483647 END) AS narrowest
                FROM (SELECT objid, refobjid, refobjsubid  -- the column that owns the sequence
                        FROM pg_depend
                       WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
                         AND deptype IN ('a', 'i')
                      UNION ALL
                      SELECT refobjid, adrelid, adnum  -- a column that has it in its default
                        FROM pg_depend JOIN pg_attrdef ON pg_attrdef.oid = objid
                       WHERE classid = 'pg_attrdef'::regclass AND refclassid = 'pg_class'::regclass
                     ) AS filled (seqrelid, attrelid, attnum)
                JOIN pg_sequence USING (seqrelid)
                JOIN pg_attribute USING (attrelid, attnum)
                JOIN pg_type ON pg_type.oid = atttypid
               GROUP BY seqrelid) AS columns USING (seqrelid)
           WHERE relpersistence = 'p'
              OR relpersistence = 'u' AND NOT pg_is_in_recovery()  -- PostgreSQL 15; a standby has no data of these
         ) AS sequences) END;
