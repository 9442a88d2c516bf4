# SPDX-License-Identifier: Apache-2.0
"""pub-http: from a shop's database to a receiver of webhooks, and while there is none."""

import base64
import email.utils
import hashlib
import hmac
import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

import conform_test
import http_receiver
import outbox_test
import relay_test

SECRET = "s3cr3t-passw0rd"
LATER = "retry_min = 1h\nretry_max = 1h\n"
JSON = '{"content-type": "application/json"}'


def event_of(request):
    """The CloudEvent of a request in binary form, as an object in structured form; percent-decoded."""
    headers = request["headers"]
    event = {name[3:]: re.sub("%([0-9A-F]{2})", lambda m: chr(int(m[1], 16)), value).encode("latin-1").decode()
             for name, value in headers.items() if name.startswith("ce-")}
    event["datacontenttype"] = headers["content-type"]
    return event


@unittest.skipUnless(os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "pub-http.so")), "pub-http is not built")
class Http(relay_test.Relay):
    def receiver(self, start=True, **options):
        self.server = http_receiver.Broker(self.path("receiver"), **options)
        self.addCleanup(self.server.stop)
        if start:
            self.server.start()
        return self.server

    def http(self, more="", relay="", **section):
        self.config(self.server.section(more=more, **section), relay)
        self.outboxd("init")

    def at(self, path, more="", relay="", private=True):
        """With a path of its own."""
        self.config("[publisher out]\nplugin = http\nurl = http://127.0.0.1:%d%s\nallow_private = %s\n%s\n"
                    % (self.server.port, path, "yes" if private else "no", more), relay)
        self.outboxd("init")

    def statuses(self):
        return self.query("SELECT status, retries, count(*) FROM outbox_messages GROUP BY 1, 2 ORDER BY 1, 2")

    def once(self, code=0):
        return self.outboxd("run", "--once", "--wait", "1s", code=code)

    def until_sent(self, *ids):
        """By one run after the other: what waited for an outage is not due at once."""
        def are_sent():
            self.once()
            return all(self.row(i)["status"] == "processed" for i in ids)
        self.until(are_sent, "all to be processed")

    def fresh(self):
        """A new database comes."""
        for name in os.listdir(self.dir):
            if name.startswith("shop.db"):
                os.remove(self.path(name))

    def arrived_once(self, ids):
        self.assertEqual(sorted(self.server.ids()), sorted(ids))

    def assertNoSecret(self, *texts):
        for text in texts:
            self.assertNotIn(SECRET, text)
            self.assertNotIn(base64.b64encode(SECRET.encode()).decode().rstrip("="), text)


class Messages(Http):
    def test_every_message_arrives_once_and_as_it_was(self):
        self.receiver()
        self.at("/hooks/{topic}?key={key}&b={header.b}", "key_header = X-Key\nheader.X-Shop = a, b\nmethod = PUT",
                relay="workers = 2")
        ids = self.insert("h\u00e9llo", topic="order/placed", count=600, key="k \u00e9&1",
                          headers='{"content-type": "text/plain", "b": "2", "X-A": "1 2", "webhook-id": "mine", "host": "evil"}')
        self.outboxd("check", "--connect")
        self.once()
        self.arrived_once(ids)
        self.assertEqual(self.statuses(), [("processed", 0, 600)])
        got = self.server.requests()[0]
        self.assertEqual((got["method"], got["path"]), ("PUT", "/hooks/order%2Fplaced?key=k%20%C3%A9%261&b=2"))
        self.assertEqual(got["body"].decode(), "h\u00e9llo")
        headers = got["headers"]
        self.assertIn(headers.pop("webhook-id"), ids)
        self.assertTrue(headers.pop("user-agent").startswith("outboxd/"))
        self.assertEqual(headers.pop("x-key").encode("latin-1").decode(), "k \u00e9&1")
        self.assertEqual(headers, {"host": "127.0.0.1:%d" % self.server.port, "accept": "*/*", "content-type": "text/plain",
                                   "content-length": "6", "x-shop": "a, b", "b": "2", "x-a": "1 2"})
        self.assertLessEqual(len({r["connection"] for r in self.server.requests()}), 20)

    def test_large_and_empty_payloads_arrive(self):
        self.receiver()
        self.http("id_header = X-Id")
        self.insert("x" * 3000000, topic="large")
        self.insert("", topic="empty")
        self.insert(None, topic="null")
        self.once()
        self.assertEqual(sorted(len(r["body"]) for r in self.server.requests()), [0, 0, 3000000])

    def test_what_http_has_no_header_for_is_refused_alone_or_left_out(self):
        bad = {'{"a b": "x"}': "no header `a b`", '{"a": "x\\ny"}': "control character", json.dumps({"a": "x" * 9000}): "more than 8192"}
        self.receiver()
        self.http("id_header = Idempotency-Key\nsigning_secret = whsec_plJ3nmyCDGBKInavdOK15jsl", LATER)
        good = self.insert("x", headers='{"a": ""}')
        ids = {self.insert("x", headers=headers): said for headers, said in bad.items()}
        self.once(code=None)
        request, = self.server.requests()
        self.assertEqual((request["headers"]["a"], request["headers"]["idempotency-key"], request["headers"]["webhook-id"]),
                         ("", good, good))
        for i, said in ids.items():
            self.assertEqual(self.row(i)["status"], "failed")
            self.assertIn(said, self.row(i)["last_error"])
        self.fresh()
        self.http("message_headers = b, c*", LATER)
        self.insert("x", headers='{"a b": "x", "b": "1", "c2": "2", "d": "3"}')
        self.once()
        headers = self.server.requests()[-1]["headers"]
        self.assertEqual([headers.get(name) for name in ("b", "c2", "d")], ["1", "2", None])

    def test_a_message_says_nothing_about_its_sender(self):
        self.receiver()
        self.http("header.X-Shop = mine\nkey_header = X-Key")
        names = ("Proxy", "proxy_x", "X-Original-URL", "x_rewrite_url", "X_Client-IP", "True-Client-IP", "CF-Connecting-IP",
                 "webhook_signature", "ce_type", "x_forwarded_for", "Signature", "Content-Digest", "content_range", "Range", "Date",
                 "x_shop", "x_key", "authorization", "transfer_encoding")
        self.insert("x", headers=json.dumps(dict({name: "evil" for name in names}, x_other="good", proximity="good")))
        self.once()
        headers = self.server.requests()[0]["headers"]
        self.assertNotIn("evil", headers.values())
        self.assertEqual((headers["x-shop"], headers["x_other"], headers["proximity"]), ("mine", "good", "good"))

    def test_a_path_leads_nowhere_else(self):
        self.receiver()
        self.at("/hooks/{topic}/{key}", "allow_paths = /hooks/*/1, /hooks/*a*\n", LATER)
        good = self.insert("x", topic="a", key="1")
        bad = {self.insert("x", topic="..", key="a"): "has a `.` or `..`", self.insert("x", topic="a/../../b", key="1"): "`..`",
               self.insert("x", topic="a", key=""): "needs its `key`", self.insert("x", topic="b", key="2"): "allow_paths",
               self.insert("x" * 9, topic="a" * 250, key="b" * 8000): "longer than"}
        self.once(code=None)
        self.arrived_once([good])
        for i, said in bad.items():
            self.assertEqual(self.row(i)["status"], "failed")
            self.assertIn(said, self.row(i)["last_error"])

    def test_signatures_are_those_of_standard_webhooks(self):
        secrets = [base64.b64encode(os.urandom(24)).decode() for _ in range(3)]
        self.receiver()
        path = self.write("signing", "whsec_%s %s" % tuple(secrets[:2]), 0o600)
        self.http("signing_secret_file = " + path)
        relay = self.start("run")
        self.until_status(self.insert('{"a": 1}'), "processed")
        self.write("signing", "whsec_" + secrets[2], 0o600)
        self.until(lambda: self.until_status(self.insert("b"), "processed") and
                   " " not in self.server.requests()[-1]["headers"]["webhook-signature"], "the new secret")
        self.stop(relay)
        first, last = self.server.requests()[0], self.server.requests()[-1]
        for request, keys in ((first, secrets[:2]), (last, secrets[2:])):
            headers = request["headers"]
            self.assertLess(abs(time.time() - int(headers["webhook-timestamp"])), 60)
            text = ("%s.%s." % (headers["webhook-id"], headers["webhook-timestamp"])).encode() + request["body"]
            self.assertEqual(headers["webhook-signature"].split(), [
                "v1," + base64.b64encode(hmac.digest(base64.b64decode(key), text, "sha256")).decode() for key in keys])


class Events(Http):
    def shop_events(self, kind, **more):
        self.receiver()
        self.http("format = cloudevents-%s\nce_source = /shop/{header.region}\n" % kind + "".join(
            "%s = %s\n" % item for item in more.items()))

    def check(self, event):
        """What the specification asks for."""
        self.assertEqual(event["specversion"], "1.0")
        for name in ("id", "source", "type"):
            self.assertTrue(event[name] and isinstance(event[name], str))
        self.assertRegex(event["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        for name in event:
            self.assertRegex(name, "^([a-z0-9]+|data_base64)$")
        self.assertFalse("data" in event and "data_base64" in event)

    def test_binary_events(self):
        self.shop_events("binary")
        i = self.insert(b"\xff\0", topic="order.placed", key='50 % "\u00e9"', headers=json.dumps(
            {"content-type": "image/png", "region": "eu", "traceparent": "00-a-b-01", "X-Other": "o", "dataschema": "urn:x",
             "id": "mine", "ce-type": "mine"}))
        self.once()
        request = self.server.requests()[0]
        self.assertEqual(request["headers"]["ce-subject"], "50%20%25%20%22%C3%A9%22")
        event = event_of(request)
        self.check(event)
        del event["time"]
        self.assertEqual(event, {"specversion": "1.0", "id": i, "source": "/shop/eu", "type": "order.placed", "region": "eu",
                                 "subject": '50 % "\u00e9"', "datacontenttype": "image/png", "traceparent": "00-a-b-01",
                                 "dataschema": "urn:x"})
        self.assertEqual((request["headers"]["x-other"], request["body"]), ("o", b"\xff\0"))

    def test_structured_events(self):
        self.shop_events("structured")
        number = '{"n": 12345678901234567890123, "t": "\u00e9"}'
        cases = [(number, "application/json", "data", json.loads(number)),
                 ("not json", "application/json", "data_base64", base64.b64encode(b"not json").decode()),
                 ("NaN", "application/json", "data_base64", "TmFO"), ("plain", "text/plain", "data", "plain"),
                 ('{"a":1}', "application/x+json; charset=utf-8", "data", {"a": 1}), (b"\xff\0", "image/png", "data_base64", "/wA="),
                 (None, "application/json", None, None)]
        wanted = {self.insert(payload, headers=json.dumps({"content-type": kind, "region": "eu"})): (kind, member, value)
                  for payload, kind, member, value in cases}
        self.once()
        for request in self.server.requests():
            self.assertEqual(request["headers"]["content-type"], "application/cloudevents+json; charset=utf-8")
            event = json.loads(request["body"])
            self.check(event)
            kind, member, value = wanted.pop(event["id"])
            if member:
                self.assertEqual((event["datacontenttype"], event[member]), (kind, value))
            self.assertEqual({"data", "data_base64"} & set(event), {member} - {None})
        self.assertEqual(wanted, {})

    def test_batches_of_events_and_the_one_in_them_that_is_refused(self):
        self.receiver()
        self.server.say({"body": "poison", "status": 422, "text": "no poison"})
        self.http("format = cloudevents-batch\nce_source = /shop\nbatch_max = 50\nmax_connections = 2\n", LATER)
        ids = self.insert('{"a": 1}', count=120, key="k")
        bad, none = self.insert('"poison"'), self.insert("1", headers='{"x": "a\\u0007"}')
        self.once(code=None)
        self.arrived_once(ids)
        self.assertEqual(self.statuses(), [("failed", 1, 2), ("processed", 0, 120)])
        self.assertIn("control character", self.row(none)["last_error"])
        self.assertIn("422: no poison", self.row(bad)["last_error"])
        sizes = [len(r["ids"]) for r in self.server.requests()]
        self.assertEqual(max(sizes), 50)
        for request in self.server.accepted():
            self.assertTrue(request["headers"]["content-type"].startswith("application/cloudevents-batch+json"))
            for event in json.loads(request["body"]):
                self.check(event)
                self.assertEqual((event["data"], event["subject"]), ({"a": 1}, "k"))

    def test_what_is_no_event_is_refused_alone(self):
        self.shop_events("structured", ce_type="{key}")
        good = self.insert("1", key="t", headers='{"region": "eu"}')
        bad = {self.insert("1", key="t"): "needs the header `region`", self.insert("1", headers='{"region": "x"}', key=""): "ce_type",
               self.insert("1", key="t", headers='{"region": "a\\u0007"}'): "control character"}
        self.once(code=None)
        self.arrived_once([good])
        for i, said in bad.items():
            self.assertEqual(self.row(i)["status"], "failed")
            self.assertIn(said, self.row(i)["last_error"])


class Outcomes(Http):
    def test_each_status_has_its_outcome(self):
        """status, of a fixed url, of a template: what becomes of the row, or None: the publisher is unavailable."""
        self.receiver()
        table = [(200, "processed", "processed"), (202, "processed", "processed"), (301, None, "pending"), (400, "pending", "pending"),
                 (401, None, None), (403, None, "pending"), (404, None, "pending"), (409, "pending", "pending"),
                 (410, None, "failed"), (413, "failed", "failed"), (422, "failed", "failed"), (500, None, None), (599, None, None),
                 (502, None, None), (503, None, None), (520, None, None), (527, None, None), (507, None, None)]
        for column, path in ((1, "/hooks"), (2, "/hooks/{topic}")):
            for row in table:
                self.at(path, relay=LATER)
                self.server.say({"status": row[0], "headers": {"Location": "http://127.0.0.2/"}, "text": "said so"})
                i = self.insert("x")
                self.outboxd("run", "--once", "--wait", "100ms", code=None)
                got = self.row(i)
                with self.subTest(status=row[0], path=path):
                    charged = 0 if row[column] in (None, "processed") else 1
                    self.assertEqual((got["status"], got["retries"]), (row[column] or "pending", charged))
                    if got["status"] != "processed" and charged:
                        self.assertIn("answers %d" % row[0], got["last_error"])
                self.fresh()

    def test_lists_of_statuses_change_them(self):
        self.receiver()
        self.at("/", "accept_status = 200, 409\nreject_status = 5xx\nretry_status = 503\nlater_status = 422\n", LATER)
        ids = {s: self.insert("%d" % s) for s in (200, 204, 409, 500, 503, 422)}
        self.server.say(*({"body": "^%d$" % s, "status": s} for s in ids))
        self.once(code=None)
        self.assertEqual({s: (self.row(i)["status"], self.row(i)["retries"]) for s, i in ids.items()},
                         {200: ("processed", 0), 204: ("pending", 1), 409: ("processed", 0), 500: ("failed", 1), 503: ("pending", 1),
                          422: ("pending", 0)})

    def test_retry_after_is_kept_in_seconds_and_as_a_date(self):
        self.receiver()
        self.http()
        soon = email.utils.formatdate(time.time() + 30, usegmt=True)
        self.server.say({"body": "seconds", "status": 429, "headers": {"Retry-After": "600"}},
                           {"body": "date", "status": 429, "headers": {"Retry-After": soon}})
        seconds, date = self.insert("seconds"), self.insert("date")
        self.once(code=None)
        now = time.time()
        for i, least, most in ((seconds, 560, 601), (date, 15, 31)):
            row = self.row(i)
            self.assertEqual((row["status"], row["retries"]), ("pending", 0))
            due = self.query("SELECT available_at / 1000.0 FROM outbox_messages WHERE id = ?", i)[0][0]
            due = due if isinstance(due, float) else float(due)
            while due > 1e11:
                due /= 1000
            self.assertTrue(least < due - now < most, (due, now))

    def test_an_unavailable_receiver_is_left_alone_as_long_as_it_says(self):
        self.receiver()
        self.http(relay="poll_interval = 100ms")
        self.server.say({"status": 503, "headers": {"Retry-After": "2"}, "times": 1})
        i = self.insert("x")
        began = time.monotonic()
        relay = self.start("run")
        self.until_status(i, "processed")
        self.assertGreater(time.monotonic() - began, 1.9)
        self.assertEqual(self.row(i)["retries"], 0)
        self.assertEqual([r["status"] for r in self.server.requests()], [503, 204])
        self.stop(relay)

    def test_a_message_at_which_the_receiver_hangs_up_is_charged_alone(self):
        self.receiver()
        self.http(relay=LATER + "max_retries = 9\npoll_interval = 100ms")
        self.server.say({"body": "poison", "cut": True})
        self.insert("x", count=50)
        bad = self.insert("poison")
        relay = self.start("run")

        def charged():
            """The relay blames a message while others are accepted."""
            self.insert("y")
            return self.row(bad)["retries"]
        self.until(charged, "the one to be charged")
        count = self.query("SELECT count(*) FROM outbox_messages")[0][0]
        self.until(lambda: self.statuses() == [("pending", 1, 1), ("processed", 0, count - 1)], "the others")
        self.stop(relay)

    def test_a_500_is_charged_only_while_others_are_accepted(self):
        self.receiver()
        self.http(relay=LATER + "max_retries = 9\npoll_interval = 100ms")
        self.server.say({"status": 500, "text": "down"})
        ids = self.insert("x", count=30)
        relay = self.start("run")
        self.until(lambda: "answers 500" in self.read("relay.log"), "the outage in the log")

        def tried_again():
            tried = [i for r in self.server.requests() for i in r["ids"]]
            return len(tried) > len(set(tried))
        self.until(tried_again, "a second try")
        self.assertEqual({row[1] for row in self.statuses()}, {0})
        self.server.say({"body": "poison", "status": 500, "text": "no poison"})
        self.until(lambda: self.statuses() == [("processed", 0, len(ids))], "the others")
        bad = self.insert("poison")

        def charged():
            self.insert("y")
            return self.row(bad)["retries"]
        self.until(charged, "the one to be charged")
        self.assertIn("no poison", self.row(bad)["last_error"])
        self.stop(relay)

    def test_an_answer_that_repeats_a_secret_shows_none(self):
        secret = SECRET + "".join("%02d" % i for i in range(20))
        user = "url = http://relay@127.0.0.1:%d/\npassword_file = %s\n"
        bearer = "url = http://127.0.0.1:%d/\nbearer_token_file = %s\n"
        basic = base64.b64encode(("relay:" + secret).encode()).decode()
        self.receiver()
        path = self.write("token", secret, 0o600)
        for option, text in ((bearer, "you sent Bearer " + secret), (bearer, "." * 180 + secret), (bearer, "cut: " + secret[:-10]),
                             (bearer, "." * 1000 + secret), (user, "not " + basic), (user, "the password %s is wrong" % secret),
                             (bearer + "header.X-Key = Token header-" + SECRET + "\n", "no key header-" + SECRET)):
            self.config("[publisher out]\nplugin = http\nallow_private = yes\n" + option % (self.server.port, path), LATER)
            self.outboxd("init")
            self.server.say({"status": 422, "text": text})
            i = self.insert("x")
            self.once(code=None)
            self.assertIn("answers 422", self.row(i)["last_error"])
            for part in (secret, basic):
                for at in range(len(part) - 8):
                    self.assertNotIn(part[at:at + 8], self.row(i)["last_error"])

class Outages(Http):
    def test_no_message_is_lost_or_charged_while_the_receiver_comes_and_goes(self):
        self.receiver(start=False)
        self.http(relay="workers = 2\nbatch_size = 50\npoll_interval = 100ms")
        ids = self.insert("x", count=100)
        relay = self.start("run")
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the outage in the log")
        self.assertRegex(self.read("relay.log"), "[Cc]onnect")
        for _ in range(4):  # with three strikes a message is charged
            self.server.start()
            processed = self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0]
            ids += self.insert("y", count=800)
            self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0] > processed,
                       "some to be published")
            self.server.kill()
        self.server.start()
        self.until(lambda: self.statuses() == [("processed", 0, len(ids))], "all to be processed, uncharged")
        self.assertEqual(set(self.server.ids()), set(ids))
        self.stop(relay)

    def test_a_receiver_that_falls_silent_is_left_and_taken_up_again(self):
        self.receiver()
        self.http("publish_timeout = 1s\nconnect_timeout = 1s")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.signal("receiver", signal.SIGSTOP)
        self.addCleanup(self.server.signal, "receiver", signal.SIGCONT)
        ids = self.insert("x", count=20)
        self.until(lambda: "no answer within publish_timeout" in self.read("relay.log"), "the silence in the log")
        self.server.signal("receiver", signal.SIGCONT)
        self.until(lambda: self.statuses() == [("processed", 0, 21)], "all to be processed, uncharged")
        self.assertLessEqual(set(ids), set(self.server.ids()))
        self.stop(relay)

    def test_slow_answers_do_not_hold_up_other_messages(self):
        self.receiver()
        self.http()
        self.server.say({"delay": 1})
        self.insert("x", count=40)
        began = time.monotonic()
        self.once()
        self.assertEqual(self.statuses(), [("processed", 0, 40)])
        self.assertLess(time.monotonic() - began, 10, "20 connections, two rounds of a second")

    def test_a_slow_receiver_does_not_hold_up_the_end(self):
        self.receiver()
        self.http(relay="shutdown_timeout = 1s")
        self.server.say({"delay": 30})
        self.insert("x", count=5)
        relay = self.start("run")
        self.until(lambda: "started" in self.read("relay.log"), "the start")
        began = time.monotonic()
        self.stop(relay)
        self.assertLess(time.monotonic() - began, 8)


class Security(Http):
    @staticmethod
    def is_private(name):
        lines = subprocess.run(["getent", "ahosts", name], capture_output=True, encoding="utf-8").stdout.splitlines()
        return bool(lines) and all(ipaddress.ip_address(line.split()[0]).is_private for line in lines)

    def test_private_addresses_are_refused_also_by_name(self):
        self.receiver()
        for host, code in (("127.0.0.1", 2), ("localhost", 2), ("[::1]", 2), ("169.254.169.254", 2), ("[::ffff:10.0.0.1]", 2),
                           ("0x7f000001", 2), ("2130706433", 2)):
            self.config("[publisher out]\nplugin = http\nurl = http://%s:%d/\n" % (host, self.server.port))
            self.assertIn("allow_private", self.outboxd("check", code=code).stderr)
        name = next(filter(self.is_private, (os.uname().nodename, "ip6-localhost", "ip6-loopback")), None)
        if not name:
            self.skipTest("no name but localhost has a private address here; put one into /etc/hosts")
        self.config("[publisher out]\nplugin = http\nurl = http://%s:%d/\n" % (name, self.server.port))
        self.outboxd("init")
        i = self.insert("x")
        self.assertIn("a private network", self.once(code=1).stderr)
        self.assertEqual((self.row(i)["status"], self.row(i)["retries"]), ("pending", 0))
        self.assertEqual(self.server.requests(), [])

    def test_redirects_are_not_followed(self):
        self.receiver()
        self.http()
        self.server.say({"path": "hooks", "status": 307, "headers": {"Location": "/other"}})
        i = self.insert("x")
        self.assertIn("not followed", self.once(code=1).stderr)
        self.assertEqual(self.row(i)["retries"], 0)
        self.assertEqual({r["path"] for r in self.server.requests()}, {"/hooks"})

    def test_tls_is_verified_and_certificates_of_clients_are_sent(self):
        broker = self.receiver(start=False, tls=True)
        http_receiver.make_certificate(broker.folder)
        http_receiver.make_certificate(self.dir, "relay", "client.pem", "client.key")
        shutil.copy(self.path("client.pem"), broker.path("clients.pem"))
        broker.start()
        ca = "ca_file = %s\n" % broker.path("cert.pem")
        client = "cert_file = %s\nkey_file = %s\n" % (self.path("client.pem"), self.path("client.key"))
        ids = []
        for options, said in ((client, "certificate"), ("ca_file = /nowhere\n" + client, "/nowhere"), (ca, "")):
            self.http(options)
            ids.append(self.insert("x"))
            done = self.once(code=1)
            self.assertIn(said, done.stderr)
            self.assertEqual({row[:2] for row in self.statuses()}, {("pending", 0)})
        for options in (ca + client, "tls_verify = no\n" + client):
            self.http(options)
            self.outboxd("check", "--connect")
            self.until_sent(self.insert("y"), *ids)
            self.assertEqual({row[:2] for row in self.statuses()}, {("processed", 0)})

    def test_a_password_is_read_again_and_never_shown(self):
        self.receiver()
        login = "Basic " + base64.b64encode(("relay:" + SECRET).encode()).decode()
        self.server.say({"authorization": login})
        self.write("password", "wrong-" + SECRET, 0o600)
        self.config("[publisher out]\nplugin = http\nurl = http://relay@127.0.0.1:%d/\nallow_private = yes\npassword_file = %s\n"
                    % (self.server.port, self.path("password")))
        self.outboxd("init")
        i = self.insert("x")
        done = self.once(code=1)
        self.assertIn("answers 401", done.stderr)
        self.assertEqual((self.row(i)["status"], self.row(i)["retries"]), ("pending", 0))
        relay = self.start("run")
        self.until(lambda: "answers 401" in self.read("relay.log"), "the refusal")
        self.write("password", SECRET, 0o600)
        self.until_status(i, "processed")
        self.stop(relay)
        self.assertNoSecret(done.stderr, self.read("relay.log"), str(self.row(i)["last_error"]))

    def test_a_bearer_token_is_changed_while_the_relay_runs(self):
        self.receiver()
        self.server.say({"authorization": "Bearer one"})
        self.write("token", "one", 0o600)
        self.http("bearer_token_file = " + self.path("token"))
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.write("token", "two", 0o600)
        self.server.say({"authorization": "Bearer two"})
        self.assertEqual(self.until_status(self.insert("x"), "processed")["retries"], 0)
        self.stop(relay)
        self.assertNotIn("unavailable", self.read("relay.log"))

    def test_a_token_that_no_header_can_have_harms_no_message(self):
        self.receiver()
        self.server.say({"authorization": "Bearer one"})
        self.write("token", "one\ntwo", 0o600)
        self.config(self.server.section(more="bearer_token_file = " + self.path("token")))
        self.assertIn("bearer_token: it has more than one line", self.outboxd("check", code=2).stderr)
        self.write("token", "one\n", 0o600)
        self.outboxd("init")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.write("token", "one\ntwo", 0o600)

        def told():
            self.insert("y")
            return "it has more than one line" in self.read("relay.log")
        self.until(told, "the fault in the log")
        i = self.insert("y")
        self.write("token", "one", 0o600)
        self.until_status(i, "processed")
        self.until(lambda: {row[:2] for row in self.statuses()} == {("processed", 0)}, "all to be processed, uncharged")
        self.stop(relay)

    def test_oauth2_tokens_are_fetched_renewed_and_replaced(self):
        self.receiver()
        self.server.write("client_secret", SECRET)
        self.write("secret", SECRET, 0o600)
        self.server.say({"path": "token", "expires_in": 1}, {"authorization": "token"})
        self.http("oauth2_token_url = http://127.0.0.1:%d/token\noauth2_client_id = relay\noauth2_client_secret_file = %s\n"
                  "oauth2_scope = hooks write\noauth2_audience = shop\n" % (self.server.port, self.path("secret")))
        self.outboxd("check", "--connect")
        relay = self.start("run")

        def renewed():
            """A token lives for a second."""
            self.until_status(self.insert("x", count=20)[-1], "processed")
            return len(self.server.lines("tokens")) > 3
        self.until(renewed, "a token after the first one")
        self.server.say({"authorization": "token"})
        self.until_status(self.insert("x"), "processed")
        before = len(self.server.lines("tokens"))
        with open(self.server.path("tokens"), "a", encoding="ascii") as f:
            f.write("revoked\n")
        self.until_status(self.insert("x"), "processed")
        self.assertEqual(len(self.server.lines("tokens")), before + 2)
        self.server.write("client_secret", "other")
        self.server.say({"authorization": "Bearer none"})
        i = self.insert("y")
        self.until(lambda: "invalid_client" in self.read("relay.log"), "the refusal")
        self.assertEqual(self.row(i)["retries"], 0)
        self.server.write("client_secret", SECRET)
        self.server.say({"authorization": "token"})
        self.until_status(i, "processed")
        self.stop(relay)
        asked = [r for r in self.server.requests() if r["path"] == "/token"][0]
        self.assertEqual(asked["body"], b"grant_type=client_credentials&scope=hooks%20write&audience=shop")
        self.assertEqual({row[:2] for row in self.statuses()}, {("processed", 0)})
        self.assertNoSecret(self.read("relay.log"))
        for token in self.server.lines("tokens"):
            self.assertNotIn(token if token != "revoked" else SECRET, self.read("relay.log"))

    def test_proxies(self):
        self.receiver()
        proxy = http_receiver.Proxy("user:" + SECRET)
        self.addCleanup(proxy.close)
        wrong = self.write("wrong", "no", 0o600)
        self.http("proxy = http://user@127.0.0.1:%d\nproxy_password_file = %s\n" % (proxy.port, wrong))
        i = self.insert("x")
        self.assertIn("407", self.once(code=1).stderr)
        self.write("wrong", SECRET, 0o600)
        self.until_sent(i)
        self.assertEqual({seen[0] for seen in proxy.seen}, {"POST", "CONNECT"} & {seen[0] for seen in proxy.seen})
        self.assertNotIn("proxy-authorization", self.server.requests()[-1]["headers"])
        env = dict(os.environ, http_proxy="http://user:%s@127.0.0.1:%d" % (SECRET, proxy.port))
        for option, through in (("", 0), ("proxy = env\n", 1)):
            self.http(option)
            seen = len(proxy.seen)
            i = self.insert("x")
            subprocess.run([outbox_test.PROGRAM, "run", "-c", self.path("outboxd.ini"), "--once"], env=env, check=True,
                           capture_output=True)
            self.assertEqual((self.row(i)["status"], len(proxy.seen) > seen), ("processed", bool(through)))

    def test_wrong_options_are_told_with_their_lines(self):
        url = "https://h.example/"
        for options, said in (("format = cloudevents-binary", "ce_source"), ("ce_source = x", "ce_source: it needs"),
                              ("password = x", "password: url names no user"), ("signing_secret = whsec_short", "signing_secret: secret 1"),
                              ("cert_file = /x", "need each other"), ("cert_file = /x\nkey_file = /etc/passwd", "others may read it"), ("reject_status = 99", "reject_status: `99`"),
                              ("reject_status = 409\nretry_status = 409", "another list"), ("header.Host = x", "header.Host"),
                              ("oauth2_scope = x", "oauth2_scope: it needs"), ("proxy = ftp://x", "proxy: "), ("batch_max = 3", "batch_max"),
                              ("bearer_token = a\noauth2_token_url = https://t/\noauth2_client_id = a\noauth2_client_secret = b", "more than"),
                              ("allow_paths = /x", "allow_paths"), ("publish_timeout = 1h", "publish_timeout")):
            self.config("[publisher out]\nplugin = http\nurl = %s\n%s\n" % (url, options))
            self.assertIn(said, self.outboxd("check", code=2).stderr)
        for url, said in (("https://{topic}.example/", "only its path"), ("https://a,b/", "more than one host"), ("https://h/a b", "blank"),
                          ("https://h/a/../b", "between slashes"), ("http://u:%s@h.example/" % SECRET, "in the clear"),
                          ("https://u:%s@h:99999/" % SECRET, "port"), ("ftp://h/", "must begin")):
            self.config("[publisher out]\nplugin = http\nurl = %s\n" % url)
            done = self.outboxd("check", code=2)
            self.assertIn(said, done.stderr)
            self.assertNoSecret(done.stderr)


@unittest.skipIf(http_receiver.FAST_MISSING, http_receiver.FAST_MISSING)
class Http2(Http):
    def serve(self, tls):
        broker = self.receiver(start=False, tls=tls, http2=True)
        if tls:
            http_receiver.make_certificate(broker.folder)
        broker.start()
        broker.say({"delay": 0.3})

    def test_many_messages_share_a_connection(self):
        for tls, more in ((True, "ca_file = %s\n"), (False, "http_version = 2\n")):
            self.serve(tls)
            self.config(self.server.section(more=more.replace("%s", self.server.path("cert.pem"))))
            if not tls and "without TLS that works" in self.outboxd("check", code=None).stderr:
                break  # libcurl before 8.1
            self.outboxd("init")
            first, ids = self.insert("x"), self.insert("x", count=60)
            began = time.monotonic()
            self.once()
            took = time.monotonic() - began
            self.arrived_once(ids + [first])
            lines = [line.split() for line in self.server.lines("access.log")]
            self.assertEqual({line[2] for line in lines}, {"HTTP/2.0"})
            self.assertEqual(len({line[0] for line in lines}), 1, lines)
            self.assertLess(took, 61 * 0.3 / 2, "they were on their way side by side")
            self.server.stop()
            shutil.rmtree(self.server.folder)
            self.fresh()


class Conformance(Http):
    @outbox_test.unsanitized
    @conform_test.NEEDED
    def test_it_conforms_to_level_4(self):
        broker = self.receiver(start=False)
        command = "%s %s %%s %s" % (sys.executable, http_receiver.__file__, broker.folder)
        subprocess.run((command % "start").split(), check=True)
        run = conform_test.Run(self.dir, os.path.join(outbox_test.PLUGIN_DIR, "pub-http.so"),
                               "%s\n[conform]\nscratch = yes\nverify = %s\n[kill]\nstop = %s\nstart = %s\n"
                               % (broker.section(), command % "ids", command % "stop", command % "start"), "--level", "4")
        self.assertEqual((run.code, run.failed, run.skipped, run.reached()), (0, [], [], 4), run.text())


if __name__ == "__main__":
    outbox_test.main()
