# SPDX-License-Identifier: Apache-2.0
"""The servers fail under load, in every way they know: nothing is lost, nothing is charged, and what arrives twice
belongs to a fault."""

import signal
import time

import combination
import fire
import outbox_test
from fire import FULL, SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module
OUTAGE = 90 if FULL else 3 if SHORT else 8
LOAD = 16 if FULL else 1 if SHORT else 4  # seconds of writing after the fault
BOTH = [("postgres", "amqp")] if SHORT else [("postgres", "amqp"), ("sqlite", "amqp")]


class Fire(fire.Fire):
    def go_on_and_finish(self):
        """Written was all the while, however long the servers took."""
        time.sleep(LOAD)
        self.stop_writing()
        self.finish()


@combination.combinations(BOTH)
class Broker(Fire):
    def outage(self, take_away, bring_back, seconds=OUTAGE, told=("publisher is unavailable", "publisher is back")):
        self.begin(fire.FOR_LONG)
        time.sleep(fire.BROKER_WRITES)
        fault = self.fault("broker")
        take_away()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self.status_is_true()
            self.assertEqual(status["failed"], 0)
            time.sleep(0.5)
        bring_back()
        self.over(fault)
        self.go_on_and_finish()
        for line in told:
            self.assertIn(line, self.logs())

    def test_stopped_and_started_again(self):
        self.outage(lambda: fire.own.stop("rabbitmq"), lambda: fire.own.start("rabbitmq"))

    def test_killed(self):
        self.outage(lambda: fire.own.kill("rabbitmq"), lambda: fire.own.start("rabbitmq"), 1)

    def test_memory_alarm(self):
        """What was written to the socket before the alarm was told may be accepted after it."""
        self.outage(lambda: fire.own.ctl("set_vm_memory_high_watermark", "absolute", "1000000"),
                    lambda: fire.own.ctl("set_vm_memory_high_watermark", "absolute", "2000000000"),
                    told=("takes no messages for now", "takes messages again"))

    def test_its_exchange_is_deleted(self):
        import pika

        def on_own_connection(do):
            connection = pika.BlockingConnection(pika.URLParameters(self.publisher.url))
            self.publisher.channel = connection.channel()
            do()
            connection.close()
        self.outage(lambda: on_own_connection(self.publisher.shut), lambda: on_own_connection(self.publisher.open), 3)

    def test_a_relay_stops_in_time_during_an_alarm_and_another_starts_in_it(self):
        self.shop("shutdown_timeout = 10s\nbatch_size = 20")
        relay = self.start("run", log="relay-0.log")
        self.insert()
        self.until_counted(1, "processed")
        fire.own.ctl("set_vm_memory_high_watermark", "absolute", "1000000")
        try:
            self.insert(count=50)
            self.until(lambda: "takes no messages for now" in self.read("relay-0.log"), "the alarm")
            began = time.monotonic()
            self.stop(relay)
            self.assertLess(time.monotonic() - began, 14)
            other = self.start("run", log="relay-1.log")
            self.until(lambda: "takes no messages for now" in self.read("relay-1.log"), "the alarm again")
            self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)
        finally:
            fire.own.ctl("set_vm_memory_high_watermark", "absolute", "2000000000")
        self.until_counted(51, "processed")
        self.stop(other)
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)

    def test_wrong_password(self):
        self.begin(fire.FOR_LONG)
        fault = self.fault("password", self.BATCH * self.RELAYS)
        fire.own.ctl("change_password", "outbox", "another-secret")
        fire.own.ctl("close_all_connections", "test")
        try:
            self.until(lambda: "ACCESS_REFUSED" in self.logs() or "refused" in self.logs(), "the refusal")
            time.sleep(3)
            tries = self.logs().count("refused")
            self.assertLess(tries, 20)
            self.assertNotIn("another-secret", self.logs())
            self.assertNotIn("outbox:outbox", self.logs())
        finally:
            fire.own.ctl("change_password", "outbox", "outbox")
        self.over(fault)
        self.go_on_and_finish()


@combination.combinations([("postgres", "amqp")])
class Queue(fire.Fire):
    """mode = queue: the queue itself is what goes away, or is full."""

    def setUp(self):
        super().setUp()
        consumer = self.publisher
        consumer.config = lambda name="out", more="": (
            "[publisher %s]\nplugin = amqp\nurl = %s\nmode = queue\nqueue = %s\n%s\n" % (name, consumer.url, self.work, more))
        self.work = consumer.exchange + "-work"

    def with_channel(self, do):
        import pika
        connection = pika.BlockingConnection(pika.URLParameters(self.publisher.url))
        try:
            return do(connection.channel())
        finally:
            connection.close()

    def drain(self):
        """The ids in the queue, which is empty then."""
        def take(channel):
            ids = []
            while True:
                method, properties, _ = channel.basic_get(self.work, auto_ack=True)
                if not method:
                    return ids
                ids.append(properties.message_id)
        return self.with_channel(take)

    def test_the_queue_is_deleted_and_made_again(self):
        self.with_channel(lambda c: c.queue_declare(self.work, durable=True))
        self.addCleanup(self.with_channel, lambda c: c.queue_delete(self.work))
        self.shop("batch_size = 20")
        relay = self.start("run", log="relay-0.log")
        first = self.insert(count=50)
        self.until_counted(50, "processed")
        self.assertEqual(sorted(self.drain()), sorted(first))
        self.with_channel(lambda c: c.queue_delete(self.work))
        ids = self.insert(count=50)
        self.until(lambda: "publisher is unavailable" in self.read("relay-0.log"), "the outage")
        self.with_channel(lambda c: c.queue_declare(self.work, durable=True))
        self.until_counted(100, "processed")
        self.stop(relay)
        self.assertEqual(sorted(self.drain()), sorted(ids))
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)

    def test_a_full_queue_that_rejects_is_an_outage(self):
        self.with_channel(lambda c: c.queue_declare(self.work, durable=True, arguments={
            "x-max-length": 100, "x-overflow": "reject-publish"}))
        self.addCleanup(self.with_channel, lambda c: c.queue_delete(self.work))
        self.shop("batch_size = 20\nretry_max = 1s")
        ids = self.insert(count=300)
        relay = self.start("run", log="relay-0.log")
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processed'") >= 100,
                   "the queue to be full")
        time.sleep(2)
        got = []

        def drained():
            got.extend(self.drain())
            return self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processed'") == 300
        self.until(drained, "the rest")
        self.stop(relay)
        got += self.drain()
        self.assertEqual(sorted(got), sorted(ids))
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)


@combination.combinations([("postgres", "amqp"), ("postgres_leases", "exec")] + ([] if SHORT else [("postgres", "exec")]))
class Database(Fire):
    def test_stopped_as_in_a_crash(self):
        self.begin(fire.FOR_LONG)
        for _ in range(2):
            time.sleep(2)
            fault = self.fault("postgres -m immediate")
            fire.own.kill("postgres")
            time.sleep(1)
            fire.own.start("postgres")
            self.over(fault)
        self.go_on_and_finish()
        # A worker whose settle met the crash repeats that instead.
        self.assertTrue("the store is back" in self.logs() or "settled after all" in self.logs())

    def test_every_backend_is_terminated_ten_times(self):
        self.begin(fire.FOR_LONG)
        for _ in range(10):
            time.sleep(0.6)
            fault = self.fault("backends terminated")
            self.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                       " AND pid <> pg_backend_pid()")
            self.over(fault)
        self.go_on_and_finish()


@combination.combinations([("postgres", "exec")] + ([] if SHORT else [("postgres_leases", "exec")]))
class Receiving(fire.Fire):
    def test_a_relay_that_is_stopped_while_it_receives_16_mb(self):
        """Its session is not idle, it sends; another relay frees the rows."""
        self.shop("batch_size = 500\nworkers = 1\nlease = 2s\nbatch_timeout = 11s")
        with open(self.path("arrived"), "w", encoding="ascii"):
            pass
        ids = self.insert("x" * 400000, count=40)
        frozen = self.start("run", log="relay-0.log")
        end = time.monotonic() + 20
        while time.monotonic() < end and not self.is_sending():
            pass
        frozen.send_signal(signal.SIGSTOP)
        other = self.start("run", log="relay-1.log")
        self.until_counted(40, "processed")
        frozen.send_signal(signal.SIGCONT)
        more = self.insert("y", count=10)
        self.until_counted(50, "processed")
        self.stop(frozen)
        self.stop(other)
        arrived = [i for _, i in self.publisher.arrivals()]
        self.assertEqual(set(arrived), set(ids + more))
        self.assertLessEqual(len(arrived), 50 + 40)
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)

    def is_sending(self):
        return self.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'ClientWrite' AND query LIKE ?",
                          "%outbox_messages%")


if __name__ == "__main__":
    outbox_test.main()
