-- The login that the probe uses: it may read the five tables and nothing else. Can be run again, after new tables too.
-- As a superuser, or a role that may create roles and owns the tables, connected to the database that is probed:
--   psql -v ON_ERROR_STOP=1 -v password=... -d DATABASE -f sql/role.sql
-- Without -v password the role gets none: for peer, certificate or GSSAPI authentication.

SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'health_api') AS is_new \gset
\if :is_new
  CREATE ROLE health_api LOGIN;
\endif

ALTER ROLE health_api LOGIN;

-- Only where it is needed: even to take them away is a superuser's right, and a managed server has none.
SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls AS may_too_much
  FROM pg_roles WHERE rolname = 'health_api' \gset
\if :may_too_much
  ALTER ROLE health_api NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
\endif

-- One connection is kept, a second is there while a fresh one takes its place; the rest is for the orphans of
-- connections that were dropped at a deadline and that the server has not ended yet, and for --once by hand.
ALTER ROLE health_api CONNECTION LIMIT 10;

\if :{?password}
  SET password_encryption = 'scram-sha-256'; -- PostgreSQL 13 and older would keep it as md5
  ALTER ROLE health_api PASSWORD :'password';
\endif

-- The program sets its own, shorter limits for each query; these hold for whoever else uses the login.
ALTER ROLE health_api SET default_transaction_read_only = on;
ALTER ROLE health_api SET statement_timeout = '5s';
ALTER ROLE health_api SET lock_timeout = '2s';
ALTER ROLE health_api SET idle_in_transaction_session_timeout = '10s';
ALTER ROLE health_api SET search_path = pg_catalog, public; -- nobody's count() in public

-- A count takes one process of the server, whatever the size of its table: the workers are for the application's
-- queries, and starting them is what delays the others most. Remove the line if a count is too slow without them.
ALTER ROLE health_api SET max_parallel_workers_per_gather = 0;

SELECT format('GRANT CONNECT ON DATABASE %I TO health_api', current_database()) \gexec
GRANT USAGE ON SCHEMA public TO health_api;
GRANT SELECT ON hypotheses, analyses, entities, edges, debates TO health_api;
