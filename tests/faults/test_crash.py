# SPDX-License-Identifier: Apache-2.0
"""The relay dies between any two instructions that matter: at each point, with each store, way of claiming and
publisher. Another is started: nothing is lost, and at most one batch arrives twice."""

import os
import time

import checker
import combination
import fire
import outbox_test

POINTS = ("after_claim", "after_publish", "after_confirm", "before_settle", "in_settle")
PAIRS = combination.FOUR + [("postgres_leases", "exec"), ("postgres_leases", "amqp")]
# Before anything went out nothing can arrive twice.
CLEAN = ("after_claim",)
BATCH, COUNT = 20, 100


@combination.combinations(PAIRS)
class Crash(fire.Watched):
    def make_publisher(self):
        return fire.Consumer(self) if self.publisher_name == "amqp" else fire.StreamReceiver(self)

    def crash(self, point, retention):
        self.shop("batch_size = %d\nworkers = 1\nlease = 1s\nretention = %s" % (BATCH, retention))
        history = checker.History()
        for i in self.insert(count=COUNT):
            history.wrote("committed", i)
        doomed = self.start("run", env=dict(os.environ, OUTBOX_CRASH_AT=point + ":2"))
        fault = history.fault("crash " + point, time.time(), 0 if point in CLEAN else BATCH)
        self.assertEqual(doomed.wait(outbox_test.PATIENCE), -9)
        fault.end = time.time()
        relay = self.start("run", log="second.log")
        self.until(lambda: not self.query("SELECT 1 FROM outbox_messages WHERE status IN ('pending', 'processing')"),
                   "everything to be relayed")
        self.stop(relay)
        self.publisher.settle_down()
        for at, i in self.publisher.arrivals():
            history.arrived(at, i)
        history.judge().require(self)
        self.assertEqual(self.number("SELECT coalesce(sum(retries), 0) FROM outbox_messages"), 0)


def add_case(point, retention):
    def test(self):
        self.crash(point, retention)
    for cls in list(globals().values()):
        if isinstance(cls, type) and issubclass(cls, combination.Scenario) and cls.__name__.startswith("Crash_"):
            setattr(cls, "test_%s_%s" % (point, "deleted" if retention == "0" else "kept"), test)


for each in POINTS:
    add_case(each, "1d")
    if each in ("after_confirm", "in_settle"):
        add_case(each, "0")


if __name__ == "__main__":
    outbox_test.main()
