# SPDX-License-Identifier: Apache-2.0
"""Every command and a relay under load, without memory, one allocation after the other: it says so, nothing crashes
or hangs, no message is lost or charged, and afterwards all is well."""

import json
import re
import subprocess
import time
import uuid

import combination
import fire
import injection
import outbox_test
import relay_test
from fire import FULL, SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module

PAIRS = [("sqlite", "exec"), ("postgres", "amqp")]
LOAD = 60 if FULL else 4 if SHORT else 10
# Of the allocations of a command, how many are made to fail; and the share of those from which on all fail.
SAMPLE = 100000 if FULL else 8 if SHORT else 30
LASTING = 6


def spread(n, most):
    """`most` of 1..n: the first, the last, which are the command's own, and some of those between."""
    if n <= most:
        return list(range(1, n + 1))
    ends = max(1, most // 4)
    middle = max(1, most - 3 * ends)
    between = {ends + 1 + i * (n - 3 * ends) // middle for i in range(middle)}
    return sorted(set(range(1, ends + 1)) | between | set(range(n - 2 * ends + 1, n + 1)))


@combination.combinations(PAIRS)
class Commands(combination.Scenario):
    def setUp(self):
        super().setUp()
        self.shop("workers = 1\nretry_min = 10ms\nretry_max = 1s\nlease = 1s",
                  options="declare = create" if self.publisher_name == "amqp" else "",
                  router="[route some]\ntopic = t.*\npublisher = out\n[router]\nfallback = out\n")
        self.report = self.path("report")

    def run_with(self, alloc, args):
        """A command whose allocation number `alloc` fails; what has to hold of every one is checked."""
        command = [outbox_test.PROGRAM, args[0], "-c", self.path("outboxd.ini"), *args[1:]]
        done = subprocess.run(command, env=injection.orders(alloc=alloc, report=self.report), capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=outbox_test.PATIENCE)
        told = "%s with allocation %s: %s" % (args, alloc, done)
        self.assertIn(done.returncode, (0, 1), told)  # neither a signal nor the file's mistake
        if done.returncode == 1:
            self.assertRegex(done.stderr.decode(), "(?i)memory", told)
        return done

    def without_memory(self, args, before=lambda: None, after=lambda done: None, most=SAMPLE, once=True, lasting=True):
        """`before` each run, and `after` it with its result, whether it failed or not. One allocation fails `once`, or
        it and all that follow (`lasting`)."""
        before()
        after(self.run_with(0, args))
        n = injection.count_allocations(self.report)
        self.assertGreater(n, 50)
        codes, began = {0: 0, 1: 0}, time.monotonic()
        numbers = spread(n, most)
        for alloc in [str(i) for i in numbers * once] + ["%d+" % i for i in numbers[::LASTING] * lasting]:
            before()
            done = self.run_with(alloc, args)
            after(done)
            codes[done.returncode] += 1
        self.assertGreater(codes[1], 0)
        before()
        after(self.outboxd(*args))
        print("# figures: %s: %d allocations, %d runs, %d failed, %.1f s" % (
            self.id().replace("__main__.", ""), n, sum(codes.values()), codes[1], time.monotonic() - began), flush=True)

    def only_tells(self, *args):
        """A command that changes nothing: whole, or failed."""
        whole = self.outboxd(*args).stdout

        def check(done):
            out = done.stdout.decode() if isinstance(done.stdout, bytes) else done.stdout
            if done.returncode == 0:
                self.assertEqual(out, whole)
        self.without_memory(args, after=check)

    def test_check(self):
        self.only_tells("check", "--connect")

    def test_list(self):
        self.insert("x", headers='{"a": "b"}', count=3)
        self.only_tells("list", "--json", "--topic", "t*")

    def test_show(self):
        self.only_tells("show", self.insert("x" * 10000, headers='{"a": "b"}'), "--json")

    def test_route(self):
        self.only_tells("route", "--topic", "t.x", "--header", "a=b")

    def test_requeue_dry_run(self):
        self.insert(count=2, status="failed")
        self.only_tells("requeue", "--all", "--topic", "t", "--dry-run")
        self.until_counted(2, "failed")

    def test_plugins(self):
        whole = self.outboxd("plugins").stdout

        def check(done):
            out = done.stdout.decode() if isinstance(done.stdout, bytes) else done.stdout
            self.assertTrue(done.returncode == 1 or out == whole, done)
        self.without_memory(["plugins"], after=check)

    def test_status(self):
        self.insert(count=3)

        def check(done):
            if done.returncode == 0:
                self.assertEqual(json.loads(done.stdout)["pending"], 3)
        self.without_memory(["status", "--exact", "--json"], after=check)

    def test_init(self):
        tables = ("outbox_messages", "outbox_messages_relays", "outbox_messages_schema", "outbox_messages_leases")

        def forget():
            for table in tables:
                self.query("DROP TABLE IF EXISTS " + table)

        def check(done):
            if done.returncode == 1:
                self.outboxd("init")
            self.insert()
            self.until_counted(1, "pending")
        self.without_memory(["init"], forget, check, SAMPLE * 2 // 3)

    def test_send(self):
        i = str(uuid.uuid4())

        def forget():
            self.query("DELETE FROM outbox_messages WHERE id = ?", i)

        def check(done):
            rows = self.query("SELECT id, payload FROM outbox_messages")
            if done.returncode == 0:
                self.assertEqual([(str(row[0]), bytes(row[1])) for row in rows], [(i, b"y" * 3000)])
            else:
                self.assertLessEqual(len(rows), 1)
        self.without_memory(["send", "--topic", "t", "--header", "a=b", "--id", i, "y" * 3000], forget, check)

    def of_these(self, args, status, **columns):
        """A command that deletes what is of this status, or nothing, and never anything else."""
        innocent = self.insert("stays")

        def make():
            self.query("DELETE FROM outbox_messages WHERE status = ?", status)
            self.insert("goes", status=status, **columns)

        def check(done):
            left = self.number("SELECT count(*) FROM outbox_messages WHERE status = ?", status)
            self.assertLessEqual(left, 1 - (done.returncode == 0))
            self.assertEqual(self.row(innocent)["status"], "pending")
        self.without_memory(args, make, check)

    def test_discard(self):
        self.of_these(["discard", "--all", "--topic", "t"], "failed")

    def test_purge(self):
        self.of_these(["purge", "--older-than", "0"], "processed", processed_at="2026-01-02 03:04:05")

    def test_purge_dry_run_never_deletes(self):
        self.insert(status="processed", processed_at="2026-01-02 03:04:05")

        def check(_):
            self.assertEqual(self.number("SELECT count(*) FROM outbox_messages"), 1)
        self.without_memory(["purge", "--older-than", "0", "--dry-run"], after=check, most=SAMPLE // 2)

    def run_once(self, **how):
        """How many arrived more than once."""
        sent = []

        def send():
            sent.extend(self.insert("x", topic="t.x", headers='{"a": "b", "c": "d"}', count=3))

        def check(done):
            rows = self.query("SELECT id, status, available_at FROM outbox_messages")
            processed = {str(row[0]) for row in rows if row[1] == "processed"}
            self.assertEqual(processed - {a[0] for a in self.arrived()}, set())
            if done.returncode == 0:  # what is processing is another's, whose lease has not ended yet
                left = [row for row in rows if row[1] not in ("processed", "processing") and not row[2]]
                self.assertEqual(left, [], done)
        self.without_memory(["run", "--once", "--wait", "1s"], send, check, **how)
        self.until(lambda: self.outboxd("run", "--once") and not self.query(
            "SELECT 1 FROM outbox_messages WHERE status <> 'processed'"), "the rest")
        self.assertEqual({a[0] for a in self.arrived()}, set(sent))
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE status = 'failed'"), 0)
        again = len(self.arrived()) - len(sent)
        print("# figures: %s: %d messages, %d duplicates" % (self.id().replace("__main__.", ""), len(sent), again),
              flush=True)
        return again

    def test_run_once(self):
        self.assertEqual(self.run_once(lasting=False), 0)

    def test_run_once_for_which_there_is_no_more_memory(self):
        """Within --wait it may not be able to settle what has arrived; that is told, and arrives again."""
        self.run_once(once=False)


STREAM = r'''#!/usr/bin/env python3
import json, sys
sys.stdin.readline()
for line in sys.stdin:
    m = json.loads(line)
    with open(sys.argv[1], "a") as f:
        f.write("%s %d\n" % (m["id"], len(m["payload"])))
    print(json.dumps({"id": m["id"], "status": "ok"}), flush=True)
'''


class Stream(relay_test.Relay):
    LENGTH = 300000

    def test_a_line_is_whole_or_not_sent(self):
        """json-c leaves out what it has no room for, and what is left is JSON, too."""
        program, told = self.write("stream.py", STREAM, 0o755), injection.Injection(self, alloc="p0.05", scope="libjson-c")
        self.config("[publisher out]\nplugin = exec\nmode = stream\ncommand = %s %s\n" % (program, self.path("arrived")),
                    "workers = 1\nbatch_size = 5\nlease = 1s")
        self.outboxd("init")
        ids = self.insert("y" * self.LENGTH, count=LOAD * 20)
        relay = self.start("run", env=told.env)
        told.on()
        end = time.monotonic() + LOAD
        while time.monotonic() < end:
            if relay.poll() is not None:
                relay = self.start("run", env=told.env)
            time.sleep(0.05)
        told.off()
        if relay.poll() is not None:
            relay = self.start("run")
        self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status <> 'processed'") == [(0,)], "all")
        self.stop(relay)
        self.assertGreater(told.failures(), 0)
        arrived = [line.split() for line in self.read("arrived").splitlines()]
        self.assertEqual({int(length) for _, length in arrived}, {self.LENGTH})
        self.assertEqual({i for i, _ in arrived}, set(ids))
        self.assertEqual(self.query("SELECT sum(retries) FROM outbox_messages"), [(0,)])


@combination.combinations(PAIRS if SHORT else [*PAIRS, ("postgres_leases", "exec")])
class Relay(fire.Fire):
    CHANCE = 0.01

    def setUp(self):
        super().setUp()
        self.injection = injection.Injection(self, alloc="p%g" % self.CHANCE)
        self.ended = 0

    def start_relay(self, number):
        return self.start("run", log="relay-%d.log" % number, env=self.injection.env)

    def supervise(self, seconds):
        """One that ended with an error is started again, as a supervisor does; one is stopped now and then."""
        end = stop_at = time.monotonic() + seconds
        stop_at -= seconds / 2
        while time.monotonic() < end:
            if time.monotonic() > stop_at and self.relays[0].poll() is None:
                self.until(lambda: self.takes_signals(self.relays[0]), "the relay to begin")
                self.relays[0].terminate()
                self.assertIn(self.relays[0].wait(outbox_test.PATIENCE), (0, 1))
                self.restart(0)
                stop_at = time.monotonic() + 1
            for number, relay in enumerate(self.relays):
                if relay.poll() is not None:
                    self.assertEqual(relay.returncode, 1, self.read("relay-%d.log" % number)[-2000:])
                    self.ended += 1
                    self.restart(number)
            time.sleep(0.02)

    def test_allocations_that_fail_now_and_then(self):
        self.begin(fire.FOR_LONG)
        fault = self.fault("no memory")
        self.injection.on()
        self.supervise(LOAD)
        self.injection.off()
        self.over(fault)
        for number, relay in enumerate(self.relays):
            if relay.poll() is not None:
                self.restart(number)
        self.stop_writing()
        failures = self.injection.failures()
        # What came of one is at most what was in flight.
        fault.bound = failures * self.BATCH
        verdict = self.finish()
        print("# figures: %s: %d failures, %d duplicates, %d relays ended by them" % (
            self.id().replace("__main__.", ""), failures, verdict.duplicates, self.ended), flush=True)
        self.assertGreater(failures, 0)
        self.assertRegex(self.logs(), "(?i)memory")

    def test_no_memory_for_its_headers_is_not_the_messages_fault(self):
        """Each has more of them than any before, so that room is made for each."""
        self.RELAYS = 1
        self.injection = injection.Injection(self, alloc="p0.3" if self.store_name == "sqlite" else "p0.1")
        self.configure(router="[route some]\ntopic = t*\npublisher = out\n[router]\nunrouted = fail\n")
        self.relays.append(self.start_relay(0))
        self.history.wrote("committed", self.insert())
        self.until_counted(1, "processed")
        fault = self.fault("no memory")
        self.injection.on()
        end = time.monotonic() + outbox_test.PATIENCE
        for number in range(1, 1000):
            headers = json.dumps({"name-%d" % i: "value " * 8 for i in range(number)})
            self.history.wrote("committed", self.insert(headers=headers))
            if self.injection.failures() >= (5 if SHORT else 15) or time.monotonic() > end:
                break
        self.assertGreater(self.injection.failures(), 0)
        self.injection.off()
        self.over(fault)
        fault.bound = self.injection.failures() * self.BATCH
        self.finish()


if __name__ == "__main__":
    outbox_test.main()
