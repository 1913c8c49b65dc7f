-- A knowledge base of a research team: entities and the edges between them, hypotheses about them, analyses that test
-- the hypotheses, debates that weigh the analyses. Load it into an empty database:
--   psql -v ON_ERROR_STOP=1 -1 -d DATABASE -f sql/schema.sql

CREATE TABLE entities (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind        text        NOT NULL CHECK (kind IN ('gene', 'protein', 'disease', 'drug', 'pathway', 'paper')),
  name        text        NOT NULL CHECK (name <> ''),
  external_id text        UNIQUE,
  created_at  timestamptz NOT NULL DEFAULT now(),
  UNIQUE (kind, name)
);
COMMENT ON TABLE  entities             IS 'The things that are known: nodes of the graph';
COMMENT ON COLUMN entities.kind        IS 'What sort of thing it is';
COMMENT ON COLUMN entities.name        IS 'Preferred name, unique within its kind';
COMMENT ON COLUMN entities.external_id IS 'Identifier in a public catalogue, if it has one';

CREATE TABLE edges (
  source_id  bigint   NOT NULL REFERENCES entities (id) ON DELETE CASCADE,
  target_id  bigint   NOT NULL REFERENCES entities (id) ON DELETE CASCADE,
  relation   text     NOT NULL CHECK (relation IN ('binds', 'inhibits', 'activates', 'causes', 'treats', 'cites')),
  weight     real     NOT NULL DEFAULT 1.0 CHECK (weight >= 0 AND weight <= 1),
  PRIMARY KEY (source_id, target_id, relation),
  CHECK (source_id <> target_id)
);
COMMENT ON TABLE  edges          IS 'Directed relations between two entities';
COMMENT ON COLUMN edges.relation IS 'What the source does to the target';
COMMENT ON COLUMN edges.weight   IS 'Confidence from 0 to 1';

CREATE TABLE hypotheses (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  entity_id  bigint      NOT NULL REFERENCES entities (id),
  title      text        NOT NULL CHECK (title <> ''),
  state      text        NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'supported', 'refuted', 'retired')),
  score      numeric(4, 3) CHECK (score BETWEEN 0 AND 1),
  created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE  hypotheses           IS 'Statements about an entity that can turn out to be wrong';
COMMENT ON COLUMN hypotheses.entity_id IS 'What it is about';
COMMENT ON COLUMN hypotheses.score     IS 'Belief from 0 to 1; NULL until a first analysis';

CREATE TABLE analyses (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  hypothesis_id bigint      NOT NULL REFERENCES hypotheses (id) ON DELETE CASCADE,
  method        text        NOT NULL,
  result        jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(result) = 'object'),
  finished_at   timestamptz
);
COMMENT ON TABLE  analyses             IS 'Tests of a hypothesis, one row a run';
COMMENT ON COLUMN analyses.finished_at IS 'NULL while it runs';

CREATE TABLE debates (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  analysis_id bigint      NOT NULL REFERENCES analyses (id) ON DELETE CASCADE,
  position    text        NOT NULL CHECK (position IN ('for', 'against')),
  argument    text        NOT NULL CHECK (argument <> ''),
  created_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE  debates          IS 'Arguments about an analysis';
COMMENT ON COLUMN debates.position IS 'Which side it takes';

-- Rows are also looked up by their foreign keys, for which PostgreSQL creates no index.
CREATE INDEX edges_target_id_idx         ON edges (target_id);
CREATE INDEX hypotheses_entity_id_idx    ON hypotheses (entity_id);
CREATE INDEX analyses_hypothesis_id_idx  ON analyses (hypothesis_id);
CREATE INDEX debates_analysis_id_idx     ON debates (analysis_id);
