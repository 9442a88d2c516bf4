-- SPDX-License-Identifier: Apache-2.0
-- The inbox of pub-postgres, in the receiver's database: see outboxd-pub-postgres(7).
--
--   psql -v ON_ERROR_STOP=1 -v relay=relay_inbox -v receiver=shop -f inbox.sql DATABASE
--
-- as the owner of the schema; both roles exist. The relay may add messages, and nothing else: it reads
-- no payload. outboxd needs the columns from message_id to seq, with a unique index of message_id;
-- further columns are the receiver's, and need defaults.

BEGIN;

CREATE TABLE outbox_inbox (
    position bigint GENERATED ALWAYS AS IDENTITY,      -- in this order messages arrived
    message_id text NOT NULL,                          -- uuid, if all ids are some
    topic text NOT NULL,
    key text NOT NULL,                                 -- empty: none
    payload bytea,                                     -- text, json or jsonb, if all payloads are that
    headers jsonb NOT NULL,
    created_at timestamptz NOT NULL,                   -- in the outbox
    seq bigint NOT NULL,                               -- its place in the outbox
    received_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,                          -- the receiver's marks
    error text,                                        -- why it cannot be processed
    PRIMARY KEY (message_id)
);
-- What the receiver looks for. It stays small, whatever is kept for recognising duplicates.
CREATE INDEX outbox_inbox_new ON outbox_inbox (position) WHERE processed_at IS NULL AND error IS NULL;
-- What is thrown away.
CREATE INDEX outbox_inbox_old ON outbox_inbox (processed_at) WHERE processed_at IS NOT NULL;

GRANT INSERT (message_id, topic, key, payload, headers, created_at, seq), SELECT (message_id)
    ON outbox_inbox TO :"relay";
GRANT SELECT, UPDATE (processed_at, error), DELETE ON outbox_inbox TO :"receiver";

COMMIT;
