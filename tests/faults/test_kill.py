# SPDX-License-Identifier: Apache-2.0
"""Relays are killed while a batch is in flight: nothing is lost, nothing is invented, and every
duplicate belongs to a kill."""

import collections
import os
import random
import signal
import subprocess
import sys
import time

import outbox_test

SECONDS = int(os.environ.get("OUTBOX_TEST_KILL_SECONDS", "60"))
WRITERS = 4
RELAYS = 2
BATCH = 20
KILLS = max(3, min(30, SECONDS // 2))  # at least; thirty in a minute

# Writes until the file `stop` is there; every tenth transaction is rolled back. One line for each id.
WRITER = r"""
import os, sqlite3, sys, time, uuid
path, name, stop = sys.argv[1:]
db = sqlite3.connect(path, timeout=60, isolation_level=None)
n = 0
while not os.path.exists(stop):
    n += 1
    i = str(uuid.uuid4())
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO orders VALUES (?)", (i,))
    db.execute("INSERT INTO outbox_messages (id, topic, key, payload) VALUES (?, 'order', ?, ?)", (i, name, "%d" % n))
    db.execute("ROLLBACK" if n % 10 == 0 else "COMMIT")
    print("rolled-back" if n % 10 == 0 else "committed", i, flush=True)
    time.sleep(0.03)
"""

# The other side: every arrival is one line of a file that survives its relay.
RECEIVER = r"""
import json, os, sys, time
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
sys.stdin.readline()
for line in sys.stdin:
    i = json.loads(line)["id"]
    time.sleep(0.003)
    os.write(out, (i + "\n").encode())
    print(json.dumps({"id": i, "status": "ok"}), flush=True)
"""


class Kill(outbox_test.Scratch):
    def start_relay(self, number):
        config = self.path("relay-%d.ini" % number)
        with open(self.path("relay.log"), "ab") as log:
            process = subprocess.Popen([outbox_test.PROGRAM, "run", "-c", config], stdin=subprocess.DEVNULL,
                                       stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def held_by(self, number, dead_leases):
        """The ids that the relay of this name holds, and by which leases; its dead predecessors' are left out."""
        rows = self.query(
            "SELECT m.id, m.lease FROM outbox_messages m JOIN outbox_messages_leases l ON m.lease = l.lease"
            " JOIN outbox_messages_relays r ON r.id = l.relay"
            " WHERE m.status = 'processing' AND r.name = ? AND r.clean = 0", "relay-%d" % number)
        rows = [row for row in rows if row[1] not in dead_leases]
        return {row[0] for row in rows}, {row[1] for row in rows}

    def kill_in_flight(self, process, number, dead_leases):
        """Kills it when it holds a batch. What it held when it died is looked up afterwards, long before the lease
        ends: a relay that is only stopped may hold a lock of the database that the look would wait for."""
        if not self.held_by(number, dead_leases)[0]:
            return None
        process.kill()
        process.wait()
        held, leases = self.held_by(number, dead_leases)
        dead_leases |= leases
        return held

    def test_nothing_is_lost_and_every_duplicate_belongs_to_a_kill(self):
        receiver = self.write("receiver.py", RECEIVER)
        writer = self.write("writer.py", WRITER)
        for number in range(RELAYS):
            self.config("[publisher out]\nplugin = exec\nmode = stream\ncommand = %s %s %s\n"
                        % (sys.executable, receiver, self.path("arrived")),
                        "name = relay-%d\nbatch_size = %d\nworkers = 1\nlease = 20s\n" % (number, BATCH),
                        name="relay-%d.ini" % number)
        self.outboxd("init", config=self.path("relay-0.ini"))
        self.query("CREATE TABLE orders (id TEXT)")
        relays = [self.start_relay(number) for number in range(RELAYS)]
        # Until both have their rows, whose batch is whose cannot be told.
        self.until(lambda: len(self.query("SELECT 1 FROM outbox_messages_relays")) == RELAYS, "both relays")

        writers = []
        for n in range(WRITERS):
            out = open(self.path("writer-%d" % n), "wb")
            self.addCleanup(out.close)
            writers.append(subprocess.Popen([sys.executable, writer, self.db, "w%d" % n, self.path("stop")], stdout=out))
        self.processes += writers

        kills, dead_leases = [], set()
        pause = SECONDS / (KILLS * 1.6)
        began = last = time.monotonic()
        # On a slow machine relays come up slowly: it goes on until there were kills enough.
        while time.monotonic() - began < SECONDS or len(kills) < KILLS:
            self.assertLess(time.monotonic() - began, SECONDS + 300, "only %d kills" % len(kills))
            self.assertEqual([w.poll() for w in writers], [None] * WRITERS)
            time.sleep(random.uniform(0.005, 0.05))
            if time.monotonic() - last < pause * random.uniform(0.5, 1):
                continue
            number = random.randrange(RELAYS)
            held = self.kill_in_flight(relays[number], number, dead_leases)
            if held is not None:
                relays[number] = self.start_relay(number)
                last = time.monotonic()
                kills += [held] if held else []  # else it had just settled
        self.write("stop", "")
        for w in writers:
            self.assertEqual(w.wait(outbox_test.PATIENCE), 0)
        seconds = time.monotonic() - began

        self.until(lambda: not self.query("SELECT 1 FROM outbox_messages WHERE status IN ('pending', 'processing') LIMIT 1"),
                   "everything to be relayed")
        for process in relays:
            self.stop(process)
        self.judge(kills, seconds)

    def judge(self, kills, seconds):
        told = collections.defaultdict(set)
        for n in range(WRITERS):
            for line in self.read("writer-%d" % n).splitlines():
                what, i = line.split()
                told[what].add(i)
        arrived = collections.Counter(self.read("arrived").split())
        duplicates = {i: n - 1 for i, n in arrived.items() if n > 1}
        allowed = collections.Counter(i for held in kills for i in held)
        most = max((sum(1 for i in held if i in duplicates) for held in kills), default=0)
        print("# kill test: seconds %d, committed %d, arrived %d, rolled back %d, of these arrived %d, kills in flight %d,"
              " duplicates %d, at most %d for a kill" %
              (seconds, len(told["committed"]), len(arrived), len(told["rolled-back"]),
               len(told["rolled-back"] & set(arrived)), len(kills), sum(duplicates.values()), most), flush=True)
        self.assertEqual(told["committed"] - set(arrived), set(), "lost")
        self.assertEqual(set(arrived) - told["committed"], set(), "never committed, yet arrived")
        self.assertGreaterEqual(len(kills), KILLS)
        self.assertEqual({i for i, n in duplicates.items() if n > allowed[i]}, set(), "duplicates without a kill")
        self.assertTrue(all(len(held) <= BATCH for held in kills))
        self.assertLessEqual(most, BATCH)


if __name__ == "__main__":
    outbox_test.main()
