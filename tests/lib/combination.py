# SPDX-License-Identifier: Apache-2.0
"""Scenarios over every combination of a store and a publisher: what a scenario may say of either, whatever it is.

A scenario class derives from Scenario and is decorated with @combinations, which makes one test class of it for each
pair. Stores and publishers have the same methods; what one of them cannot do raises unittest.SkipTest never, but
answers so that the scenario holds: the promises are the same for all."""

import json
import os
import sqlite3
import sys
import uuid

import outbox_test

try:
    import pika
    import psycopg2
except ImportError:
    pika = psycopg2 = None  # setUp tells


# ---- stores

class Sqlite:
    name = "sqlite"

    def __init__(self, test):
        self.path = test.path("shop.db")

    def config(self, more=""):
        return "[store]\nplugin = sqlite\npath = %s\n%s\n" % (self.path, more)

    def connect(self):
        """A producer's connection: it begins and commits by hand."""
        return sqlite3.connect(self.path, timeout=60, isolation_level=None)

    def execute(self, db, sql, args=()):
        cursor = db.execute(sql, args)
        return cursor.fetchall() if cursor.description else []

    def close(self):
        pass


class Postgres:
    name = "postgres"
    notify = "on"

    def __init__(self, test):
        self.conninfo = os.environ["OUTBOX_TEST_PG"]
        self.schema = "e2e_" + uuid.uuid4().hex[:12]
        self.run("CREATE SCHEMA " + self.schema)

    def run(self, sql):
        db = psycopg2.connect(self.conninfo)
        db.autocommit = True
        db.cursor().execute(sql)
        db.close()

    def config(self, more=""):
        return ("[store]\nplugin = postgres\nconninfo = %s\ntable = %s.outbox_messages\nnotify = %s\n%s\n"
                % (self.conninfo, self.schema, self.notify, more))

    def connect(self):
        db = psycopg2.connect(self.conninfo)
        db.autocommit = True
        db.cursor().execute("SET search_path = %s; SET TimeZone = 'UTC'" % self.schema)
        return db

    def execute(self, db, sql, args=()):
        cursor = db.cursor()
        cursor.execute(sql.replace("?", "%s") if args else sql, args or None)
        rows = cursor.fetchall() if cursor.description else []
        return [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows]

    def close(self):
        self.run("SET client_min_messages = warning; DROP SCHEMA IF EXISTS %s CASCADE" % self.schema)


class PostgresLeases(Postgres):
    name = "postgres-leases"
    notify = "off"

    def config(self, more=""):
        return super().config("claim = leases\n" + more)


# ---- publishers

# Appends "id topic payload" and does what the payload says.
PROGRAM = r"""#!/bin/sh
payload=$(cat)
[ ! -e "%(dir)s/shut" ] || exit 69
case $payload in
try*) echo "told to try again" >&2; exit 75 ;;
bad*) echo "told to reject" >&2; exit 65 ;;
esac
echo "$OUTBOX_ID $OUTBOX_TOPIC $payload" >>"%(dir)s/arrived"
"""


class Exec:
    name = "exec"

    def __init__(self, test):
        self.test = test
        self.program = test.write("program.sh", PROGRAM % {"dir": test.dir}, 0o755)

    def config(self, name="out", more=""):
        return "[publisher %s]\nplugin = exec\ncommand = %s\nconcurrency = 2\n%s\n" % (name, self.program, more)

    def config_down(self, name):
        """One that is out of order for ever."""
        return "[publisher %s]\nplugin = exec\ncommand = /nonexistent/program\n" % name

    def arrived(self):
        try:
            return [tuple(line.split(" ", 2)) for line in self.test.read("arrived").splitlines()]
        except FileNotFoundError:
            return []

    # What a message has to be like so that this happens to it: arguments of insert().
    tried_again = {"payload": "try again"}
    rejected = {"payload": "bad"}
    reason_tried = "told to try again"
    reason_rejected = "told to reject"

    def shut(self):
        """From now on it takes nothing, and that is nobody's fault."""
        self.test.write("shut", "")

    def open(self):
        os.unlink(self.test.path("shut"))

    def close(self):
        pass


class Amqp:
    name = "amqp"

    def __init__(self, test):
        self.url = os.environ["OUTBOX_TEST_AMQP"]
        self.exchange = "e2e-" + uuid.uuid4().hex[:12]
        self.queue, self.behind = self.exchange + "-all", self.exchange + "-behind"
        self.got = []
        self.connection = pika.BlockingConnection(pika.URLParameters(self.url))
        self.channel = self.connection.channel()
        self.channel.queue_declare(self.queue, durable=True)
        for exchange in (self.exchange, self.behind):
            self.channel.exchange_declare(exchange, exchange_type="topic", durable=True)
            for pattern in ("t", "t.#", "other", "down"):
                self.channel.queue_bind(self.queue, exchange, pattern)

    def config(self, name="out", more=""):
        return ("[publisher %s]\nplugin = amqp\nurl = %s\nmode = pubsub\nexchange = %s\nrouting_key = {topic}\n%s\n"
                % (name, self.url, self.exchange, more))

    def config_down(self, name):
        return ("[publisher %s]\nplugin = amqp\nurl = %s\nmode = pubsub\nexchange = %s\n"
                % (name, self.url, self.exchange + "-missing"))

    def arrived(self):
        while True:
            method, properties, body = self.channel.basic_get(self.queue, auto_ack=True)
            if not method:
                return self.got
            self.got.append((properties.message_id, properties.type, body.decode()))

    # No queue is bound for it; it cannot be a message at all.
    tried_again = {"topic": "nowhere"}
    rejected = {"headers": json.dumps({"x" * 300: "too long a name"})}
    reason_tried = "unroutable"
    reason_rejected = "header"

    def shut(self):
        self.channel.exchange_delete(self.exchange)

    def open(self):
        # Whole from its first moment on: until it were bound, a message would be unroutable, and charged.
        self.channel.exchange_declare(self.exchange, exchange_type="topic", durable=True,
                                      arguments={"alternate-exchange": self.behind})

    def close(self):
        self.channel.queue_delete(self.queue)
        self.channel.exchange_delete(self.exchange)
        self.channel.exchange_delete(self.behind)
        self.connection.close()


# What continuous integration has time for in builds that are slow: "STORE PUBLISHER, ...".
ONLY = [tuple(pair.split()) for pair in os.environ.get("OUTBOX_TEST_COMBINATIONS", "").split(",") if pair]

STORES = {"sqlite": Sqlite, "postgres": Postgres, "postgres_leases": PostgresLeases}
PUBLISHERS = {"exec": Exec, "amqp": Amqp}
FOUR = [("sqlite", "exec"), ("sqlite", "amqp"), ("postgres", "exec"), ("postgres", "amqp")]


# ---- scenarios

class Scenario(outbox_test.Scratch):
    store_name = publisher_name = None  # of a combination
    columns = ("status", "retries", "last_error", "available_at", "processed_at")

    def setUp(self):
        super().setUp()
        self.needs_server(self.store_name)
        self.needs_server(self.publisher_name)
        self.store = STORES[self.store_name](self)
        self.addCleanup(self.store.close)
        self.publisher = self.make_publisher()
        self.addCleanup(self.publisher.close)

    def needs_server(self, name):
        """Of a store or publisher: the test is skipped without its server."""
        what = {"postgres": "OUTBOX_TEST_PG", "amqp": "OUTBOX_TEST_AMQP"}.get(name.split("_")[0])
        if what and not (os.environ.get(what) and pika):
            self.skipTest("%s is not set (scripts/services.sh), or pika or psycopg2 is missing" % what)

    def make_publisher(self):
        return PUBLISHERS[self.publisher_name](self)

    def shop(self, relay="", options="", store="", router="[router]\nfallback = out\n", more="", init=True,
             name="outboxd.ini"):
        text = "[relay]\nplugin_dir = %s\n%s\n%s%s%s\n%s" % (
            outbox_test.PLUGIN_DIR, relay, self.store.config(store), self.publisher.config(more=options), more, router)
        path = self.write(name, text, 0o600)
        if init:
            self.outboxd("init", config=path)
        return path

    def connect(self):
        db = self.store.connect()
        self.addCleanup(db.close)
        return db

    def query(self, sql, *args):
        db = self.store.connect()
        try:
            return self.store.execute(db, sql, args)
        finally:
            db.close()

    def number(self, sql, *args):
        return self.query(sql, *args)[0][0]

    def insert(self, payload="x", topic="t", count=1, headers="{}", **columns):
        names = ["id", "topic", "payload", "headers", *columns]
        ids = [str(uuid.uuid4()) for _ in range(count)]
        payload = payload.encode() if isinstance(payload, str) else payload
        db = self.store.connect()
        self.store.execute(db, "BEGIN")
        for i in ids:
            self.store.execute(db, "INSERT INTO outbox_messages (%s) VALUES (%s)"
                               % (", ".join(names), ", ".join("?" * len(names))),
                               [i, topic, payload, headers, *columns.values()])
        self.store.execute(db, "COMMIT")
        db.close()
        return ids if count > 1 else ids[0]

    def arrived(self):
        return self.publisher.arrived()

    def arrived_ids(self):
        return sorted(a[0] for a in self.arrived())

    def row(self, i):
        return dict(zip(self.columns, self.query("SELECT %s FROM outbox_messages WHERE id = ?"
                                                 % ", ".join(self.columns), i)[0]))

    def until_status(self, i, status):
        self.until(lambda: self.row(i)["status"] == status, "status %s" % status)
        return self.row(i)

    def until_counted(self, n, status):
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages WHERE status = ?", status) == n,
                   "%d messages to be %s" % (n, status))

    def start_and_wait(self, log="relay.log"):
        """A relay whose row is there."""
        relay = self.start("run", log=log)
        self.until(lambda: self.query("SELECT 1 FROM outbox_messages_relays WHERE NOT clean"), "the relay")
        return relay


def combinations(pairs=FOUR):
    """Makes a test class of the decorated one for each pair; the decorated one itself is none."""
    def decorate(scenario):
        module = sys.modules[scenario.__module__]
        for store, publisher in pairs:
            if ONLY and (store, publisher) not in ONLY:
                continue
            name = "%s_%s_%s" % (scenario.__name__, store, publisher)
            setattr(module, name, type(name, (scenario, ), {"store_name": store, "publisher_name": publisher,
                                                             "__module__": scenario.__module__}))
        # The loader must not find it.
        return type(scenario.__name__, (), {"scenario": scenario})
    return decorate
