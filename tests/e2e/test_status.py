# SPDX-License-Identifier: Apache-2.0
"""outboxd status: counts, relays, and that nobody's row drives a terminal."""

import json
import re
import subprocess

import outbox_test
from command_test import UNFIT, Commands


class Status(Commands):
    def setUp(self):
        super().setUp()
        self.init()

    def test_counts_and_the_oldest(self):
        db = self.connect()
        db.execute("INSERT INTO outbox_messages (topic, created_at) VALUES ('t', datetime('now', '-3 days'))")
        for status, n in (("failed", 2), ("processed", 3), ("processing", 1)):
            for _ in range(n):
                db.execute("INSERT INTO outbox_messages (topic, status) VALUES ('t', ?)", (status,))
        (status,) = self.outboxd_json("status")
        self.assertEqual(list(status), ["pending", "delayed", "processing", "processed", "failed", "unknown", "parked",
                                        "at_least", "oldest_pending_seconds", "relays"])
        self.assertEqual([status[k] for k in list(status)[:8]], [1, 0, 1, 3, 2, 0, 0, []])
        self.assertAlmostEqual(status["oldest_pending_seconds"], 3 * 86400, delta=60)
        out = self.outboxd("status").stdout
        self.assertIn("the oldest for 3 d 0 h", out)
        self.assertIn("no relay is running", out)

    def test_large_counts_are_cut_unless_exact(self):
        db = self.connect()
        db.execute("INSERT INTO outbox_messages (topic) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                   " WHERE i < 10500) SELECT 't' FROM n")
        self.assertIn(">= 10000", self.outboxd("status").stdout)
        self.assertEqual(self.outboxd_json("status")[0]["at_least"], ["pending"])
        self.assertEqual(self.outboxd_json("status", "--exact")[0]["pending"], 10500)

    def test_a_live_relay_and_its_publishers_are_shown(self):
        relay = self.start("run")
        status = self.until(lambda: (self.outboxd_json("status")[0]["relays"] or [None])[0], "the relay")
        self.assertEqual(status["life"], "live")
        self.assertEqual(status["state"]["publishers"]["mail"]["state"], "ready")
        self.assertRegex(self.outboxd("status").stdout, r"(?m)^  publisher mail: ready, accepted 0")
        self.stop(relay)
        self.assertEqual(self.outboxd_json("status")[0]["relays"][0]["life"], "ended")

    def put_relay(self, i, clean=0, alive="+0 seconds", state="{}", config="h"):
        self.connect().execute(
            "INSERT INTO outbox_messages_relays (id, name, config_hash, state, version, started_at, alive_at, clean) VALUES"
            " (?, ?, ?, ?, '1', strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day'), strftime('%Y-%m-%d %H:%M:%f', 'now', ?), ?)",
            (i, "relay-" + i, config, state, alive, clean))

    def test_what_a_relay_wrote_is_not_trusted(self):
        states = ("nonsense", "", "[1]", '{"a":' * 100, '{"publishers":{"m":5},"rate":3,"unrouted":"x"}',
                  '{"rate":{"published_per_second":NaN}}', '{"rate":-Infinity}', '{"publishers":{"m":{"state":"\\u001b[2J"}}}',
                  b'{"publishers":{"\xff":{"state":"\xff"}}}',
                  '{"state":"\\u001b[2J","progress_at":"\\u001b","waits_for":[7,{"what":"\\u001b[2J","since":"\\u001b"},{}],'
                  '"waking":{"reason":"\\u001b"},"quarantined":"x","quarantine_reason":7}',
                  '{"waits_for":{},"progress_at":"2026-13-99T99:99:99Z","waking":[],"quarantined":-1}')
        for n, state in enumerate(states):
            self.put_relay(str(n), state=state)
        out = self.outboxd("status").stdout
        self.assertIsNone(re.search(UNFIT, out), repr(out))
        self.assertNotIn("nan", out)
        text = self.outboxd("status", "--json").stdout
        relays = {r["id"]: r["state"] for r in json.loads(text, parse_constant=self.fail)["relays"]}
        self.assertEqual([relays[str(n)] is None for n in range(len(states))],
                         [True, True, True, True, False, True, True, False, True, False, False])

    def test_live_relays_are_found_among_many_that_ended(self):
        self.put_relay("live")
        self.put_relay("lost", alive="-1 hour")
        db = self.connect()
        db.execute("BEGIN")
        for n in range(1200):
            db.execute("INSERT INTO outbox_messages_relays (id, name, config_hash, state, version, started_at, alive_at, clean)"
                       " VALUES (?, 'cron', 'h', '{}', '1', ?, ?, 1)", ("e%d" % n, "2999-01-01", "2999-01-01"))
        db.execute("COMMIT")
        out = self.outboxd("status").stdout
        self.assertIn("relay relay-live: live", out)
        self.assertIn("relay relay-lost: lost", out)
        self.assertEqual(out.count("relay cron: ended"), 3)
        self.assertIn("more that are ended", out)

    def test_what_a_relay_waits_for_is_shown(self):
        self.put_relay("a", state=json.dumps({
            "state": "waiting", "progress_at": "2026-11-29T10:00:00.000000Z", "quarantined": 3,
            "quarantine_reason": "the audit says no", "waking": {"by": "polling", "reason": "port closed"},
            "waits_for": [{"what": "worker 1 settles", "since": "2026-11-29T10:00:01.000000Z"}, {"what": "a friend"}],
            "publishers": {"mail": {"state": "waiting", "since": "2026-11-29T10:00:01.000000Z", "reason": "for ever"}}}))
        out = self.outboxd("status").stdout
        self.assertRegex(out, "(?m)^relay relay-a: live, waiting, last seen .*, last progress .* ago")
        self.assertIn("  waits since 2026-11-29T10:00:01.000000Z: worker 1 settles\n  waits: a friend\n", out)
        self.assertIn("  quarantined 3 rows that the table refuses to change: the audit says no\n", out)
        self.assertIn("  polls instead of waiting for news: port closed\n", out)
        self.assertIn("  publisher mail: waiting, ", out)
        self.assertIn("    since 2026-11-29T10:00:01.000000Z: for ever\n", out)

    def test_live_relays_that_differ_are_warned_about(self):
        self.put_relay("a")
        self.put_relay("b", config="other", clean=1)
        self.assertNotIn("warning", self.outboxd("status").stdout)
        self.put_relay("c", config="other")
        self.assertIn("warning: live relays have different", self.outboxd("status").stdout)

    def test_watch_goes_on_until_interrupted(self):
        process = subprocess.Popen([outbox_test.PROGRAM, "status", "-c", self.path("outboxd.ini"), "--watch", "--json"],
                                   stdout=subprocess.PIPE)
        self.processes.append(process)
        for _ in range(2):
            self.assertIn("pending", json.loads(process.stdout.readline()))
        process.terminate()


if __name__ == "__main__":
    outbox_test.main()
