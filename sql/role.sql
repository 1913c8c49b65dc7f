-- The login that the probe uses. It may read the five tables, and whatever every role may read (PUBLIC: see below).
-- You can run this file again, for example after you have added tables. Run it as a superuser, or as a role that may
-- create roles and owns the tables, connected to the database that health-api probes:
--   psql -v ON_ERROR_STOP=1 -v password=... -d DATABASE -f sql/role.sql
-- Without -v password a new role gets none: for peer, certificate or GSSAPI authentication. Other variables:
--   -v role=NAME     instead of health_api
--   -v schema=NAME   where the tables are, instead of public
--   -v limit=NUMBER  of connections, instead of 50
--
-- Whoever lists the processes sees -v password=..., and sudo logs it. Nobody sees a line \set password '...' before
-- this file; the README generates one. A server with log_statement=ddl or all writes the password to its log. On such a
-- server, leave the password out, and set it with psql's \password, which sends it encrypted.

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

-- Only if necessary: only a superuser may revoke these rights, and a managed server has no superuser.
SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls AS may_too_much
  FROM pg_roles WHERE rolname = :'role' \gset
\if :may_too_much
  ALTER ROLE :"role" NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
\endif

-- Each health-api keeps one connection, and has a second one while a fresh one replaces it. A check that the server
-- cannot cancel may hold one more until it ends. So ten nodes need 20, and some in reserve.
ALTER ROLE :"role" CONNECTION LIMIT :limit;

-- A role has one password for all databases of the server. An existing one may be in use for another database.
\if :{?password}
  \if :is_new
    SET password_encryption = 'scram-sha-256'; -- PostgreSQL 13 and older would store it as md5
    ALTER ROLE :"role" PASSWORD :'password';
  \else
    \warn 'The role is there already and keeps its password. To change it: \\password' :role
  \endif
\endif

-- The program sets its own, shorter limits for each query, and makes each query read-only. The limits here are for
-- other users of the login. An older version of this file made the role read-only as a whole; libpq then takes a
-- primary for a standby (PGTARGETSESSIONATTRS=read-write).
ALTER ROLE :"role" RESET default_transaction_read_only;
ALTER ROLE :"role" SET statement_timeout = '5s';
ALTER ROLE :"role" SET lock_timeout = '2s';
ALTER ROLE :"role" SET idle_in_transaction_session_timeout = '10s';

-- A count uses one process of the server, whatever the size of its table. The parallel workers are for the queries of
-- the application, and starting workers delays other queries most. Remove this line if a count is too slow without
-- them.
ALTER ROLE :"role" SET max_parallel_workers_per_gather = 0;

-- Where the tables are in this database. pg_catalog comes first, so that no other count() is called.
SELECT format('ALTER ROLE %I IN DATABASE %I SET search_path = pg_catalog, %I',
              :'role', current_database(), :'schema') \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), :'role') \gexec
GRANT USAGE ON SCHEMA :"schema" TO :"role";

SET search_path = :"schema";
GRANT SELECT ON hypotheses, analyses, entities, edges, debates TO :"role";

-- The role may also do what PUBLIC may: by default it can connect to other databases, create temporary tables and call
-- functions, and before PostgreSQL 15 create tables in the schema public. The owner of the database can revoke this.
