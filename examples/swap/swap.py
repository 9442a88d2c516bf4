#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Swaps the broker under load, by one edit of the configuration and a reload, and counts what arrived where.

    make swap FROM=amqp TO=kafka            in a build folder; for FROM or TO amqp a RabbitMQ, see README.md

The producer never stops: it inserts 400 messages a second while they go to the old broker, while the file's [publisher] section
is replaced and `outboxd reload` runs, and while they go to the new one. The brokers are those that the tests start."""

import collections
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import brokers
import outbox_test

PRODUCERS = 2
RATE = 200  # messages a second, of each
SECONDS = float(os.environ.get("SWAP_SECONDS", "3"))  # before, and after
PATIENCE = 60


class Producer(threading.Thread):
    """Inserts until it is told to stop; every tenth transaction is rolled back."""

    def __init__(self, database):
        super().__init__(daemon=True)
        self.database, self.committed, self.stopped = database, [], threading.Event()
        self.start()

    def run(self):
        db = sqlite3.connect(self.database, timeout=PATIENCE, isolation_level=None)
        n, due = 0, time.monotonic()
        while not self.stopped.is_set():
            n, i = n + 1, str(uuid.uuid4())
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO outbox_messages (id, topic, key, payload) VALUES (?, 'order', ?, ?)",
                       (i, "customer-%d" % (n % 10), "order %d" % n))
            db.execute("ROLLBACK" if n % 10 == 0 else "COMMIT")
            if n % 10:
                self.committed.append(i)
            due += 1 / RATE
            time.sleep(max(0, due - time.monotonic()))
        db.close()


class Shop:
    """A database, a relay, its configuration."""

    def __init__(self, folder, environment):
        self.environment = environment
        self.folder, self.database = folder, os.path.join(folder, "shop.db")
        self.file = os.path.join(folder, "outboxd.ini")

    def configure(self, section):
        """The file is replaced at once, as editors do it."""
        with open(self.file + ".new", "w", encoding="utf-8") as f:
            f.write("[relay]\nplugin_dir = %s\n\n[store]\nplugin = sqlite\npath = %s\n\n%s\n[router]\nfallback = out\n"
                    % (outbox_test.PLUGIN_DIR, self.database, section))
        os.chmod(self.file + ".new", 0o600)
        os.rename(self.file + ".new", self.file)

    def outboxd(self, command):
        done = subprocess.run([outbox_test.PROGRAM, command, "-c", self.file], capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != 0:
            raise RuntimeError("outboxd %s: %s%s%s" % (command, done.stdout, done.stderr, self.log()))
        return done.stdout

    def run(self):
        with open(os.path.join(self.folder, "relay.log"), "wb") as log:
            self.relay = subprocess.Popen([outbox_test.PROGRAM, "run", "-c", self.file], stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, env=self.environment)

    def log(self):
        with open(os.path.join(self.folder, "relay.log"), encoding="utf-8") as f:
            return f.read()

    def left(self):
        db = sqlite3.connect(self.database, timeout=PATIENCE)
        n = db.execute("SELECT count(*) FROM outbox_messages WHERE status <> 'processed'").fetchone()[0]
        db.close()
        return n


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("waited for " + what)
        time.sleep(0.05)


def swap(shop, old, new):
    """Returns all that was committed, what `reload` said, and how long it took."""
    shop.configure(old.section())
    shop.outboxd("init")
    producers = [Producer(shop.database) for _ in range(PRODUCERS)]
    shop.run()
    try:
        until(old.ids, "the first message")
        time.sleep(SECONDS)
        shop.configure(new.section())  # the edit
        began = time.monotonic()
        said = shop.outboxd("reload")
        took = time.monotonic() - began
        until(new.ids, "the first message at the new broker")
        time.sleep(SECONDS)
        for producer in producers:
            producer.stopped.set()
            producer.join()
        until(lambda: shop.left() == 0, "everything to be processed\n" + shop.log())
        shop.relay.send_signal(signal.SIGTERM)
        if shop.relay.wait(PATIENCE) != 0:
            raise RuntimeError("the relay ended with %d\n%s" % (shop.relay.returncode, shop.log()))
    finally:
        shop.relay.kill()
        shop.relay.wait()
    return [i for producer in producers for i in producer.committed], said, took


def all_have_arrived(committed, old, new):
    """Who counts may be behind the broker."""
    return set(committed) <= set(old.ids()) | set(new.ids())


def report(committed, at_old, at_new, names, took):
    """Prints the table; true when each message is at exactly one of the two, once."""
    old, new = set(at_old), set(at_new)
    more = sum(n > 1 for n in collections.Counter(at_old + at_new).values())
    rows = [("committed", len(committed)), ("at the old broker, %s" % names[0], len(old)),
            ("at the new one, %s" % names[1], len(new)), ("at both", len(old & new)),
            ("at neither", len(set(committed) - old - new)), ("never committed", len((old | new) - set(committed))),
            ("more than once", more)]
    for what, n in rows:
        print("%-32s %8d" % (what, n))
    print("%-32s %8.2f s" % ("the reload took", took), flush=True)
    return len(old) + len(new) == len(committed) and not any(n for _, n in rows[3:])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    names = sys.argv[1:]
    for name in names:
        if brokers.module(name).MISSING:
            sys.exit("swap: " + brokers.module(name).MISSING)
    with tempfile.TemporaryDirectory(prefix="outbox-swap-") as folder:
        shop = Shop(folder, brokers.environment(names))
        old, new = [brokers.module(name).Broker(os.path.join(folder, part)) for name, part in zip(names, ("old", "new"))]
        try:
            old.start()
            new.start()
            committed, said, took = swap(shop, old, new)
            try:
                until(lambda: all_have_arrived(committed, old, new), "the last messages")
            except TimeoutError:
                pass  # the table says what is missing
            print(said, end="")
            right = report(committed, old.ids(), new.ids(), names, took)
        finally:
            old.stop()
            new.stop()
    sys.exit(not right)


if __name__ == "__main__":
    main()
