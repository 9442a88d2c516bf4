# SPDX-License-Identifier: Apache-2.0
"""A relay is stopped, and started, while something that it needs is away or hangs: it ends in time, with the right
exit code, gives back what it holds, and leaves no process behind; and it waits, and says so, for what is not there."""

import os
import re
import time
import urllib.parse

import combination
import fire
import outbox_test
import proxy
from fire import SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module
STORES = ("sqlite", "postgres", "postgres_leases")
# Seconds: shutdown_timeout, of which a publisher that hangs may have three quarters; where all of it is used up in any
# case; and what a slow machine may need more.
SHUTDOWN, FORCED, SLACK = 8, 3, 5
LEASE = 90  # so that whatever is free before was given back
TERMS = "shutdown_timeout = %ds\nlease = %ds\n" % (SHUTDOWN, LEASE)

# Each notes its process, which leads a group.
HUNG = {
    "deaf": "echo $$ >>%(pids)s; exec sleep 1000",
    "stubborn": "trap '' TERM; echo $$ >>%(pids)s; cat >/dev/null & while :; do sleep 1000; done",
    "parent": "(trap '' TERM; exec sleep 1000) & echo $$ >>%(pids)s; cat >/dev/null; wait",
}


class Shutdown(fire.Watched):
    def make_publisher(self):
        return fire.Consumer(self) if self.publisher_name == "amqp" else fire.StreamReceiver(self)

    def start_relay(self, name, config=None):
        return self.start("run", log=name + ".log", config=config and self.path(config))

    def stop_in_time(self, relay, name, codes=(0, ), shutdown=SHUTDOWN, slack=SLACK):
        self.until(lambda: self.takes_signals(relay), "the relay to begin")
        began = time.monotonic()
        relay.terminate()
        got = relay.wait(outbox_test.PATIENCE)
        took = time.monotonic() - began
        print("# figures: %s: stopped in %.1f s, exit code %d" % (self.id().replace("__main__.", ""), took, got),
              flush=True)
        self.assertLess(took, shutdown + slack)
        self.assertIn(got, codes, self.read(name + ".log")[-2000:])

    def until_told(self, what, name):
        self.until(lambda: re.search(what, self.read(name + ".log")), "`%s` of relay %s" % (what, name))

    def require_arrived(self, ids, duplicates=0, within=None):
        """All of them, and no more than so many twice; charged is nothing."""
        began = time.monotonic()
        self.until(lambda: set(ids) <= {i for _, i in self.publisher.arrivals()}, "all to arrive")
        if within:
            self.assertLess(time.monotonic() - began, within)
        self.until(lambda: not self.query("SELECT 1 FROM outbox_messages WHERE status <> 'processed'"), "the end of it")
        self.assertLessEqual(len(self.publisher.arrivals()) - len(ids), duplicates)
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)


@combination.combinations([(store, "exec") for store in STORES][:1 if SHORT else 3])
class HungProcess(Shutdown):
    """Programs that hang, each in its way, each with a message; another relay has the messages at once."""

    def hang(self, mode):
        publishers, routes = "", ""
        for name, script in HUNG.items():
            program = self.write(name + ".sh", "#!/bin/sh\n" + script % {"pids": self.path("pids")} + "\n", 0o755)
            publishers += "[publisher %s]\nplugin = exec\nmode = %s\ncommand = %s\n" % (name, mode, program)
            routes += "[route %s]\ntopic = %s\npublisher = %s\n" % (name, name, name)
        self.shop(TERMS, name="other.ini")
        self.shop(TERMS + "batch_size = 1\nworkers = %d\n" % len(HUNG), more=publishers, router=routes, init=False)
        relay = self.start_relay("first")
        ids = [self.insert("x" * 300000, topic=name) for name in HUNG]
        self.until(lambda: len(self.groups()) == len(HUNG), "the programs")
        self.stop_in_time(relay, "first")
        self.until(lambda: not [g for g in self.groups() if is_alive(g)], "the programs to be gone", 5)
        other = self.start_relay("other", "other.ini")
        self.require_arrived(ids, within=LEASE / 3)
        self.stop(other)

    def groups(self):
        try:
            return [int(pid) for pid in self.read("pids").split()]
        except FileNotFoundError:
            return []

    def test_one_process_for_each_message(self):
        self.hang("message")

    def test_one_process_for_all(self):
        self.hang("stream")


def is_alive(group):
    try:
        os.killpg(group, 0)
        return True
    except ProcessLookupError:
        return False


@combination.combinations([("postgres", "amqp")] if SHORT else [("postgres", "amqp"), ("sqlite", "amqp")])
class NoBroker(Shutdown):
    def setUp(self):
        super().setUp()
        self.shop(TERMS, name="straight.ini")
        straight = self.publisher.url
        port = urllib.parse.urlsplit(straight).port
        self.way = proxy.Proxy("127.0.0.1", port)
        self.addCleanup(self.way.stop)
        self.publisher.url = straight.replace(":%d" % port, ":%d" % self.way.port)
        self.shop(TERMS, options="connect_timeout = 2s", init=False)
        self.publisher.url = straight

    def test_it_is_down(self):
        ids = self.insert(count=50)
        fire.own.stop("rabbitmq")
        try:
            relay = self.start_relay("first", "straight.ini")
            self.until_told("publisher is unavailable", "first")
            self.stop_in_time(relay, "first")
            self.assertEqual(self.query("SELECT 1 FROM outbox_messages WHERE status <> 'pending'"), [])
            other = self.start_relay("other", "straight.ini")
            self.until_told("publisher is unavailable", "other")
            self.assertIsNone(other.poll())
        finally:
            fire.own.start("rabbitmq")
        self.require_arrived(ids)
        self.until_told("publisher is back", "other")
        self.stop_in_time(other, "other")

    def test_nothing_comes_through_any_more(self):
        relay = self.start_relay("first")
        ids = self.insert(count=50)
        self.require_arrived(ids)
        self.way.stall()
        ids += self.insert(count=50)
        time.sleep(1)
        self.stop_in_time(relay, "first")
        self.way.reset()
        other = self.start_relay("other", "straight.ini")
        self.require_arrived(ids, 50, within=LEASE / 3)
        self.stop_in_time(other, "other")

    def test_nothing_has_come_through_yet(self):
        self.way.stall()
        ids = self.insert(count=50)
        relay = self.start_relay("first")
        time.sleep(1)  # it connects
        self.stop_in_time(relay, "first")
        other = self.start_relay("other")
        self.until_told("publisher is unavailable", "other")
        self.way.go()
        self.require_arrived(ids)
        self.stop_in_time(other, "other")


@combination.combinations([("postgres", "exec"), ("postgres_leases", "exec")][:1 if SHORT else 2])
class NoDatabase(Shutdown):
    def setUp(self):
        super().setUp()
        self.shop(TERMS, name="straight.ini")
        self.way = proxy.Proxy("127.0.0.1", int(os.environ["OUTBOX_TEST_PG_PORT"]))
        self.addCleanup(self.way.stop)
        self.shop_by_proxy("shutdown_timeout = 1s\nlease = 5s\n")

    def shop_by_proxy(self, terms):
        """What cannot be given back is free soon."""
        straight = self.store.conninfo
        self.store.conninfo = re.sub(r"port=\d+", "port=%d" % self.way.port, straight)
        self.shop(terms + "batch_timeout = 4s", options="timeout = 3s", init=False)
        self.store.conninfo = straight

    def test_it_is_down(self):
        ids = self.insert(count=50)
        fire.own.kill("postgres")
        try:
            relay = self.start_relay("first", "straight.ini")
            self.until_told("the store is unavailable", "first")
            self.stop_in_time(relay, "first")
            other = self.start_relay("other", "straight.ini")
            self.until_told("the store is unavailable", "other")
            self.assertIsNone(other.poll())
            self.outboxd("status", code=1)
        finally:
            fire.own.start("postgres")
        self.require_arrived(ids)
        self.until_told("the store is back", "other")
        self.stop_in_time(other, "other")

    def test_it_goes_down_with_a_batch_at_work(self):
        """What was accepted cannot be settled: that is told, and the exit code, too, is that of a forced end."""
        self.publisher.pace = 0.05
        self.shop("shutdown_timeout = %ds\nlease = 5s\n" % FORCED, name="short.ini", init=False)
        relay = self.start_relay("first", "short.ini")
        ids = self.insert(count=50)
        self.until(self.publisher.arrivals, "the first messages")
        fire.own.kill("postgres")
        try:
            self.stop_in_time(relay, "first", (1, ), FORCED)
        finally:
            fire.own.start("postgres")
        other = self.start_relay("other")
        self.require_arrived(ids, 50)
        self.stop_in_time(other, "other")

    def test_nothing_comes_through_any_more(self):
        relay = self.start_relay("first")
        ids = self.insert(count=50)
        self.require_arrived(ids)
        self.way.stall()
        time.sleep(1)
        self.stop_in_time(relay, "first", (0, 1), shutdown=1)
        self.way.reset()
        other = self.start_relay("other", "straight.ini")
        ids += self.insert(count=50)
        self.require_arrived(ids)
        self.stop_in_time(other, "other")

    def test_a_second_signal_ends_it_while_nothing_comes_through(self):
        """Also when its workers have ended, and only its farewell is left to be said."""
        self.shop_by_proxy("shutdown_timeout = 30s\n")
        relay = self.start_relay("first")
        self.require_arrived([self.insert()])
        self.way.stall()
        relay.terminate()
        self.until_told("stopping", "first")
        time.sleep(1.1)  # what comes sooner is the same signal
        self.stop_in_time(relay, "first", (1, ), FORCED)

    def test_nothing_comes_through_with_a_batch_at_work(self):
        self.publisher.pace = 0.05
        self.shop_by_proxy("shutdown_timeout = %ds\nlease = 5s\n" % FORCED)
        relay = self.start_relay("first")
        ids = self.insert(count=50)
        self.until(self.publisher.arrivals, "the first messages")
        self.way.stall()
        self.stop_in_time(relay, "first", (1, ), FORCED)
        other = self.start_relay("other", "straight.ini")
        self.require_arrived(ids, 50)
        self.stop_in_time(other, "other")


@combination.combinations([("sqlite", "exec")])
class LockedDatabase(Shutdown):
    def test_somebody_holds_its_lock(self):
        self.shop("shutdown_timeout = %ds\nlease = 5s" % SHUTDOWN)
        db = self.connect()
        relay = self.start_and_wait("first.log")
        db.execute("BEGIN IMMEDIATE")
        time.sleep(1)
        self.stop_in_time(relay, "first")
        other = self.start_relay("other")
        time.sleep(1)
        db.execute("COMMIT")
        self.require_arrived([self.insert()])
        self.stop_in_time(other, "other")

    def test_somebody_holds_its_lock_with_a_batch_at_work(self):
        self.publisher.pace = 0.05
        self.shop("shutdown_timeout = %ds\nlease = 5s" % FORCED)
        db = self.connect()
        relay = self.start_relay("first")
        ids = self.insert(count=50)
        self.until(self.publisher.arrivals, "the first messages")
        db.execute("BEGIN IMMEDIATE")
        self.stop_in_time(relay, "first", (1, ), FORCED)
        db.execute("COMMIT")
        other = self.start_relay("other")
        self.require_arrived(ids, 50)
        self.stop_in_time(other, "other")


if __name__ == "__main__":
    outbox_test.main()
