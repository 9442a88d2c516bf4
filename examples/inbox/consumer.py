#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A receiver of an inbox: each message has its effect exactly once, whatever is killed when.

consumer.py CONNINFO [CHANNEL]. The effect and the mark that the message is processed are one transaction: both are there, or
neither. Any number of consumers may run; several of them process messages with the same key out of order. CHANNEL is the relay's
`notify`; without it the consumer looks every second.
"""
import json
import select
import sys

import psycopg2

# No memory of the last position: messages are not committed in the order of their positions.
NEXT = """SELECT message_id, topic, key, payload FROM outbox_inbox WHERE processed_at IS NULL AND error IS NULL
    ORDER BY position LIMIT 100 FOR UPDATE SKIP LOCKED"""
DONE = "UPDATE outbox_inbox SET processed_at = now() WHERE message_id = ANY (%s)"
FAILED = "UPDATE outbox_inbox SET error = %s WHERE message_id = %s"


def process(cursor, message_id, topic, key, payload):
    """What the message does here. All of it must be in this database: mails and calls of others are not undone."""
    if topic == "order.placed":
        contents = json.loads(bytes(payload))
        cursor.execute("INSERT INTO parcels (message_id, customer, contents) VALUES (%s, %s, %s)",
                       (message_id, key, json.dumps(contents)))


def process_some(db):
    """One transaction; how many messages it has taken. One that fails gets its error, for a person to look at, and the rest go on."""
    done = []
    with db, db.cursor() as cursor:
        cursor.execute(NEXT)
        messages = cursor.fetchall()
        for message in messages:
            cursor.execute("SAVEPOINT one")
            try:
                process(cursor, *message)
                done.append(message[0])
            except (ValueError, psycopg2.IntegrityError, psycopg2.DataError) as e:
                cursor.execute("ROLLBACK TO SAVEPOINT one")
                cursor.execute(FAILED, (str(e), message[0]))
            cursor.execute("RELEASE SAVEPOINT one")
        cursor.execute(DONE, (done,))
    return len(messages)


def main():
    db = psycopg2.connect(sys.argv[1])
    if len(sys.argv) > 2:
        with db, db.cursor() as cursor:
            cursor.execute('LISTEN "%s"' % sys.argv[2].replace('"', '""'))
    print("ready", file=sys.stderr, flush=True)
    while True:
        db.notifies.clear()
        if process_some(db) == 0 and not db.notifies:
            select.select([db], [], [], 1)
            db.poll()


if __name__ == "__main__":
    main()
