# SPDX-License-Identifier: Apache-2.0
"""A relay that is reloaded again and again under load, each time with another file: nothing is lost or repeated, and
it has no more threads, descriptors and memory than before."""

import re
import subprocess
import time

import combination
import fire
import outbox_test
import test_steady
from fire import SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module
TIMES = 20 if SHORT else 100
# Until then each thread's share of the heap has grown to what it needs.
WARM_UP = TIMES // 2
GROWTH_KIB = 2048
# SQLite keeps descriptors of closed connections for the next ones, as long as other connections hold locks.
SPARE = {"sqlite": 8, "postgres": 0}
PAIRS = [("postgres", "amqp"), ("sqlite", "exec")]


class Reloads(fire.Fire):
    RELAYS, WORKERS, BATCH = 1, 3, 20

    def rewrite(self, n):
        """The file for the next time: another number of workers, other terms, another route."""
        self.WORKERS, self.BATCH = 2 + n % 3, 15 + n % 7
        self.relay_settings = "poll_interval = %dms\n" % (200 + n)
        more = "[route r%d]\ntopic = t\npublisher = out\n" % (n % 2)
        if n % 5 == 4:  # another store of the same kind: its options differ
            more += "[log]\nlevel = debug\n"
        return self.configure(init=False, more=more)

    def reload(self, n):
        self.rewrite(n)
        began = time.monotonic()
        done = self.outboxd("reload")
        self.assertRegex(done.stdout, r"publisher out: (un)?changed( \(batch_size\))?, keeps its connections")
        self.took.append(time.monotonic() - began)

    def reload_wrongly(self, n):
        with open(self.rewrite(n), "a", encoding="ascii") as f:
            f.write("[publisher out]\nplugin = none\n")
        self.assertRegex(self.outboxd("reload", code=2).stderr, r"outboxd\.ini:\d+: ")

    def setUp(self):
        super().setUp()
        self.took = []

    def has_grown(self, early, late):
        """What one relay needs at once; while one hands over there are two, so that the least of several counts."""
        def least(name, samples):
            return min(s[name] for s in samples)
        for name in ("threads", "descriptors", "children"):
            spare = SPARE[self.store_name] if name == "descriptors" else 0
            self.assertLessEqual(least(name, late), least(name, early) + spare, name)
        self.figures("%d reloads, %.0f ms each, at most %.0f ms; before and after: %s" % (
            len(self.took), 1000 * sum(self.took) / len(self.took), 1000 * max(self.took),
            ", ".join("%s %d, %d" % (name, least(name, early), least(name, late)) for name in early[0])))
        self.assertLess(least("rss", late) - least("rss", early), GROWTH_KIB)

    def samples(self):
        """At rest but for the load, with two workers: of several relays, since what the heap of one keeps differs by
        a megabyte or two from that of the next."""
        found = []
        for n in range(0, 15, 3):
            self.reload(n)
            for _ in range(5):
                found.append(test_steady.sample(self.relays[0].pid))
                time.sleep(0.1)
        return found


@combination.combinations(PAIRS)
class Load(Reloads):
    def test_many_times_under_load(self):
        self.begin(fire.FOR_LONG)
        self.samples()
        early = None
        for n in range(TIMES):
            if n == WARM_UP:
                early = self.samples()
            if n % 10 == 9:
                self.reload_wrongly(n)
            else:
                self.reload(n)
        late = self.samples()
        for _ in range(3):  # a busy machine may have shown less before; what has leaked does not go away with more reloads
            if min(s["descriptors"] for s in late) <= min(s["descriptors"] for s in early):
                break
            late += self.samples()
        self.stop_writing()
        verdict = self.finish()
        self.assertEqual(verdict.duplicates, 0)
        self.has_grown(early, late)
        self.assertEqual(self.logs().count("reload failed"), TIMES // 10)


@combination.combinations([("postgres", "amqp")])
class BrokerDown(Reloads):
    def test_many_times_while_the_broker_is_down(self):
        self.begin(fire.FOR_LONG)
        fault = self.fault("broker stopped")
        fire.own.stop("rabbitmq")
        self.until(lambda: "publisher is unavailable" in self.logs(), "the outage to be noticed")
        for n in range(TIMES // 5):
            self.reload(n)
        # All that time it was one outage, told once, and not tried anew by each relay.
        self.assertLess(len(re.findall("publisher is (still )?unavailable", self.logs())), 8)
        fire.own.start("rabbitmq")
        self.over(fault)
        self.stop_writing()
        self.finish()


@combination.combinations(PAIRS)
class Killed(Reloads):
    def only_kills_charged(self):
        """So many kills in so short a time meet a message that is alone more often, and fail none."""
        self.assertLessEqual(self.charges(), self.kills)

    def test_a_kill_in_mid_reload_is_like_any_other(self):
        self.begin(fire.FOR_LONG)
        for n in range(TIMES // 10):
            self.rewrite(n)
            reload = subprocess.Popen([outbox_test.PROGRAM, "reload", "-c", self.path("outboxd.ini")],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.processes.append(reload)
            time.sleep(0.01 * n)
            self.kill(0)
            reload.wait()
            self.until(lambda n=n: self.read("relay-0.log").count("msg=started") == n + 2, "the next relay")
        self.stop_writing()
        self.finish()


@combination.combinations([("sqlite", "exec")])
class SlowBatch(Reloads):
    BATCH, RATE, PACE = 20, 40, 0.02

    def make_publisher(self):
        return fire.StreamReceiver(self, self.PACE)

    def test_many_times_while_batches_are_slow(self):
        self.begin(fire.FOR_LONG)
        for n in range(TIMES // 5):
            self.reload(n)
        self.stop_writing()
        verdict = self.finish()
        self.assertEqual(verdict.duplicates, 0)


if __name__ == "__main__":
    outbox_test.main()
