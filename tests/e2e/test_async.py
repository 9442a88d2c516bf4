# SPDX-License-Identifier: Apache-2.0
"""An asynchronous publisher: one client serves all workers, and answers out of order from its own thread."""

import collections
import contextlib
import os
import shutil
import time

import combination
import outbox_test

FIXTURES = os.path.join(outbox_test.BUILDDIR, "tests", "fixtures")


class Queue:
    """pub-async, or pub-plain, the same with a publish that waits for all outcomes."""
    name = "async"
    options = ""

    def __init__(self, test):
        self.test = test

    def config(self, name="out", more=""):
        return "[publisher %s]\nplugin = %s\npath = %s\n%s\n%s\n" % (name, self.name, self.test.path(name), self.options, more)

    def arrived(self, name="out"):
        try:
            return [line.split(" ") for line in self.test.read(name).splitlines()]
        except FileNotFoundError:
            return []

    def events(self, name="out"):
        return [line.split(" ")[0] for line in self.test.read(name + ".events").splitlines()]

    def close(self):
        pass


class Plain(Queue):
    name = "plain"


combination.PUBLISHERS.update({"async": Queue, "plain": Plain})
STORES = ("sqlite", "postgres", "postgres_leases")


class Shop(combination.Scenario):
    def setUp(self):
        super().setUp()
        self.folder = self.path("plugins")
        os.mkdir(self.folder, 0o755)
        for folder in (outbox_test.PLUGIN_DIR, FIXTURES):
            for name in os.listdir(folder):
                if name.startswith(("store-", "pub-async", "pub-plain")) and name.endswith(".so"):
                    shutil.copy(os.path.join(folder, name), self.folder)
        self.addCleanup(setattr, outbox_test, "PLUGIN_DIR", outbox_test.PLUGIN_DIR)
        outbox_test.PLUGIN_DIR = self.folder

    def keys(self):
        return collections.Counter(key for _, key in self.arrived())

    def until_arrived(self, n, key="fast"):
        self.until(lambda: self.keys()[key] >= n, "%d %s messages to arrive" % (n, key))

    def once_each(self, ids):
        self.assertEqual(self.arrived_ids(), sorted(ids))

    def insert_mixed(self, n_slow, n_fast):
        """The slow ones are the oldest of their batch."""
        ids = []
        for key, n in (("slow", n_slow), ("fast", n_fast)):
            more = self.insert(count=n, key=key)
            ids += more if n > 1 else [more]
        return ids

    def events(self):
        return collections.Counter(self.publisher.events())

    def clients(self, relay):
        """How many threads of clients the relay has."""
        n = 0
        for task in os.listdir("/proc/%d/task" % relay.pid):
            with contextlib.suppress(OSError):  # it may have ended
                n += self.read("/proc/%d/task/%s/comm" % (relay.pid, task)) == "async-client\n"
        return n

    def descriptors(self, relay):
        return len(os.listdir("/proc/%d/fd" % relay.pid))


class Asynchronous(Shop):
    def test_a_slow_partition_holds_nobody_up(self):
        """Each worker gets some of its messages, which are the oldest."""
        self.shop("workers = 2\nbatch_size = 10\npoll_interval = 100ms", "slow = 8s\nfast = 10ms")
        ids = self.insert_mixed(12, 60)
        relay = self.start("run")
        self.until_arrived(60)
        if self.store_name != "postgres":  # where a batch is settled in parts
            self.until_counted(60, "processed")
        self.assertEqual(self.keys()["slow"], 0)
        self.until_counted(72, "processed")
        self.stop(relay)
        self.once_each(ids)

    def test_one_client_serves_all_workers(self):
        self.shop("workers = 8\nbatch_size = 5\npoll_interval = 100ms", "slow = 300ms")
        ids = self.insert_mixed(10, 200)
        relay = self.start("run")
        self.until_counted(210, "processed")
        self.until(lambda: self.events()["open"] == 8, "each worker to open its publisher")
        clients, descriptors = self.clients(relay), self.descriptors(relay)
        self.assertEqual(self.events()["client"], 1)
        self.stop(relay)
        self.assertEqual(self.publisher.events().count("client_end"), 1)
        self.assertEqual(self.publisher.events().count("close"), 8)
        self.assertEqual(self.publisher.events()[-1], "client_end")
        self.once_each(ids)
        self.assertEqual(clients, 1)
        # a store instance for each slot at most
        self.assertLess(descriptors, 8 * (1 + 4 * 4) + 40)

    def test_each_section_has_a_client_and_a_slow_one_does_not_hold_up_the_other(self):
        route = "[router]\nfallback = out\n[route other]\ntopic = other\npublisher = other\n[route plain]\ntopic = plain\npublisher = plain\n"
        plain = "[publisher plain]\nplugin = plain\npath = %s\n" % self.path("plain")
        self.shop("workers = 2\nbatch_size = 10\npoll_interval = 100ms", "slow = 8s", router=route,
                  more=self.publisher.config("other") + plain)
        ids = [self.insert(key="slow")] + self.insert(topic="other", count=30) + self.insert(topic="plain", count=30)
        relay = self.start("run")
        self.until(lambda: len(self.publisher.arrived("other")) + len(self.publisher.arrived("plain")) == 60, "the others")
        self.assertEqual(self.arrived(), [])
        self.until_counted(61, "processed")
        self.stop(relay)
        self.assertEqual([self.publisher.events(name).count("client") for name in ("out", "other", "plain")], [1, 1, 2])
        self.assertEqual(sorted(i for name in ("out", "other", "plain") for i, _ in self.publisher.arrived(name)), sorted(ids))

    def test_the_time_of_a_message_is_told_when_the_client_is_made(self):
        self.shop("batch_timeout = 7s")
        self.outboxd("run", "--once")
        self.assertIn("client 7000", self.read("out.events"))

    def test_a_queue_that_is_full_is_waited_for(self):
        for ready in ("yes", "no"):
            with self.subTest(ready_fd=ready):
                self.shop("workers = 2\nbatch_size = 20", "slow = 100ms\nqueue = 7\nready_fd = " + ready, init=ready == "yes")
                ids = self.insert_mixed(10, 100)
                self.outboxd("run", "--once", "--wait", "20s")
                self.once_each(ids)
                os.unlink(self.path("out"))

    def test_kills_lose_nothing(self):
        self.shop("workers = 2\nbatch_size = 10\nlease = 5s\nbatch_timeout = 2s\nmax_retries = 100\npoll_interval = 100ms",
                  "slow = 300ms")
        ids = self.insert_mixed(20, 200)
        for kill in range(4):
            relay = self.start("run")
            self.until(lambda n=len(self.arrived()): len(self.arrived()) > n + 10, "a few to arrive")
            relay.kill()
            relay.wait()
        relay = self.start("run")
        self.until_counted(220, "processed")
        self.stop(relay)
        self.assertEqual(sorted(set(self.arrived_ids())), sorted(ids))

    def test_claims_are_renewed_while_messages_are_in_flight(self):
        self.shop("workers = 2\nbatch_size = 1\nlease = 5s\npoll_interval = 100ms", "slow = 8s")
        ids = self.insert(key="slow", count=6)
        relay = self.start("run")
        self.until_counted(6, "processed")
        self.stop(relay)
        self.once_each(ids)

    def test_what_is_in_flight_at_the_end_is_waited_for(self):
        self.shop("workers = 2\nbatch_size = 5\nshutdown_timeout = 20s", "slow = 2s")
        ids = self.insert_mixed(4, 10)
        relay = self.start("run")
        self.until_arrived(10)
        self.stop(relay)
        self.once_each(ids)
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), 14)

    def test_what_takes_too_long_at_the_end_is_given_back(self):
        self.shop("workers = 2\nbatch_size = 5\nshutdown_timeout = 2s", "slow = 20s")
        self.insert_mixed(4, 10)
        relay = self.start("run")
        self.until_arrived(10)
        began = time.monotonic()
        self.stop(relay)
        self.assertLess(time.monotonic() - began, 4)
        self.until_counted(10, "processed")
        self.until_counted(4, "pending")

    def test_a_reload_loses_and_repeats_nothing_of_what_is_in_flight(self):
        relay_options = "workers = %d\nbatch_size = 5\npoll_interval = 100ms"
        self.shop(relay_options % 2, "slow = 3s")
        ids = self.insert_mixed(8, 20)
        relay = self.start("run")
        self.until_arrived(20)
        self.assertEqual(self.keys()["slow"], 0)
        # it is not changed: its instances are passed on, and its client stays
        self.shop(relay_options % 3, "slow = 3s", init=False)
        self.assertIn("publisher out: unchanged, keeps its connections", self.outboxd("reload").stdout)
        self.assertEqual(self.keys()["slow"], 8)
        self.assertEqual(self.events(), {"client": 1, "open": 3})
        # and it is changed: what is in flight arrives before its client ends
        ids += self.insert_mixed(8, 20)
        self.until_arrived(40)
        self.assertEqual(self.keys()["slow"], 8)
        self.shop(relay_options % 3, "slow = 10ms", init=False)
        self.assertIn("publisher out: changed (slow), reopened", self.outboxd("reload").stdout)
        self.assertEqual(self.keys()["slow"], 16)
        self.assertEqual(self.events(), {"client": 2, "open": 6, "close": 3, "client_end": 1})
        ids += self.insert_mixed(8, 20)
        self.until_counted(84, "processed")
        self.stop(relay)
        self.once_each(ids)
        self.assertIn("published=84 ", self.read("relay.log"))

    def test_a_message_that_waits_is_told_by_status(self):
        self.shop("workers = 2\npoll_interval = 100ms", "slow = 12s")
        self.insert(key="slow")
        relay = self.start("run")

        def waits():
            return "publishes to out" in self.outboxd("status", code=None).stdout
        self.until(waits, "status to tell what is waited for")
        self.assertEqual(self.arrived(), [])
        self.until_counted(1, "processed")
        self.stop(relay)

    # ---- plugins that break the contract

    def misbehaves(self, topic, text, repeats, slow="500ms", workers=2):
        """`repeats`: how many messages may arrive twice."""
        self.shop("workers = %d\nbatch_size = 10\nbatch_timeout = 2s\npoll_interval = 100ms" % workers, "slow = " + slow)
        ids = [self.insert(topic=topic, key="fast")] + self.insert_mixed(4, 60)
        relay = self.start("run")
        self.until_counted(65, "processed")
        self.stop(relay)
        self.assertEqual(sorted(set(self.arrived_ids())), sorted(ids))
        self.assertLessEqual(len(self.arrived()) - 65, repeats)
        if text:
            self.assertIn(text, self.read("relay.log"))
        self.assertEqual(self.publisher.events().count("client"), 1)

    def test_an_instance_that_dies_is_opened_anew_and_the_client_stays(self):
        self.misbehaves("die", "the client died", 65)

    def test_an_outcome_that_is_lost_is_tried_again(self):
        self.misbehaves("lose", None, 0)
        self.assertEqual(self.publisher.events().count("open"), 2)

    def test_an_outage_is_waited_for_and_tried_again_step_by_step(self):
        self.misbehaves("away", "publisher is unavailable; its messages wait, uncharged", 0, slow="1500ms", workers=1)
        self.assertIn("publisher is back", self.read("relay.log"))

    def test_a_message_that_is_kept_past_its_time_is_taken_back(self):
        self.misbehaves("hold", "pub-async is broken: in `collect` it keeps messages past their time", 65)

    def test_an_outcome_that_is_handed_out_twice_closes_the_instance(self):
        self.misbehaves("twice", "pub-async is broken: in `collect` it handed out an outcome that it did not have, or twice", 65)


combination.combinations([(store, "async") for store in STORES])(Asynchronous)
del Asynchronous


class LostClaims(Shop):
    def test_a_claim_that_is_lost_while_messages_are_in_flight_loses_none(self):
        self.shop("workers = 2\nbatch_size = 10\npoll_interval = 100ms", "slow = 1s")
        ids = self.insert_mixed(30, 30)
        relay = self.start("run")
        self.until_arrived(10)
        self.assertEqual(self.keys()["slow"], 0)
        ended = self.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                           "AND usename = current_user AND query LIKE '%" + self.store.schema + "%'")
        self.assertGreater(len(ended), 2)
        self.until_counted(60, "processed")
        self.stop(relay)
        self.assertEqual(sorted(set(self.arrived_ids())), sorted(ids))


combination.combinations([(store, "async") for store in STORES[1:]])(LostClaims)
del LostClaims


class SlowInPlainForm(Shop):
    """What the asynchronous form is compared with: that it is better is a fact, not a guess."""

    def test_a_worker_waits_behind_a_slow_message(self):
        self.shop("workers = 1\nbatch_size = 10\npoll_interval = 100ms", "slow = 3s")
        self.insert_mixed(1, 60)
        relay = self.start("run")
        self.until_arrived(1, "slow")
        self.assertLess([key for _, key in self.arrived()].index("slow"), 20)
        self.until_counted(61, "processed")
        self.stop(relay)


combination.combinations([("sqlite", "plain")])(SlowInPlainForm)
del SlowInPlainForm, Shop


if __name__ == "__main__":
    outbox_test.main()
