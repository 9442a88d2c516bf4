-- SPDX-License-Identifier: Apache-2.0
-- A receiver beside its inbox: what the messages do here, and how long their ids are kept.
--
--   psql -v ON_ERROR_STOP=1 -f receiver.sql DATABASE     as the receiver's role, after inbox.sql

BEGIN;

-- The effect. Nothing in it prevents duplicates: that is what the inbox is for.
CREATE TABLE parcels (
    message_id text NOT NULL,
    customer text NOT NULL,
    contents jsonb
);

-- Throws away what was processed thirty days ago, some at a time; for cron.
CREATE FUNCTION outbox_inbox_purge(keep interval DEFAULT '30 days', at_most integer DEFAULT 10000) RETURNS bigint
    LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM outbox_inbox WHERE message_id IN (
            SELECT message_id FROM outbox_inbox WHERE processed_at < now() - keep
            ORDER BY processed_at LIMIT at_most FOR UPDATE SKIP LOCKED)
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

COMMIT;
