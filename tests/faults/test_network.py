# SPDX-License-Identifier: Apache-2.0
"""The network fails under load: it falls silent, loses answers, cuts, and is slow. It is noticed in time and told;
nothing is lost, nothing is charged, and what arrives twice belongs to a fault."""

import os
import random
import time

import combination
import detour
import fire
import outbox_test
from fire import FULL, SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module
BROKERS = [("postgres", "amqp")] if SHORT else [("postgres", "amqp"), ("sqlite", "amqp")]
DATABASES = [("postgres", "amqp")] if SHORT else [("postgres", "amqp"), ("postgres_leases", "exec")]
BOTH = [("postgres", "amqp")]
SEED = int(os.environ.get("OUTBOX_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
# What a busy machine may add to a deadline, seconds.
SLACK = 5
FOR_LONG = 600  # writers are stopped when the faults are over


@combination.combinations(BROKERS)
class Broker(detour.Fire):
    # Each with what the other would notice far later; and after how many seconds it has to be noticed.
    BY_HEARTBEATS = "heartbeat = 2s\nconfirm_timeout = 14s\nconnect_timeout = 2s", 4
    BY_CONFIRMS = "heartbeat = 30s\nconfirm_timeout = 2s\nconnect_timeout = 2s", 2

    def begin_with(self, settings):
        self.publisher_settings, self.deadline = settings
        self.begin(FOR_LONG)

    def silence(self, *directions):
        """Until the relays have noticed, and a little longer. What is on its way then is lost. Returns the duration."""
        since, began = self.told(), time.monotonic()
        fault = self.fault("silence " + " ".join(directions))
        self.everywhere("broker", "stall", *directions)
        self.until_told(["publisher is unavailable"], since, self.deadline + SLACK)
        noticed = time.monotonic() - began
        time.sleep(2)
        self.assertEqual(self.status_is_true()["failed"], 0)
        since = self.told()
        self.everywhere("broker", "reset")
        self.everywhere("broker", "go")
        self.over(fault)
        self.until_told(["publisher is back"], since)
        time.sleep(1)
        return noticed

    def test_it_falls_silent(self):
        self.begin_with(self.BY_HEARTBEATS)
        noticed = [self.silence("up", "down") for _ in range(20 if FULL else 1)]
        self.stop_writing()
        self.finish()
        self.figures("noticed after " + ", ".join("%.1f s" % seconds for seconds in noticed))

    def test_it_falls_silent_while_nothing_is_sent(self):
        self.begin_with(self.BY_HEARTBEATS)
        self.stop_writing()
        for writer in self.writers:
            writer.wait(outbox_test.PATIENCE)
        self.until(lambda: not self.query("SELECT 1 FROM outbox_messages WHERE status IN ('pending', 'processing')"),
                   "all to be sent")
        since, began = self.told(), time.monotonic()
        self.everywhere("broker", "stall")
        self.until_told(["the connection to 127.0.0.1"], since, self.deadline + SLACK)
        self.figures("noticed after %.1f s" % (time.monotonic() - began))
        self.everywhere("broker", "go")
        self.wrote(self.insert(count=2))
        self.finish()

    def test_its_confirms_are_lost(self):
        """The publishes arrive. So each relay repeats what it had under way, by the same ids, and no more than that."""
        self.begin_with(self.BY_CONFIRMS)
        noticed = [self.silence("down") for _ in range(20 if FULL else 1 if SHORT else 2)]
        self.stop_writing()
        verdict = self.finish()
        self.figures("noticed after " + ", ".join("%.1f s" % seconds for seconds in noticed))
        self.assertGreater(verdict.duplicates, 0, "no confirm was lost")


@combination.combinations(DATABASES)
class Answers(detour.Fire):
    """The database has done it, and the relay does not know."""
    CUTS = 300 if FULL else 12 if SHORT else 32
    # Of PostgreSQL: ready for more outside and inside of a transaction; what a settle ends with, by locks and by leases.
    IDLE, IN_TRANSACTION, COMMITTED, LEASE_DELETED = b"Z\0\0\0\5I", b"Z\0\0\0\5T", b"COMMIT\0", b"DELETE 1\0"
    BY_LOCKS = [IDLE, IN_TRANSACTION, COMMITTED, COMMITTED]
    BY_LEASES = [IDLE, LEASE_DELETED, LEASE_DELETED]

    def test_those_to_claims_and_settles_are_lost(self):
        """The relay finds out; nothing is sent twice."""
        self.begin(FOR_LONG)
        answers = self.BY_LEASES if self.store_name == "postgres_leases" else self.BY_LOCKS
        before = self.connects("database")
        for n in range(self.CUTS):
            self.ways[n % self.RELAYS]["database"].lose(answers[n // self.RELAYS % len(answers)], "down")
            time.sleep(0.25)
        lost = self.connects("database") - before
        self.stop_writing()
        verdict = self.finish()
        settles = self.logs().count("settled after all")
        self.figures("%d answers were lost, %d of them to settles" % (lost, settles))
        self.assertGreater(lost, self.CUTS // 4)
        self.assertGreater(settles, self.CUTS // 10)
        self.assertEqual(verdict.duplicates, 0)
        self.assertEqual(self.logs().count("settled too late"), 0)


@combination.combinations(DATABASES)
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
        self.assertEqual(process.wait(self.COMMAND + SLACK), 1)
        seconds = time.monotonic() - began
        text = self.read(name + ".log").strip()
        self.assertIn("PostgreSQL", text)
        self.figures("%s ended after %.1f s: %s" % (name, seconds, text))

    def test_it_falls_silent(self):
        """What was sent before arrives later: a settle, perhaps, whose relay tries it by another connection."""
        self.begin(FOR_LONG)
        since, began = self.told(), time.monotonic()
        fault = self.fault("silence")
        self.everywhere("database", "stall")
        inquiries = [self.inquiry(100, after) for after in ((0,) if SHORT else (0, 1, 1.6))]
        self.until_told(["the store is unavailable", "cannot settle; trying on"], since, self.CALL + SLACK)
        noticed = time.monotonic() - began
        if self.store_name == "postgres":
            for inquiry in inquiries:
                self.until_answered(*inquiry)
        since = self.told()
        self.everywhere("database", "go")
        self.over(fault)
        self.until_told(["the store is back", "settled after all"], since)
        self.stop_writing()
        self.finish()
        self.figures("noticed after %.1f s" % noticed)


@combination.combinations(BOTH)
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
        self.assertLess(most, self.POLL + SLACK)
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


@combination.combinations(BOTH)
class Slow(detour.Fire):
    """50 ms each way, to both servers."""
    MS = 50

    def slow_down(self):
        for server in self.servers():
            self.everywhere(server, "go")
            self.everywhere(server, "latency", self.MS)

    def test_batches_pay_for_round_trips_and_messages_do_not(self):
        self.BATCH, self.RELAYS = 500, 1
        self.configure()
        self.slow_down()
        n = 4000
        self.wrote(self.insert(count=n))
        self.relays.append(self.start_relay(0))
        self.until(lambda: self.publisher.arrivals(), "the first message to arrive")
        began = time.monotonic()
        self.until_counted(n, "processed")
        seconds = time.monotonic() - began
        self.finish()
        trips = seconds / (2 * self.MS / 1000)
        self.figures("%d messages in %.1f s, %.1f round trips for a batch" % (n, seconds, trips / (n / self.BATCH)))
        self.assertLess(seconds, n / self.BATCH * 1 + SLACK)  # ten round trips for each

    def test_a_stall_within_the_deadlines_repeats_nothing(self):
        self.begin(FOR_LONG)
        self.slow_down()
        for _ in range(2):
            time.sleep(1)
            for server in self.servers():
                self.everywhere(server, "stall")
            time.sleep(3)
            self.slow_down()
        self.stop_writing()
        self.finish()
        self.assertEqual(self.logs().count("unavailable"), 0)


@combination.combinations(BOTH)
class Cuts(detour.Fire):
    SECONDS = 300 if FULL else 4 if SHORT else 12

    def test_at_any_byte(self):
        """Also of logins, and one direction only, of connections to both servers."""
        print("# cuts: seed %d" % SEED, flush=True)
        dice = random.Random(SEED)
        self.begin(FOR_LONG)
        before = self.connects("database") + self.connects("broker")
        end = time.monotonic() + self.SECONDS
        while time.monotonic() < end:
            way, direction = dice.choice(list(dice.choice(self.ways).values())), dice.choice(("up", "down"))
            fault, connects = self.fault("cut", 0), way.count()[1]
            if dice.random() < 0.2:
                way.close(direction)
            else:
                way.cut(dice.randrange(dice.choice((200, 3000))), direction, future=True)
            time.sleep(dice.uniform(0.1, 1))
            way.go()
            self.over(fault)
            # Each connection that ended.
            fault.bound = self.BATCH * self.WORKERS * (1 + way.count()[1] - connects)
        made = self.connects("database") + self.connects("broker") - before
        self.stop_writing()
        self.finish()
        self.figures("%d connections were made anew" % made)
        self.assertGreater(made, self.SECONDS // 2)


@combination.combinations(BOTH)
class Return(detour.Fire):
    """A server refuses connections for long, and much is due then."""
    WORKERS = 2
    SECONDS = 60 if FULL else 8 if SHORT else 12
    BACKLOG = 3000

    def outage(self, server):
        self.begin(FOR_LONG)
        time.sleep(1)
        at_first = sum(way.count()[0] for way in self.ways_to(server))
        self.wrote(self.insert(count=self.BACKLOG))
        fault = self.fault(server)
        self.everywhere(server, "refuse")
        self.everywhere(server, "reset")
        before = self.connects(server)
        time.sleep(self.SECONDS)
        during = self.connects(server) - before
        self.everywhere(server, "go")
        self.over(fault)
        began = time.monotonic()
        self.stop_writing()
        self.finish()
        after = self.connects(server) - before - during
        self.figures("%d connections before; in %d s of outage tried %d times, after it %d times; all sent %.1f s later"
                     % (at_first, self.SECONDS, during, after, time.monotonic() - began))
        self.assertLessEqual(after, at_first + self.RELAYS)
        return during

    def test_of_the_broker(self):
        """The pauses double: all workers together try at 0, 0.25, 0.75, 1.75, 3.75 s and so on at the earliest."""
        self.assertLessEqual(self.outage("broker"), self.RELAYS * (2 * self.WORKERS + self.SECONDS.bit_length() + 3))

    def test_of_the_database(self):
        """Beside the workers, the keeper and who waits for news try about once a second."""
        self.assertLessEqual(self.outage("database"), self.RELAYS * (2 * self.WORKERS + 3 * self.SECONDS))


if __name__ == "__main__":
    outbox_test.main()
