-- SPDX-License-Identifier: Apache-2.0
-- The inbox with a part for each month: throwing ids away is dropping a part, and leaves nothing to vacuum.
-- A message has the same created_at at every attempt, so that (message_id, created_at) tells duplicates
-- apart as well as message_id does. A message for which there is no part is not taken, which is the safe
-- answer: it is older than the ids that are kept, or somebody forgot to make next month's part.

BEGIN;
CREATE SEQUENCE outbox_inbox_position;
CREATE TABLE outbox_inbox (
    position bigint NOT NULL DEFAULT nextval('outbox_inbox_position'),
    message_id text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    payload bytea,
    headers jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    processed_at timestamptz,
    error text,
    PRIMARY KEY (message_id, created_at)
) PARTITION BY RANGE (created_at);
CREATE INDEX outbox_inbox_new ON outbox_inbox (position) WHERE processed_at IS NULL AND error IS NULL;
GRANT INSERT (message_id, topic, key, payload, headers, created_at, seq), SELECT (message_id, created_at)
    ON outbox_inbox TO :"relay";
GRANT USAGE ON SEQUENCE outbox_inbox_position TO :"relay";
GRANT SELECT, UPDATE (processed_at, error) ON outbox_inbox TO :"receiver";

-- For cron: this month's part and the next one's.
DO $$
DECLARE
    first timestamptz := date_trunc('month', now());
BEGIN
    FOR i IN 0..1 LOOP
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF outbox_inbox FOR VALUES FROM (%L) TO (%L)',
                       'outbox_inbox_' || to_char(first + i * interval '1 month', 'YYYY_MM'),
                       first + i * interval '1 month', first + (i + 1) * interval '1 month');
    END LOOP;
END $$;
-- And a month's part when it is old enough and all of it is processed: DROP TABLE outbox_inbox_2026_01.
COMMIT;
