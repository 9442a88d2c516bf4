# SPDX-License-Identifier: Apache-2.0
"""The network to the database fails under load: it falls silent, loses answers, and refuses. It is noticed in time and
told; nothing is lost, nothing is charged, and what arrives twice belongs to a fault."""

import time

import combination
import detour
import fire
import outbox_test
from fire import FULL, SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module
LOCKS, LEASES = ("postgres", "amqp"), ("postgres_leases", "exec")


@combination.combinations([LOCKS] if SHORT else [LOCKS, LEASES])
class Answers(detour.Fire):
    """The database has done it, and the relay does not know."""
    CUTS = 300 if FULL else 12 if SHORT else 32
    # Of PostgreSQL: ready for more, outside and inside of a transaction; the end of a settle, by locks and by leases.
    IDLE, IN_TRANSACTION, COMMITTED, LEASE_DELETED = b"Z\0\0\0\5I", b"Z\0\0\0\5T", b"COMMIT\0", b"DELETE 1\0"
    BY_LOCKS = [IDLE, IN_TRANSACTION, COMMITTED, COMMITTED]
    BY_LEASES = [IDLE, LEASE_DELETED, LEASE_DELETED]

    def test_those_to_claims_and_settles_are_lost(self):
        """The relay finds out; nothing is sent twice."""
        self.begin(fire.FOR_LONG)
        answers = self.BY_LEASES if self.store_name == "postgres_leases" else self.BY_LOCKS
        before, n = self.connects("database"), 0
        end = time.monotonic() + self.CUTS / 4 + outbox_test.PATIENCE
        while n < self.CUTS or (not self.are_enough(before) and time.monotonic() < end):
            self.ways[n % self.RELAYS]["database"].lose(answers[n // self.RELAYS % len(answers)], "down")
            time.sleep(0.25)
            n += 1
        lost = self.connects("database") - before
        self.stop_writing()
        verdict = self.finish()
        settles = self.logs().count("settled after all")
        self.figures("%d answers were lost, %d of them to settles" % (lost, settles))
        self.assertGreater(lost, self.CUTS // 4)
        self.assertGreater(settles, self.CUTS // 10)
        self.assertEqual(verdict.duplicates, 0)
        self.assertEqual(self.logs().count("settled too late"), 0)


    def are_enough(self, before):
        return (self.connects("database") - before > self.CUTS // 4
                and self.logs().count("settled after all") > self.CUTS // 10)


@combination.combinations([] if SHORT else [LOCKS, LEASES] if FULL else [LOCKS])
class Database(detour.Fire):
    # How long the relay waits for its answers, and a command; seconds.
    CALL, COMMAND = 10, 30

    def inquiry(self, ms, after):
        """outboxd status, through a network that delays and falls silent so many seconds after it began."""
        name = "status-%g" % after
        with self.detour("database") as way:
            config = fire.Fire.configure(self, name=name + ".ini", init=False)
        way.latency(ms)
        began = time.monotonic()
        process = self.start("status", log=name + ".log", config=config)
        time.sleep(after)
        way.stall()
        return name, began, process

    def until_answered(self, name, began, process):
        """It ends in time and says why."""
        self.assertEqual(process.wait(self.COMMAND + detour.SLACK), 1)
        seconds = time.monotonic() - began
        text = self.read(name + ".log").strip()
        self.assertIn("PostgreSQL", text)
        self.figures("%s ended after %.1f s: %s" % (name, seconds, text))

    def test_it_falls_silent(self):
        """What was sent before arrives later: a settle, perhaps, whose relay tries it by another connection."""
        self.begin(fire.FOR_LONG)
        since, began = self.told(), time.monotonic()
        fault = self.fault("silence")
        self.everywhere("database", "stall")
        inquiries = [self.inquiry(100, after) for after in (0, 1, 1.6)]
        self.until_told(["the store is unavailable", "cannot settle; trying again"], since, self.CALL + detour.SLACK)
        noticed = time.monotonic() - began
        for inquiry in inquiries:
            self.until_answered(*inquiry)
        since = self.told()
        self.everywhere("database", "go")
        self.over(fault)
        self.until_told(["the store is back", "settled after all"], since)
        self.stop_writing()
        self.finish()
        self.figures("noticed after %.1f s" % noticed)


@combination.combinations([] if SHORT else [LOCKS])
class News(detour.Fire):
    """Only the connection that waits for notifications fails."""
    RELAYS, POLL = 1, 4
    relay_settings = "poll_interval = %ds" % POLL

    def configure(self, **more):
        with self.detour("database") as self.news:
            self.store_settings = "notify_conninfo = " + self.store.conninfo
        super().configure(**more)

    def latency(self):
        """From the commit to the arrival."""
        i = self.insert()
        began = time.time()
        self.wrote([i])
        self.until(lambda: i in [a for _, a in self.publisher.arrivals()], "a message to arrive")
        return dict((a, at) for at, a in self.publisher.arrivals())[i] - began

    def until_quick(self):
        self.until(lambda: max(self.latency() for _ in range(3)) < 1, "notifications to arrive")

    def polled(self, times):
        most = max(self.latency() for _ in range(times))
        self.assertLess(most, self.POLL + detour.SLACK)
        return most

    def test_it_is_cut_and_falls_silent(self):
        self.configure()
        self.relays.append(self.start_relay(0))
        self.until_quick()
        self.news.refuse()
        self.assertGreater(self.news.reset(), 0)
        cut = self.polled(2)
        self.news.go()
        self.until_quick()
        self.news.stall()
        silent = self.polled(2)
        self.wrote(self.insert(count=500))
        silent = max(silent, self.polled(1))
        self.news.go()
        self.until_quick()
        self.finish()
        self.figures("from commit to arrival at most %.1f s without, %.1f s in silence" % (cut, silent))
        self.assertGreater(min(cut, silent), 1, "notifications arrived all the time")


@combination.combinations([] if SHORT else [LOCKS])
class Return(detour.Outage):
    def test_of_the_database(self):
        """Workers that have to settle, the keeper, and who waits for news: each tries about once a second."""
        self.assertLessEqual(self.outage("database"), self.RELAYS * (self.WORKERS + 2) * (self.SECONDS + 4))


if __name__ == "__main__":
    outbox_test.main()
