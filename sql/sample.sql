-- Generates rows for the schema: 49251 entities, 714201 edges, 1171 hypotheses, 398 analyses, 607 debates. The rows are
-- the same each time. Load it into empty tables:
--   psql -v ON_ERROR_STOP=1 -1 -d DATABASE -f sql/sample.sql

INSERT INTO entities (kind, name, external_id)
SELECT (ARRAY['gene', 'protein', 'disease', 'drug', 'pathway', 'paper'])[1 + n % 6], 'entity ' || n, 'KB:' || n
FROM generate_series(1, 49251) AS n;

-- 714201 = 14 * 49251 + 24687: fourteen edges from every entity and a fifteenth from the first 24687. The steps are all
-- different and below 49251, so that no edge occurs twice and none leads to its own source. PostgreSQL builds the keys
-- and checks the references once, at the end, which takes a third of the time of doing it row by row.
ALTER TABLE edges DROP CONSTRAINT edges_pkey,
  DROP CONSTRAINT edges_source_id_fkey, DROP CONSTRAINT edges_target_id_fkey;
DROP INDEX edges_target_id_idx;

INSERT INTO edges (source_id, target_id, relation, weight)
SELECT source, 1 + (source - 1 + step * 3511) % 49251,
       (ARRAY['binds', 'inhibits', 'activates', 'causes', 'treats', 'cites'])[1 + (source + step) % 6],
       ((source * step) % 1001) / 1000.0
FROM generate_series(1, 49251) AS source, generate_series(1, 15) AS step
WHERE step <= 14 OR source <= 24687;

ALTER TABLE edges ADD PRIMARY KEY (source_id, target_id, relation),
  ADD FOREIGN KEY (source_id) REFERENCES entities (id) ON DELETE CASCADE,
  ADD FOREIGN KEY (target_id) REFERENCES entities (id) ON DELETE CASCADE;
CREATE INDEX edges_target_id_idx ON edges (target_id);

INSERT INTO hypotheses (entity_id, title, state, score)
SELECT 1 + (n * 41) % 49251, 'hypothesis ' || n, (ARRAY['open', 'supported', 'refuted', 'retired'])[1 + n % 4],
       CASE WHEN n % 3 = 0 THEN NULL ELSE (n % 1001) / 1000.0 END
FROM generate_series(1, 1171) AS n;

INSERT INTO analyses (hypothesis_id, method, result, finished_at)
SELECT n, 'method ' || n % 7, jsonb_build_object('p', (n % 100) / 100.0),
       CASE WHEN n % 10 = 0 THEN NULL ELSE timestamptz '2026-01-01 00:00:00Z' + n * interval '1 hour' END
FROM generate_series(1, 398) AS n;

INSERT INTO debates (analysis_id, position, argument)
SELECT 1 + n % 398, CASE WHEN n % 2 = 0 THEN 'for' ELSE 'against' END, 'argument ' || n
FROM generate_series(1, 607) AS n;

ANALYZE hypotheses, analyses, entities, edges, debates;
