# SPDX-License-Identifier: Apache-2.0
"""pub-amqp: from a shop's database to a real RabbitMQ, and while there is none."""

import os
import subprocess
import time
import unittest
import uuid

import outbox_test
import relay_test
import services

AMQP = os.environ.get("OUTBOX_TEST_AMQP")
SECRET = "s3cr3t-passw0rd"


@unittest.skipUnless(os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "pub-amqp.so")), "pub-amqp is not built")
@unittest.skipUnless(AMQP, "OUTBOX_TEST_AMQP is not set; scripts/services.sh env sets it")
class Amqp(relay_test.Relay):
    def setUp(self):
        super().setUp()
        import pika
        self.pika = pika
        self.name = "outbox-e2e-%s" % uuid.uuid4().hex[:12]
        self.connect_to_broker()
        self.addCleanup(self.hang_up)

    def connect_to_broker(self):
        self.broker = self.pika.BlockingConnection(self.pika.URLParameters(AMQP))
        self.channel = self.broker.channel()

    def hang_up(self):
        if self.broker.is_open:
            self.broker.close()

    def make(self, topics):
        self.channel.exchange_declare(self.name, "topic", durable=True)
        self.channel.queue_declare(self.name, durable=True)
        self.addCleanup(lambda: self.channel.exchange_delete(self.name))
        self.addCleanup(lambda: self.channel.queue_delete(self.name))
        self.channel.queue_bind(self.name, self.name, topics)

    def amqp(self, options, relay="", url=AMQP):
        self.config("[publisher out]\nplugin = amqp\nurl = %s\n%s\n" % (url, options), relay)
        self.outboxd("init")

    def taken(self):
        """Everything in the queue: (properties, key, body)."""
        got = []
        while True:
            method, properties, body = self.channel.basic_get(self.name, auto_ack=True)
            if method is None:
                return got
            got.append((properties, method.routing_key, body))

    def test_every_message_arrives_once_and_as_it_was(self):
        self.make("#")
        self.amqp("exchange = " + self.name, relay="workers = 2")
        ids = self.insert("hello", topic="order.placed", count=1200, headers='{"content-type": "text/plain", "n": 1}')
        self.outboxd("check", "--connect")
        self.outboxd("run", "--once")
        got = self.taken()
        self.assertEqual(sorted(p.message_id for p, _, _ in got), sorted(ids))
        properties, key, body = got[0]
        self.assertEqual((key, body), ("order.placed", b"hello"))
        self.assertEqual((properties.type, properties.content_type, properties.headers, properties.delivery_mode),
                         ("order.placed", "text/plain", {"n": "1"}, 2))
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), [(1200,)])

    def test_an_unroutable_message_is_charged_and_kept(self):
        self.make("to.#")
        self.amqp("exchange = " + self.name, relay="retry_min = 1h\nretry_max = 1h")
        good, bad = self.insert("x", topic="to.me"), self.insert("x", topic="nowhere")
        self.outboxd("run", "--once")
        self.assertEqual(self.row(good)["status"], "processed")
        row = self.row(bad)
        self.assertEqual((row["status"], row["retries"]), ("pending", 1))
        self.assertIn("unroutable", row["last_error"])
        self.assertEqual([p.message_id for p, _, _ in self.taken()], [good])

    def test_a_refused_login_charges_no_message_and_shows_no_secret(self):
        url = AMQP.replace("outbox:outbox@", "outbox:%s@" % SECRET)
        self.amqp("mode = queue\nqueue = " + self.name, url=url)
        i = self.insert("x")
        done = self.outboxd("run", "--once", "--wait", "1s", code=1)
        self.assertIn("refuses the login as", done.stderr)
        self.assertIn("403 ACCESS_REFUSED", done.stderr)
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), ("pending", 0))
        check = self.outboxd("check", "--connect", code=None)
        self.assertNotEqual(check.returncode, 0)
        status = self.outboxd("status")
        for text in (done.stdout, done.stderr, check.stdout, check.stderr, status.stdout, row["last_error"]):
            self.assertNotIn(SECRET, text)

    def test_messages_wait_for_a_queue_that_is_missing(self):
        self.amqp("mode = queue\nqueue = " + self.name)
        ids = self.insert("x", count=20)
        relay = self.start("run")
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the outage in the log")
        self.assertIn("does not exist: 312 NO_ROUTE", self.read("relay.log"))
        self.channel.queue_declare(self.name, durable=True)
        self.addCleanup(self.channel.queue_delete, self.name)
        for i in ids:
            self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)
        self.assertEqual(sorted(p.message_id for p, _, _ in self.taken()), sorted(ids))

    def limited(self, limit):
        """The url of a virtual host of this test's own, with the queue `jobs`."""
        self.ctl("add_vhost", self.name)
        self.addCleanup(self.ctl, "delete_vhost", self.name)
        self.ctl("set_permissions", "-p", self.name, "outbox", ".*", ".*", ".*")
        url = AMQP + "/" + self.name
        there = self.pika.BlockingConnection(self.pika.URLParameters(url))
        there.channel().queue_declare("jobs", durable=True)
        there.close()
        self.ctl("set_vhost_limits", "-p", self.name, '{"max-connections": %d}' % limit)
        return url

    def ctl(self, *args):
        subprocess.run([services.SCRIPT, "ctl", *args], check=True, capture_output=True)

    def test_workers_without_a_connection_do_not_hold_up_those_that_have_one(self):
        self.amqp("mode = queue\nqueue = jobs", relay="workers = 4\nbatch_size = 20", url=self.limited(2))
        ids = self.insert("x", count=1000)
        self.start("run")
        done = "SELECT count(*) FROM outbox_messages WHERE status = 'processed' AND retries = 0"
        self.until(lambda: self.query(done) == [(len(ids),)], "all messages", 30)
        log = self.read("relay.log")
        self.assertIn("publisher has no room for one more worker; the others go on", log)
        self.assertIn("lower `workers`", log)
        self.assertNotIn("publisher is unavailable", log)
        # The others hear of news at once, whatever the two wait for.
        began = time.monotonic()
        for _ in range(10):
            self.until_status(self.insert("x"), "processed")
        self.assertLess(time.monotonic() - began, 20)

    def test_run_once_ends_with_workers_without_a_connection(self):
        self.amqp("mode = queue\nqueue = jobs", relay="workers = 4\nbatch_size = 20", url=self.limited(1))
        self.insert("x", count=300)
        self.outboxd("run", "--once")
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), [(300,)])

    def test_check_finds_that_the_user_may_not_publish(self):
        url = self.limited(10)
        self.ctl("set_permissions", "-p", self.name, "outbox", ".*", "^$", ".*")
        self.amqp("mode = queue\nqueue = jobs", url=url)
        done = self.outboxd("check", "--connect", code=None)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("403 ACCESS_REFUSED", done.stderr)
        self.assertIn("rabbitmqctl set_permissions", done.stderr)

    def test_headers_leave_as_what_the_row_has(self):
        self.make("order.#")
        self.amqp("exchange = %s\nheader_types = json\nallow_routing_keys = order.*" % self.name,
                  relay="retry_min = 1h\nretry_max = 1h")
        headers = '{"x-delay": 5000, "ok": true, "tenant": "t1", "ref": "\\"17\\"", "CC": ["order.audit"], "o": {"a": [1]}}'
        good = self.insert("x", topic="order.placed", headers=headers)
        bad = self.insert("x", topic="order.placed", headers='{"CC": ["order.audit", "elsewhere"]}')
        self.outboxd("run", "--once", "--wait", "5s", code=None)
        [(properties, _, _)] = self.taken()
        self.assertEqual(properties.message_id, good)
        self.assertEqual(properties.headers, {"x-delay": 5000, "ok": True, "tenant": "t1", "ref": "17",
                                              "CC": ["order.audit"], "o": {"a": [1]}})
        row = self.row(bad)
        self.assertEqual(row["status"], "failed")
        self.assertIn("is not among allow_routing_keys: `elsewhere`", row["last_error"])

    def test_properties_come_from_the_message(self):
        self.make("#")
        self.amqp("exchange = " + self.name + "\nproperties.priority = {header.priority}\nproperties.app-id = shop\n"
                  "properties.correlation-id = {header.order}\nproperties.expiration = 600000\n"
                  "properties.reply-to = replies.{key}\nproperties.content-encoding = {header.encoding}")
        self.insert("x", key="k1", headers='{"priority": 7, "order": "o-1", "encoding": "gzip", "tenant": "t1"}')
        bad = self.insert("x", headers='{"priority": "high"}')
        self.outboxd("run", "--once", code=None)
        [(p, _, _)] = self.taken()
        self.assertEqual((p.priority, p.app_id, p.correlation_id, p.expiration, p.reply_to, p.content_encoding, p.headers),
                         (7, "shop", "o-1", "600000", "replies.k1", "gzip", {"tenant": "t1"}))
        self.assertEqual((self.row(bad)["status"], self.row(bad)["last_error"]),
                         ("failed", "properties.priority is no number, 0 to 255: `high`"))

    def test_a_stream_can_be_read_from_its_beginning_and_again(self):
        self.amqp("mode = queue\nqueue = %s\ndeclare = create\nqueue_type = stream\nstream_max_bytes = 1G" % self.name)
        self.addCleanup(self.channel.queue_delete, self.name)
        self.outboxd("check", "--connect")
        ids = self.insert("x", headers='{"x-stream-filter-value": "eu", "n": 1}', count=300)
        self.outboxd("run", "--once")
        self.channel.basic_qos(prefetch_count=100)
        for _ in range(2):  # what was read stays
            got = []
            for method, properties, _ in self.channel.consume(
                    self.name, arguments={"x-stream-offset": "first"}, inactivity_timeout=20):
                self.assertIsNotNone(method, "only %d of %d messages" % (len(got), len(ids)))
                self.channel.basic_ack(method.delivery_tag)
                got.append(properties.message_id)
                self.assertEqual(properties.headers["x-stream-filter-value"], "eu")
                if len(got) == len(ids):
                    break
            self.channel.cancel()
            self.assertEqual(sorted(got), sorted(ids))

    def test_a_certificate_is_a_login(self):
        folder, port = os.environ["OUTBOX_TEST_TLS"], os.environ["OUTBOX_TEST_AMQPS_PORT"]
        self.make("#")
        options = "exchange = %s\nauth = external\n" % self.name + "".join(
            "%s = %s/%s\n" % (option, folder, file)
            for option, file in (("ca_file", "ca.pem"), ("cert_file", "shop.pem"), ("key_file", "shop.key")))
        self.amqp(options, url="amqps://localhost:" + port)
        refused = self.outboxd("check", "--connect", code=None)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("it refuses the login by the certificate of `shop-relay`", refused.stderr)
        self.ctl("add_user", "shop-relay", self.name)
        self.addCleanup(self.ctl, "delete_user", "shop-relay")
        self.ctl("set_permissions", "shop-relay", "", "^%s$" % self.name, "")
        self.outboxd("check", "--connect")
        i = self.insert("x")
        self.outboxd("run", "--once")
        self.assertEqual([p.message_id for p, _, _ in self.taken()], [i])

    def test_a_section_that_cannot_work_is_refused(self):
        self.config("[publisher out]\nplugin = amqp\nurl = amqp://relay:%s@h:99999\nexchange = x\n" % SECRET)
        done = self.outboxd("check", code=2)
        self.assertIn("url: host 1 has a port that is not one of 1 to 65535", done.stderr)
        self.assertNotIn(SECRET, done.stderr)
        said = self.outboxd("plugins", "amqp").stdout
        for option in ("url", "password", "exchange", "queue_type", "confirm_timeout"):
            self.assertIn(option, said)


if __name__ == "__main__":
    outbox_test.main()
