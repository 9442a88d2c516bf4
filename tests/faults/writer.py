#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A producer that outlives its database: writer.py STORE PLACE NAME SECONDS PER_SECOND [PAYLOAD_BYTES
[MESSAGES]].

STORE is sqlite (PLACE: the file) or postgres (PLACE: SCHEMA, conninfo in OUTBOX_TEST_PG). Every tenth transaction is
rolled back. MESSAGES (1) are written in each. One line for each message: WHAT ID KEY NUMBER TIME, where WHAT is committed,
rolled-back, or unknown when the answer to a COMMIT was lost. On SIGTERM it ends after the transaction it is in.
"""
import os
import signal
import sqlite3
import sys
import time
import uuid

stop = False


def on_term(_signal, _frame):
    global stop
    stop = True


class Sqlite:
    errors = (sqlite3.Error,)
    mark = "?"

    def __init__(self, place):
        self.db = sqlite3.connect(place, timeout=60, isolation_level=None)

    def begin(self):
        self.db.execute("BEGIN IMMEDIATE")

    def run(self, sql, args):
        self.db.execute(sql, args)


class Postgres:
    mark = "%s"

    def __init__(self, place):
        import psycopg2
        Postgres.errors = (psycopg2.Error,)
        self.db = psycopg2.connect(os.environ["OUTBOX_TEST_PG"] + " connect_timeout=5", options="-c search_path=" + place)
        self.db.autocommit = True
        self.cursor = self.db.cursor()

    def begin(self):
        self.cursor.execute("BEGIN")

    def run(self, sql, args=None):
        self.cursor.execute(sql, args)


def connect(kind, place, end):
    while True:
        try:
            return kind(place)
        except Exception:  # whatever a database that is not there may raise
            if time.monotonic() > end or stop:
                sys.exit(0)
            time.sleep(0.1)


def main():
    store, place, name, seconds, rate = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), float(sys.argv[5])
    size = int(sys.argv[6]) if len(sys.argv) > 6 else 0
    many = int(sys.argv[7]) if len(sys.argv) > 7 else 1
    kind = Sqlite if store == "sqlite" else Postgres
    signal.signal(signal.SIGTERM, on_term)
    end, n = time.monotonic() + seconds, 0
    db = connect(kind, place, end)
    due = time.monotonic()
    while time.monotonic() < end and not stop:
        n += 1
        what, ends = "unknown", "ROLLBACK" if n % 10 == 0 else "COMMIT"
        messages = [(str(uuid.uuid4()), many * n + m) for m in range(many)]
        answered = False
        try:
            db.begin()
            for i, number in messages:
                db.run("INSERT INTO outbox_messages (id, topic, key, payload) VALUES (%s)" % ", ".join([db.mark] * 4),
                       (i, "t", name, str(number).rjust(size).encode()))
            what = "rolled-back" if n % 10 == 0 else "unknown"
            db.run(ends, ())
            what = "rolled-back" if n % 10 == 0 else "committed"
            answered = True
        except kind.errors:
            # Before COMMIT was sent nothing can have been committed.
            pass
        finally:
            if not answered and what == "unknown" and ends == "ROLLBACK":
                what = "rolled-back"
        for i, number in messages:
            print(what, i, name, number, "%.3f" % time.time())
        sys.stdout.flush()
        if not answered:
            db = connect(kind, place, end)
        due += 1 / rate
        time.sleep(max(0.0, due - time.monotonic()))


main()
