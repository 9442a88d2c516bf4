#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small shop that writes each order and the message about it in one transaction.

shop.py DATABASE ORDERS. Prints the number of orders committed and rolled back, and writes the ids
of the messages that were rolled back to DATABASE.rolled-back, to prove that none is sent.
"""
import json
import sqlite3
import sys
import uuid


def place(db, number):
    """One order. The customer of every tenth changes their mind before the commit."""
    message_id = str(uuid.uuid4())
    customer = "nobody" if number == 7 else "customer-%d" % (number % 5)
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO orders (number, customer) VALUES (?, ?)", (number, customer))
    db.execute(
        "INSERT INTO outbox_messages (id, topic, key, payload, headers) VALUES (?, ?, ?, ?, ?)",
        (message_id, "order.placed", customer, json.dumps({"order": number, "for": customer}),
         json.dumps({"attempt-twice": "yes"} if number == 3 else {})))
    if number % 10 == 0:
        db.execute("ROLLBACK")
        return message_id
    db.execute("COMMIT")
    return None


def main():
    path, orders = sys.argv[1], int(sys.argv[2])
    db = sqlite3.connect(path, timeout=30, isolation_level=None)
    db.execute("CREATE TABLE IF NOT EXISTS orders (number INTEGER PRIMARY KEY, customer TEXT)")
    undone = [i for i in (place(db, n) for n in range(1, orders + 1)) if i]
    with open(path + ".rolled-back", "w", encoding="ascii") as out:
        out.writelines(i + "\n" for i in undone)
    print(orders - len(undone), len(undone))


main()
