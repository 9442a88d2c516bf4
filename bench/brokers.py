#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures publishers beside the bare loops of their client libraries, and the relay with each of them.

brokers.py BUILD_TREE STAGE [NAME...]: NAMEs are plugins; all whose broker the tests can start. For each there are

    bare      bench/bare_NAME: the library alone, with the same durability and acknowledgements, the best of some windows
    plugin    bench/publisher: the plugin alone, in batches of 500 from memory, by two workers (one, where each worker has a
              connection of its own)
    relay     outboxd run --once, two workers, from a table of SQLite

Three times in turn, each with a fresh broker; medians. BENCH_MESSAGES (50000) of 256 bytes each."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = 3
# Two workers have up to 4000 messages under way, in an asynchronous plugin.
WINDOWS = {"http": (50, 200), "postgres": (500, ), "amqp": (500, 2000)}
OTHER_WINDOWS = (1000, 4000)
# A worker of these has a connection of its own, as the bare loop has one.
OF_ONE_WORKER = ("amqp", "postgres")
SIZE = 256
MESSAGES = int(os.environ.get("BENCH_MESSAGES", "50000"))


def find(folder, name):
    return next(os.path.join(top, name) for top, _, files in os.walk(folder) if name in files)


build, stage = sys.argv[1], sys.argv[2]
program, plugins = find(stage, "outboxd"), os.path.dirname(find(stage, "store-sqlite.so"))
source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(source, "tests", "lib"))
# What the modules of the tests want.
os.environ.update(OUTBOX_TEST_PROGRAM=program, OUTBOX_TEST_PLUGIN_DIR=plugins, OUTBOX_TEST_SRCDIR=source,
                  OUTBOX_TEST_BUILDDIR=build)
import brokers  # noqa: E402


def tool(name):
    return os.path.join(build, "bench", name)


def kafka(folder):
    """librdkafka's own cluster, which is in C and in memory: the one that the tests have else is a script."""
    import kafka_mock
    cluster = kafka_mock.Cluster(folder, topic="bench")
    cluster.section = lambda name: "[publisher %s]\nplugin = kafka\nurl = kafka://%s\n" % (name, cluster.bootstrap())
    return cluster


def http(folder):
    return brokers.module("http").Broker(folder, fast=True)


class Case:
    """One measurement, with a broker and a folder of its own."""

    def __init__(self, name):
        self.name = name
        self.folder = tempfile.mkdtemp(prefix="outbox-bench-", dir="/var/tmp")
        make = {"kafka": kafka, "http": http}.get(name, brokers.module(name).Broker)
        self.broker = make(os.path.join(self.folder, "broker"))
        self.broker.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.broker.stop()
        shutil.rmtree(self.folder)

    def config(self, workers=2):
        path, db = os.path.join(self.folder, "outboxd.ini"), os.path.join(self.folder, "bench.db")
        with open(path, "w", encoding="utf-8") as f:
            f.write("[relay]\nplugin_dir = %s\nworkers = %d\nretention = 0\n[log]\nlevel = warning\n[store]\nplugin = sqlite\n"
                    "path = %s\n%s\n[router]\nfallback = out\n" % (plugins, workers, db, self.broker.section("out")))
        os.chmod(path, 0o600)
        return path, db

    def bare(self):
        """Messages a second."""
        host, port = self.broker.bootstrap().split(":") if self.name == "kafka" else ("127.0.0.1", str(self.broker.port))
        command, last = [tool("bare_" + self.name), host, port, str(MESSAGES), str(SIZE)], []
        if self.name == "amqp":
            command = [tool("publish"), os.environ["OUTBOX_TEST_AMQP"], self.broker.queue, str(MESSAGES)]
        if self.name == "kafka":
            last = ["bench"]
        env = dict(os.environ, PGUSER="relay", PGDATABASE="inbox", PGPASSWORD=getattr(brokers.module(self.name), "PASSWORD", ""))
        best = 0
        for window in WINDOWS.get(self.name, OTHER_WINDOWS):
            out = subprocess.run([*command, str(window), *last], check=True, capture_output=True, text=True, env=env).stdout
            best = max(best, float(out.split()[0]))
        return best, 0.0

    def plugin(self):
        config, _ = self.config(1 if self.name in OF_ONE_WORKER else 2)
        out = subprocess.run([tool("publisher"), config, str(MESSAGES), str(SIZE)], check=True, capture_output=True,
                             text=True).stdout.split()
        return float(out[0]), float(out[1])

    def relay(self):
        config, db = self.config()
        subprocess.run([program, "init", "-c", config], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["sqlite3", db,
                        "INSERT INTO outbox_messages (topic, payload) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
                        " SELECT i + 1 FROM n WHERE i < %d) SELECT 'bench', printf('%%%dd', i) FROM n;"
                        "PRAGMA wal_checkpoint(TRUNCATE)" % (MESSAGES, SIZE)], check=True, stdout=subprocess.DEVNULL)
        began, before = time.monotonic(), os.times()
        subprocess.run([program, "run", "-c", config, "--once"], check=True, stdout=subprocess.DEVNULL)
        seconds, after = time.monotonic() - began, os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        return MESSAGES / seconds, used / MESSAGES * 1e6


def measure(name):
    results = {"bare": [], "plugin": [], "relay": []}
    for _ in range(RUNS):
        for what, runs in results.items():
            with Case(name) as case:
                runs.append(getattr(case, what)())
    rate = {what: statistics.median(run[0] for run in runs) for what, runs in results.items()}
    cpu = {what: statistics.median(run[1] for run in runs) for what, runs in results.items()}
    print("| %-8s | %8.0f | %8.0f | %4.0f %% | %8.0f | %4.0f %% | %6.1f | %6.1f |"
          % (name, rate["bare"], rate["plugin"], 100 * rate["plugin"] / rate["bare"], rate["relay"],
             100 * rate["relay"] / rate["bare"], cpu["plugin"], cpu["relay"]), flush=True)


def main():
    print("| broker | bare/s | plugin/s | share | relay/s | share | CPU s a million: plugin | relay |\n" + "|---" * 8 + "|")
    for name in sys.argv[3:] or [*brokers.THERE, "amqp"]:
        missing = brokers.module(name).MISSING
        if missing:
            print("# %s: %s" % (name, missing))
        else:
            measure(name)


if __name__ == "__main__":
    main()
