# SPDX-License-Identifier: Apache-2.0
"""The network to the broker, or to both servers, fails under load: it falls silent, loses confirms, cuts, refuses, and
is slow. It is noticed in time and told; nothing is lost or charged, and what arrives twice belongs to a fault."""

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
BOTH = [("postgres", "amqp")]
LONGER = [] if SHORT else BOTH
SEED = int(os.environ.get("OUTBOX_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)


@combination.combinations(BROKERS)
class Broker(detour.Fire):
    # Each with what the other would notice far later; and after how many seconds it has to be noticed. After two
    # heartbeats one more connection is tried.
    BY_HEARTBEATS = "heartbeat = 2s\nconfirm_timeout = 14s\nconnect_timeout = 2s", 6
    BY_CONFIRMS = "heartbeat = 30s\nconfirm_timeout = 3s\nconnect_timeout = 3s", 3

    def begin_with(self, settings):
        self.publisher_settings, self.deadline = settings
        self.begin(fire.FOR_LONG)

    def silence(self, *directions):
        """Until the relays have noticed, and a little longer. What is on its way then is lost. Returns the duration."""
        self.until_well()
        fault = self.fault("silence " + " ".join(directions))
        self.everywhere("broker", "stall", *directions)
        noticed = self.until_unwell(self.deadline + detour.SLACK)
        time.sleep(2)
        self.assertEqual(self.status_is_true()["failed"], 0)
        self.everywhere("broker", "reset")
        self.everywhere("broker", "go")
        self.over(fault)
        self.until_well()
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
        self.until_well()  # while there is something for each: a relay connects for its first batch
        self.stop_writing()
        for writer in self.writers:
            writer.wait(outbox_test.PATIENCE)
        self.until(lambda: not self.query("SELECT 1 FROM outbox_messages WHERE status IN ('pending', 'processing')"),
                   "all to be sent")
        since, began = self.told(), time.monotonic()
        self.everywhere("broker", "stall")
        self.until_told(["the connection to 127.0.0.1"], since, self.deadline + detour.SLACK)
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


@combination.combinations(LONGER)
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
        self.assertLess(seconds, n / self.BATCH * 1 + detour.SLACK)  # ten round trips for each

    def test_a_stall_within_the_deadlines_repeats_nothing(self):
        self.BATCH = 200
        self.begin(fire.FOR_LONG)
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
        self.begin(fire.FOR_LONG)
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
            # A batch for each connection that ended.
            fault.bound = self.BATCH * self.WORKERS * (1 + way.count()[1] - connects)
        made = self.connects("database") + self.connects("broker") - before
        self.stop_writing()
        self.finish()
        self.figures("%d connections were made anew" % made)
        self.assertGreater(made, self.SECONDS // 2)


@combination.combinations(LONGER)
class Return(detour.Outage):
    def test_of_the_broker(self):
        """The pauses double: all workers together try at 0, 0.25, 0.75, 1.75, 3.75 s and so on at the earliest."""
        self.assertLessEqual(self.outage("broker"), self.RELAYS * (2 * self.WORKERS + self.SECONDS.bit_length() + 3))


if __name__ == "__main__":
    outbox_test.main()
