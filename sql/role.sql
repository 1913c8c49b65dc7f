-- The login that the probe uses: it may read the five tables, and what every role may (PUBLIC: see below).
-- It can be run again, after new tables too. As a superuser, or a role that may create roles and owns the tables,
-- connected to the database that is probed:
--   psql -v ON_ERROR_STOP=1 -v password=... -d DATABASE -f sql/role.sql
-- Without -v password a new role gets none: for peer, certificate or GSSAPI authentication. Other variables:
--   -v role=NAME     instead of health_api
--   -v schema=NAME   where the tables are, instead of public
--   -v limit=NUMBER  of connections, instead of 50
--
-- Who lists processes sees -v password=..., and sudo logs it. A line \set password '...' before this file is seen by
-- nobody; the README makes one. A server with log_statement=ddl or all writes the password to its log. Leave it out there,
-- and set it with psql's \password, which sends it encrypted.

\if :{?role}
\else
  \set role health_api
\endif
\if :{?schema}
\else
  \set schema public
\endif
\if :{?limit}
\else
  \set limit 50
\endif

SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') AS is_new \gset
\if :is_new
  CREATE ROLE :"role" LOGIN;
\endif

ALTER ROLE :"role" LOGIN;

-- Only where it is needed: even to take them away is a superuser's right, and a managed server has none.
SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls AS may_too_much
  FROM pg_roles WHERE rolname = :'role' \gset
\if :may_too_much
  ALTER ROLE :"role" NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
\endif

-- Each health-api keeps one connection, and has a second one while a fresh one takes its place. A check that the server
-- cannot cancel may hold one more until it ends. So ten nodes need 20, and some to spare.
ALTER ROLE :"role" CONNECTION LIMIT :limit;

-- A password is the role's in all databases of the server. One that is there already may be in use for another database.
\if :{?password}
  \if :is_new
    SET password_encryption = 'scram-sha-256'; -- PostgreSQL 13 and older would keep it as md5
    ALTER ROLE :"role" PASSWORD :'password';
  \else
    \warn 'The role is there already and keeps its password. To change it: \\password' :role
  \endif
\endif

-- The program sets its own, shorter limits for each query, and makes each of them read-only; these hold for whoever else
-- uses the login. An older version of this file made the role read-only as a whole, and then libpq takes a primary for a
-- standby (PGTARGETSESSIONATTRS=read-write).
ALTER ROLE :"role" RESET default_transaction_read_only;
ALTER ROLE :"role" SET statement_timeout = '5s';
ALTER ROLE :"role" SET lock_timeout = '2s';
ALTER ROLE :"role" SET idle_in_transaction_session_timeout = '10s';

-- A count takes one process of the server, whatever the size of its table: the workers are for the application's
-- queries, and starting them is what delays the others most. Remove the line if a count is too slow without them.
ALTER ROLE :"role" SET max_parallel_workers_per_gather = 0;

-- In this database: where its tables are. pg_catalog comes first, so that nobody's own count() is called.
SELECT format('ALTER ROLE %I IN DATABASE %I SET search_path = pg_catalog, %I',
              :'role', current_database(), :'schema') \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), :'role') \gexec
GRANT USAGE ON SCHEMA :"schema" TO :"role";

SET search_path = :"schema";
GRANT SELECT ON hypotheses, analyses, entities, edges, debates TO :"role";

-- What PUBLIC has, it has as well: by default to connect to other databases, to make temporary tables, to call functions,
-- and before PostgreSQL 15 to create tables in the schema public. That is for the owner of the database to revoke.
