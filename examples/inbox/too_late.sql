-- SPDX-License-Identifier: Apache-2.0
-- Refuses messages that are older than the ids which are kept: whether such a one is a duplicate nobody can
-- tell any more. At the relay it becomes a dead letter, and a person decides. As the table's owner.
-- Not for messages that are scheduled for weeks later: created_at is when they were written.

CREATE FUNCTION outbox_inbox_too_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- An error of class 22 says that this message can never be taken; any other, that it may be later.
    RAISE EXCEPTION 'the message is of %, and ids are kept for 30 days', NEW.created_at USING ERRCODE = 'data_exception';
END $$;
CREATE TRIGGER outbox_inbox_too_late BEFORE INSERT ON outbox_inbox FOR EACH ROW
    WHEN (NEW.created_at < now() - interval '29 days') EXECUTE FUNCTION outbox_inbox_too_late();
