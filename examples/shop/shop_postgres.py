#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same small shop on PostgreSQL: it writes each order and the message about it in one transaction.

shop_postgres.py CONNINFO ORDERS FILE. Prints the number of orders committed and rolled back, and writes the
ids of the messages that were rolled back to FILE, to prove that none is sent.
"""
import json
import sys
import uuid

import psycopg2


def place(db, number):
    """One order. The customer of every tenth changes their mind before the commit."""
    message_id = str(uuid.uuid4())
    customer = "customer-%d" % (number % 5)
    topic = "order.gift" if number == 3 else "order.placed"
    # The value of a header is a text. Order 7 has a wrong one, to show what happens.
    headers = {"tags": ["a", "b"]} if number == 7 else {"source": "shop"}
    cursor = db.cursor()
    cursor.execute("INSERT INTO orders (number, customer) VALUES (%s, %s)", (number, customer))
    cursor.execute("INSERT INTO outbox_messages (id, topic, key, payload, headers) VALUES (%s, %s, %s, %s, %s)",
                   (message_id, topic, customer, json.dumps({"order": number, "for": customer}).encode(),
                    json.dumps(headers)))
    if number % 10 == 0:
        db.rollback()
        return message_id
    db.commit()
    return None


def main():
    conninfo, orders, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    db = psycopg2.connect(conninfo)
    db.cursor().execute("CREATE TABLE IF NOT EXISTS orders (number integer PRIMARY KEY, customer text)")
    db.commit()
    undone = [i for i in (place(db, n) for n in range(1, orders + 1)) if i]
    with open(path, "w", encoding="ascii") as out:
        out.writelines(i + "\n" for i in undone)
    print(orders - len(undone), len(undone))


main()
