# SPDX-License-Identifier: Apache-2.0
"""Who shares the database with a relay: other relays, producers that commit late and out of order, sessions that keep
an old snapshot, relays with a wrong clock, writers that hold the lock of SQLite."""

import collections
import datetime
import glob
import os
import random
import re
import time
import uuid

import combination
import fire
import outbox_test
from fire import FULL, SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module
EXEC = [(store, "exec") for store in ("sqlite", "postgres", "postgres_leases")]


def many(n):
    """A statement that writes so many messages, fast."""
    return ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
            " INSERT INTO outbox_messages (topic, payload) SELECT 't', 'x' FROM n" % n)


@combination.combinations(EXEC if SHORT else EXEC + [("postgres", "amqp")])
class Together(fire.Fire):
    COUNT = 100000 if FULL else 3000 if SHORT else 20000
    BATCH, WORKERS = 100, 2
    relay_settings = "poll_interval = 100ms"

    def test_no_message_of_many_arrives_twice(self):
        if SHORT:
            self.publisher.pace = 0.001  # long enough for both to have a share
        self.configure()
        self.relays = [self.start_relay(number) for number in range(self.RELAYS)]
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages_relays") == self.RELAYS, "both to be there")
        self.query(many(self.COUNT))
        ids = {str(row[0]) for row in self.query("SELECT id FROM outbox_messages")}
        began = time.monotonic()
        self.until(lambda: not self.query("SELECT 1 FROM outbox_messages WHERE status IN ('pending', 'processing')"
                                          " LIMIT 1"), "all of them", 900)
        took = time.monotonic() - began
        for relay in self.relays:
            self.stop(relay)
        self.publisher.settle_down()
        arrived = collections.Counter(i for _, i in self.publisher.arrivals())
        shares = [int(n) for n in re.findall(r"msg=stopped published=(\d+)", self.logs())]
        twice = sum(arrived.values()) - len(arrived)
        print("# figures: %s: %d messages in %.1f s, shares %s, arrived twice %d"
              % (self.id().replace("__main__.", ""), self.COUNT, took, shares, twice), flush=True)
        self.assertEqual(set(arrived), ids)
        self.assertEqual(sum(arrived.values()), self.COUNT)
        self.assertEqual(len([n for n in shares if n > 0]), self.RELAYS)
        self.assertEqual(sum(shares), self.COUNT)


@combination.combinations([("postgres", "amqp"), ("postgres_leases", "exec")][:1 if SHORT else 2])
class Late(fire.Fire):
    """SQLite has one writer at a time: there the order of ids is that of commits."""
    SECONDS = 60 if FULL else 4 if SHORT else 6
    TRANSACTIONS = 20

    def test_long_transactions_commit_late_and_in_any_order(self):
        self.begin(fire.FOR_LONG)
        chance = random.Random(1)
        open_ones = []
        for number in range(self.TRANSACTIONS):
            db = self.connect()
            ids = [str(uuid.uuid4()) for _ in range(5)]
            self.store.execute(db, "BEGIN")
            for i in ids:
                self.store.execute(db, "INSERT INTO outbox_messages (id, topic, payload) VALUES (?, 't', 'late')", [i])
            open_ones.append((db, ids, "rolled-back" if number % 5 == 4 else "committed"))
        oldest = self.query("SELECT max(seq) FROM outbox_messages WHERE status = 'processed'")[0][0]
        chance.shuffle(open_ones)
        committed = {}
        for db, ids, what in open_ones:
            time.sleep(self.SECONDS / self.TRANSACTIONS)
            self.store.execute(db, "COMMIT" if what == "committed" else "ROLLBACK")
            for i in ids:
                self.history.wrote(what, i)
                committed[i] = time.time()
        passed = self.number("SELECT max(seq) FROM outbox_messages WHERE status = 'processed'") - oldest
        self.assertGreater(passed, 10 * self.TRANSACTIONS)
        self.stop_writing()
        self.finish()
        delays = [at - committed[i] for at, i in self.publisher.arrivals() if i in committed]
        print("# figures: %s: %d late ones, %d messages went before the last; at most %.2f s after the commit" % (
            self.id().replace("__main__.", ""), len(delays), passed, max(delays)), flush=True)
        self.assertEqual(len(delays), len([w for _, ids, w in open_ones if w == "committed" for _ in ids]))
        self.assertLess(max(delays), 20)


@combination.combinations([("postgres", "exec"), ("postgres_leases", "exec")][:1 if SHORT else 2])
class Snapshot(fire.Fire):
    """A session keeps a snapshot of before: what is settled stays in the table as dead rows."""
    SECONDS = 180 if FULL else 8 if SHORT else 16
    BATCH, WORKERS, RELAYS = 500, 2, 1
    relay_settings = "retention = 0"
    AHEAD = 5000  # messages that wait

    def test_old_snapshots_do_not_slow_it_down(self):
        self.configure()
        holder = self.connect()
        self.store.execute(holder, "BEGIN ISOLATION LEVEL REPEATABLE READ")
        self.store.execute(holder, "SELECT txid_current(), (SELECT count(*) FROM outbox_messages)")
        self.relays = [self.start_relay(0)]
        producer, written = self.connect(), 0
        with open(self.path("arrived"), "a+b") as f:
            arrived, at, end = 0, [], time.monotonic() + self.SECONDS + outbox_test.PATIENCE
            f.seek(0)
            while not self.is_measured(at) and time.monotonic() < end:
                while written - arrived < self.AHEAD:
                    self.store.execute(producer, many(1000))
                    written += 1000
                arrived += f.read().count(b"\n")
                if arrived:
                    at.append((time.monotonic(), arrived))
                time.sleep(0.02)
        first, last = self.first_and_last(at)
        dead = self.number("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'outbox_messages'"
                           " AND schemaname = ?", self.store.schema)
        print("# figures: %s: %d messages in %d s, at best %d/s in the first quarter, %d/s in the last; %d dead rows"
              % (self.id().replace("__main__.", ""), arrived, at[-1][0] - at[0][0], first, last, dead), flush=True)
        self.until(lambda: not self.query("SELECT 1 FROM outbox_messages LIMIT 1"), "the rest", 120)
        self.stop(self.relays[0])
        self.assertEqual(len(self.publisher.arrivals()), written)
        self.assertGreater(first, 0)
        self.assertGreaterEqual(last, first / 2)

    def first_and_last(self, at):
        """The best second of the first quarter and of the last."""
        first, last, quarter = at[0][0], at[-1][0], self.SECONDS / 4
        return self.best_second(at, first, first + quarter), self.best_second(at, last - quarter, last)

    def is_measured(self, at):
        """All the time, and longer where the last quarter was slow: a table that got slower stays so."""
        if not at or at[-1][0] - at[0][0] < self.SECONDS:
            return False
        first, last = self.first_and_last(at)
        return last >= first / 2

    @staticmethod
    def best_second(at, since, until):
        """What others do on the machine makes some seconds slow; a table that gets slower makes all of them so."""
        counts, best = [(t, n) for t, n in at if since <= t <= until], 0
        for k, (t, n) in enumerate(counts):
            later = next((c for c in counts[k:] if c[0] >= t + 0.9), None)
            best = max(best, (later[1] - n) / (later[0] - t) if later else 0)
        return best


FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketime.so.1")), None)
HOUR = 3600


def with_clock(offset):
    """The environment of a process whose clock is off by so many seconds. Times that have nothing to do with the
    clock stay right: without the last setting a timed wait would return at once."""
    return dict(os.environ, LD_PRELOAD=FAKETIME, FAKETIME="%+d" % offset, FAKETIME_DISABLE_SHM="1",
                FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_FORCE_MONOTONIC_FIX="0") if offset else dict(os.environ)


class Clocks(fire.Fire):
    """Relays, each with a clock of its own."""
    SECONDS = 30 if FULL else 3 if SHORT else 4
    LEASE = "90s"  # far less than the clocks are off, and more than a slow machine needs
    EARLY = ("did not end cleanly", "settled too late", "the claim ran out")

    def setUp(self):
        super().setUp()
        if not FAKETIME:
            self.skipTest("libfaketime is missing; scripts/deps.sh --ci installs it")

    def start_relay(self, number):
        return self.start("run", log="relay-%d.log" % number, env=with_clock(self.offsets[number]))

    def clock_of(self, number):
        """What the first line of its log says."""
        text = re.match(r"time=(\S+)Z", self.read("relay-%d.log" % number)).group(1)
        return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc).timestamp()

    def serve(self, *offsets, of_store=0):
        """Relays with such clocks, under load; messages for later are not sent before the store's clock says so."""
        self.offsets = offsets
        self.begin(fire.FOR_LONG)
        due = time.time() + self.SECONDS / 2
        text = datetime.datetime.fromtimestamp(due + of_store, datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
        ids = self.insert("later", count=10, available_at=text)
        for i in ids:
            self.history.wrote("committed", i)
        time.sleep(self.SECONDS)
        self.stop_writing()
        verdict = self.finish()
        for number, offset in enumerate(offsets):
            self.assertLess(abs(self.clock_of(number) - due - offset), HOUR / 2, "another clock than it was given")
        return verdict, min(at - due for at, i in self.publisher.arrivals() if i in ids)


@combination.combinations([("postgres_leases", "exec"), ("postgres", "exec")][:1 if SHORT else 2])
class ServerClock(Clocks):
    """PostgreSQL's clock decides, whatever the relays' hosts say. Were a lease judged by another's clock, it would
    have ended an hour ago."""

    RELAYS = 3

    def test_one_is_an_hour_ahead_and_one_behind(self):
        _, after = self.serve(0, HOUR, -HOUR)
        self.assertGreater(after, -0.001, "gone out early")
        for told in self.EARLY:
            self.assertNotIn(told, self.logs())

    def test_retries_are_due_by_the_servers_clock(self):
        self.shop("retry_min = 60s\nretry_max = 60s", router="[router]\nfallback = bad\n",
                  more="[publisher bad]\nplugin = exec\ncommand = /bin/sh -c \"exit 75\"\n")
        for offset in (HOUR, -HOUR):
            i = self.insert()
            relay = self.start("run", log="relay-0.log", env=with_clock(offset))
            self.until(lambda: self.row(i)["retries"] == 1, "the retry")
            self.stop(relay)
            due = self.number("SELECT extract(epoch FROM available_at - now())::float8 FROM outbox_messages"
                              " WHERE id = ?", i)
            self.assertTrue(-60 < due <= 60, "due in %.1f s" % due)


@combination.combinations([("sqlite", "exec")])
class HostClock(Clocks):
    """SQLite has the clock of the host, which all relays of a file share. That may be wrong."""

    def wrong_for_all(self, offset):
        _, after = self.serve(offset, offset, of_store=offset)
        self.assertGreater(after, -0.001, "gone out early")
        for told in self.EARLY:
            self.assertNotIn(told, self.logs())

    def test_it_is_an_hour_ahead(self):
        self.wrong_for_all(HOUR)

    def test_it_is_an_hour_behind(self):
        self.wrong_for_all(-HOUR)

    def test_relays_of_one_file_that_do_not_agree(self):
        """As after a clock was set, for a moment: each may take what another has for left behind long ago. That sends
        twice, is told, and loses and charges nothing."""
        fault = self.fault("the clock", 1 << 30)
        fault.end = fault.at + 3600
        verdict, _ = self.serve(0, HOUR)
        if verdict.duplicates:
            self.assertIn("did not end cleanly", self.logs())


@combination.combinations([("sqlite", "exec")] if SHORT else [("sqlite", "exec"), ("sqlite", "amqp")])
class Locked(fire.Fire):
    HELD = 30 if FULL else 4 if SHORT else 8
    LEASE = "90s"  # so that whatever arrives twice is a defect
    store_settings = "busy_timeout = 1s"

    def test_a_writer_that_holds_the_lock_for_long(self):
        self.begin(self.HELD + 3)
        ids, db = [str(uuid.uuid4()) for _ in range(1000)], self.connect()
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO outbox_messages (id, topic) VALUES (?, 't')", [(i,) for i in ids])
        db.execute("COMMIT")
        db.execute("BEGIN IMMEDIATE")  # with many of them before the relays
        for i in ids:
            self.history.wrote("committed", i)
        end, took = time.monotonic() + self.HELD, []
        while time.monotonic() < end:
            began = time.monotonic()
            self.status_is_true()
            took.append(time.monotonic() - began)
            time.sleep(0.2)
        refused = self.outboxd("send", "--topic", "t", "x", code=1)
        self.assertIn("keeps the database locked", refused.stderr)
        lines = self.logs().count("\n")
        db.execute("COMMIT")
        self.finish()
        print("# figures: %s: held for %d s, status took %.2f s at most, %d log lines meanwhile"
              % (self.id().replace("__main__.", ""), self.HELD, max(took), lines), flush=True)
        self.assertIn("keeps the database locked", self.logs())
        self.assertTrue("the store is back" in self.logs() or "settled after all" in self.logs())
        self.assertLess(lines, 20 + 4 * self.HELD)


if __name__ == "__main__":
    outbox_test.main()
