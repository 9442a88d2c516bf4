# SPDX-License-Identifier: Apache-2.0
"""Everything at once, for long: relays and servers are killed, connections are cut, in random order, while messages
flow. Nothing is lost, nothing is invented, and there are no more duplicates than the faults account for."""

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

#          kills of relays, of the broker, crashes of the database, cut connections
TIMES = (1000, 50, 50, 500) if FULL else (12, 1, 1, 6) if SHORT else (60, 3, 3, 30)
MESSAGES_PER_DUPLICATE = 20  # that the faults account for; so that a defect of one in twenty would show
PAIRS = [("sqlite", "amqp"), ("postgres", "amqp"), ("postgres_leases", "exec")]
SEED = int(os.environ.get("OUTBOX_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)


class Consumer(fire.Consumer):
    # What it has not acknowledged when the broker is killed may come again, without a mark.
    PREFETCH = 20


@combination.combinations(PAIRS)
class Soak(detour.Fire):
    RATE, PER_TRANSACTION = 60, 5

    def setUp(self):
        super().setUp()
        self.bound = 0
        self.done = dict.fromkeys(("kill", "broker", "database", "cut"), 0)
        self.random = random.Random(SEED)

    def make_publisher(self):
        return Consumer(self) if self.publisher_name == "amqp" else fire.StreamReceiver(self)

    # ---- faults

    def hurt(self, what, bound):
        self.bound += bound
        self.done[what] += 1
        return self.fault(what, bound)

    def one_kill(self):
        self.bound += self.BATCH * self.WORKERS
        self.done["kill"] += 1
        self.kill(self.random.randrange(self.RELAYS))

    def one_broker(self):
        fault = self.hurt("broker", self.BATCH * self.WORKERS * self.RELAYS + Consumer.PREFETCH)
        fire.own.kill("rabbitmq")
        fire.own.start("rabbitmq")
        self.over(fault)

    def one_database(self):
        fault = self.hurt("database", self.BATCH * self.WORKERS * self.RELAYS)
        fire.own.kill("postgres")
        fire.own.start("postgres")
        self.over(fault)

    def one_cut(self):
        """At once, or in the middle of what is sent or answered next."""
        fault = self.hurt("cut", self.BATCH * self.WORKERS)
        way = self.random.choice(list(self.random.choice(self.ways).values()))
        if self.random.random() < 0.3:
            way.reset()
        else:
            way.cut(self.random.randrange(2000), self.random.choice(("up", "down")))
        self.over(fault)

    def test_everything_at_once(self):
        kills, brokers, databases, cuts = TIMES
        faults = ["kill"] * kills + ["cut"] * cuts
        if self.publisher_name == "amqp":
            faults += ["broker"] * brokers
        if self.store_name != "sqlite":
            faults += ["database"] * databases
        self.random.shuffle(faults)
        print("# soak: seed %d" % SEED, flush=True)
        self.begin(8 * fire.FOR_LONG, messages=self.PER_TRANSACTION)
        time.sleep(fire.BROKER_WRITES)
        for what in faults:
            getattr(self, "one_" + what)()
            time.sleep(self.random.uniform(0, 1))
        wanted = self.bound * MESSAGES_PER_DUPLICATE if FULL else 0
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages") >= wanted, "enough messages", 4 * 3600)
        self.stop_writing()
        verdict = self.finish()
        self.figures("%s; %d duplicates were allowed" % (
            ", ".join("%s %d" % each for each in self.done.items() if each[1]), self.bound))
        self.assertLessEqual(verdict.duplicates, self.bound)


if __name__ == "__main__":
    outbox_test.main()
