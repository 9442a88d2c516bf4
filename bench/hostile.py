#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what rows that are made to be expensive cost the others.

hostile.py BUILD_TREE STAGE [STAGE...]: BUILD_TREE has bench/coprocess; each STAGE is an installation, and they run in
turn. 100,000 messages of 256 bytes: alone; with 1,000 hostile rows among them; and with 1,000 good messages of the same
sizes, since a store writes a large row again with each change of its status. With the settings that a configuration has
if it says nothing, from SQLite, and if `scripts/services.sh env` is set, from PostgreSQL with locks and with leases.
Three runs, medians; a run that takes longer than a minute is given up."""

import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

import run

GOOD, HOSTILE, RUNS, SECONDS = 100000, 1000, 3, 60
MODES = ["alone", "large", "hostile"]
# topic, key, headers; each is one in so many of the hostile rows
KINDS = [
    ("t", "k", json.dumps({"h%d" % i: "x" * 20000 for i in range(15)})),  # 300 KB of headers
    ("t", "k", json.dumps({"h%d" % i: "" for i in range(2000)})),
    ("t" * 70000, "k" * 70000, "{}"),
    ("t", "k", '{"a":%s}' % json.dumps([[i] for i in range(3000)])),  # no headers at all
]
COLUMNS = "topic, key, payload, headers"
INSERT = "INSERT INTO outbox_messages (topic, key, payload, headers) VALUES (%s, %s, %s, %s)"


def rows(mode):
    every = GOOD // HOSTILE
    for i in range(GOOD):
        if mode != "alone" and i % every == every // 2:
            topic, key, headers = KINDS[i // every % len(KINDS)]
            if mode == "hostile":
                yield topic, key, b"", headers
            else:
                yield "large", "", b"x" * (len(topic) + len(key) + len(headers)), "{}"
        yield "bench", "", b"%256d" % i, '{"trace":"%d"}' % i


class Sqlite:
    name = "sqlite"

    def __init__(self, work):
        self.path = os.path.join(work, "bench.db")

    def store(self):
        return "plugin = sqlite\npath = " + self.path

    def clear(self):
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self.path + suffix):
                os.unlink(self.path + suffix)

    def fill(self, mode):
        db = sqlite3.connect(self.path)
        db.executemany(INSERT.replace("%s", "?"), rows(mode))
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        os.sync()


class Postgres:
    def __init__(self, claim):
        self.name, self.claim = "postgres, " + claim, claim
        self.schema = "hostile_%d" % os.getpid()

    def store(self):
        return "plugin = postgres\nconninfo = %s\ntable = %s.outbox_messages\nclaim = %s" % (
            os.environ["OUTBOX_TEST_PG"], self.schema, self.claim)

    def sql(self):
        import psycopg2
        db = psycopg2.connect(os.environ["OUTBOX_TEST_PG"])
        db.autocommit = True
        return db.cursor()

    def clear(self):
        self.sql().execute("DROP SCHEMA IF EXISTS %s CASCADE; CREATE SCHEMA %s" % (self.schema, self.schema))

    def fill(self, mode):
        from psycopg2.extras import execute_values
        cursor = self.sql()
        cursor.execute("SET search_path = %s; BEGIN" % self.schema)
        execute_values(cursor, "INSERT INTO outbox_messages (%s) VALUES %%s" % COLUMNS, rows(mode), page_size=200)
        cursor.execute("COMMIT")
        cursor.execute("VACUUM ANALYZE outbox_messages")
        cursor.execute("CHECKPOINT")


def measure(build, stage, store, work, mode):
    """Good messages a second, and peak MiB of the relay."""
    config = os.path.join(work, "outboxd.ini")
    program = run.find(stage, "outboxd")
    with open(config, "w", encoding="utf-8") as f:
        f.write("[relay]\nplugin_dir = %s\nretention = 0\n[log]\nlevel = error\n[store]\n%s\n[publisher out]\nplugin = exec\n"
                "mode = stream\nwindow = 1000\ncommand = %s\n[router]\nfallback = out\n" % (
                    os.path.dirname(run.find(stage, "store-sqlite.so")), store.store(),
                    os.path.join(build, "bench", "coprocess")))
    os.chmod(config, 0o600)
    store.clear()
    subprocess.run([program, "init", "-c", config], check=True, stdout=subprocess.DEVNULL)
    store.fill(mode)
    began, peak = time.monotonic(), 0
    process = subprocess.Popen([program, "run", "-c", config, "--once"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, (run.usage(process.pid) or (0, 0))[1])
        if time.monotonic() - began > SECONDS:
            process.kill()
            process.wait()
            return 0, peak / 1024
        time.sleep(0.005)
    return GOOD / (time.monotonic() - began), peak / 1024


def main():
    build, stages = sys.argv[1], sys.argv[2:]
    work = tempfile.mkdtemp(prefix="outbox-bench-")
    stores = [Sqlite(work)] + [Postgres(claim) for claim in ("locks", "leases") if "OUTBOX_TEST_PG" in os.environ]
    print("%-18s %10s %10s %10s %10s   %s" % ("good messages/s", *MODES, "peak RSS", "installation"))
    for store in stores:
        results = {(stage, mode): [] for stage in stages for mode in MODES}
        for _ in range(RUNS):
            for (stage, mode), result in results.items():
                result.append(measure(build, stage, store, work, mode))
        for stage in stages:
            print("%-18s %10.0f %10.0f %10.0f %6.1f MiB   %s" % (
                store.name, *(statistics.median(r[0] for r in results[stage, mode]) for mode in MODES),
                max(r[1] for r in results[stage, "hostile"]), stage), flush=True)
        store.clear()
    shutil.rmtree(work)


main()
