-- SPDX-License-Identifier: Apache-2.0
-- Roles for an outbox in PostgreSQL: an owner that runs `outboxd init` and nothing else, a producer
-- that may only insert, and a relay that may not alter anything. Run it as a role that may create
-- roles and schemas, once before `outboxd init` and once after; it may be run again:
--
--   psql -v owner=shop_owner -v producer=shop -v relay=outboxd -v schema=shop \
--       -v table=outbox_messages -f postgres-roles.sql DATABASE
--
-- The script does not change roles that exist. New ones can log in when they have a password
-- (\password NAME) or pg_hba.conf allows it. The conninfo of `outboxd init` names the owner, that of
-- `outboxd run` the relay, and both files say `table = shop.outbox_messages`.
\set ON_ERROR_STOP on
\set table_leases :table '_leases'
\set table_relays :table '_relays'
\set table_schema :table '_schema'
BEGIN;

SELECT pg_catalog.format('CREATE ROLE %I LOGIN', r)
    FROM (VALUES (:'owner'), (:'producer'), (:'relay')) AS wanted(r)
    WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = r) \gexec

SELECT pg_catalog.format('CREATE SCHEMA %I', :'schema')
    WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = :'schema') \gexec
GRANT USAGE, CREATE ON SCHEMA :"schema" TO :"owner";
GRANT USAGE ON SCHEMA :"schema" TO :"producer", :"relay";

SELECT count(*) = 1 AS there FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE nspname = :'schema' AND relname = :'table_schema' \gset
\if :there
    REVOKE ALL ON TABLE :"schema".:"table", :"schema".:"table_leases", :"schema".:"table_relays",
        :"schema".:"table_schema" FROM PUBLIC, :"producer", :"relay";
    -- seq is an identity column, so no right to a sequence is needed.
    GRANT INSERT ON TABLE :"schema".:"table" TO :"producer";
    -- INSERT: for `outboxd send`, and for copies of a message for several publishers.
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE :"schema".:"table", :"schema".:"table_leases",
        :"schema".:"table_relays" TO :"relay";
    GRANT SELECT ON TABLE :"schema".:"table_schema" TO :"relay";
    -- For `outboxd check --connect`, which looks whether the sequence is behind the rows.
    SELECT pg_catalog.format('GRANT SELECT ON SEQUENCE %s TO %I', pg_catalog.pg_get_serial_sequence(
        pg_catalog.format('%I.%I', :'schema', :'table'), 'seq'), :'relay') \gexec
\else
    \echo 'The table is not there yet: run outboxd init as' :owner 'and then this script again.'
\endif

COMMIT;
