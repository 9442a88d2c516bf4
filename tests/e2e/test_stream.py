# SPDX-License-Identifier: Apache-2.0
"""pub-exec, mode = stream: the protocol, and programs that break it."""

import json
import os
import signal
import time

import outbox_test
import relay_test


class Stream(relay_test.Relay):
    def stream(self, script, options="", relay=""):
        program = self.write("stream.py", "#!/usr/bin/env python3\n" + script, 0o755)
        self.config("[publisher out]\nplugin = exec\nmode = stream\ncommand = %s %s\n%s" % (program, self.dir, options),
                    relay)
        self.outboxd("init")

    def examples(self, name):
        path = os.path.join(outbox_test.SRCDIR, "sdk", "examples", "stream", name)
        self.config("[publisher out]\nplugin = exec\nmode = stream\ncommand = \"%s\" %s\n" % (path, self.path("arrived")))
        self.outboxd("init")
        ids = self.insert("hello \\ \"world\"", count=250)
        self.outboxd("run", "--once")
        self.assertEqual([i for i in ids if i not in self.read("arrived")], [])
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), [(250,)])

    def test_the_python_example_works(self):
        self.examples("publisher.py")

    def test_the_shell_example_works(self):
        self.examples("publisher.sh")

    def test_every_reply_means_what_the_manual_says(self):
        self.stream("import json, sys\nprint('started', file=sys.stderr, flush=True)\nsys.stdin.readline()\n"
                    "for line in sys.stdin:\n"
                    "    m = json.loads(line)\n"
                    "    print(json.dumps({'id': m['id'], 'status': m['payload'], 'reason': 'why ' + m['payload'],"
                    " 'after_ms': 3600000, 'more': 1}), flush=True)\n", relay="retry_min = 1h\nretry_max = 1h")
        want = {"ok": ("processed", 0, ""), "retry": ("pending", 1, "why retry"), "later": ("pending", 0, "why later"),
                "reject": ("failed", 1, "why reject")}
        ids = {status: self.insert(status) for status in want}
        done = self.outboxd("run", "--once", code=1)
        self.assertIn("started", done.stderr)
        for status, (column, retries, why) in want.items():
            row = self.row(ids[status])
            self.assertEqual((row["status"], row["retries"], row["last_error"]), (column, retries, why), status)

    def test_text_arrives_as_it_was_written_or_the_message_is_rejected(self):
        """Replies may hold any text, too, whatever json-c's version."""
        self.stream("import json, sys\nsys.stdin.readline()\n"
                    "for line in sys.stdin:\n"
                    "    m = json.loads(line)\n"
                    "    open(sys.argv[1] + '/seen', 'a').write(line)\n"
                    "    print(json.dumps({'id': m['id'], 'status': 'reject' if m['topic'] == 'no' else 'ok',"
                    " 'reason': 'zur\u00fcckgewiesen'}, ensure_ascii=False), flush=True)\n", relay="workers = 1")
        good = self.insert("x", topic="a\0b", key="\u00fc\0", headers='{"customer":"M\u00fcller","h":"x\\u0000y"}')
        refused, bad = self.insert("x", topic="no"), self.insert("x")
        db = self.connect()
        db.execute("UPDATE outbox_messages SET topic = CAST(x'74ff74' AS TEXT) WHERE id = ?", [bad])
        self.outboxd("run", "--once", code=1)
        seen = [json.loads(line) for line in self.read("seen").splitlines()]
        self.assertEqual([m["topic"] for m in seen], ["a\0b", "no"])
        self.assertEqual(seen[0]["key"], "\u00fc\0")
        self.assertEqual(seen[0]["headers"], {"customer": "M\u00fcller", "h": "x\0y"})
        self.assertEqual(self.row(good)["status"], "processed")
        self.assertEqual((self.row(refused)["status"], self.row(refused)["last_error"]), ("failed", "zur\u00fcckgewiesen"))
        self.assertEqual(self.row(bad)["status"], "failed")
        self.assertIn("topic or key is not valid UTF-8", self.row(bad)["last_error"])

    def test_a_co_process_that_dies_leaves_the_rest_uncharged(self):
        self.stream("import json, sys, os\nsys.stdin.readline()\n"
                    "for n, line in enumerate(sys.stdin):\n"
                    "    if n == 3: os._exit(7)\n"
                    "    m = json.loads(line)\n"
                    "    open(sys.argv[1] + '/arrived', 'a').write(m['id'] + ' t x\\n')\n"
                    "    print(json.dumps({'id': m['id'], 'status': 'ok'}), flush=True)\n", relay="workers = 1")
        ids = self.insert("x", count=12)
        relay = self.start("run")
        for i in ids:
            self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)
        self.assertIn("ended (exit 7)", self.read("relay.log"))
        self.assertEqual(sorted(a[0] for a in self.arrived()), sorted(ids))

    def test_a_hanging_co_process_costs_the_oldest_message_an_attempt(self):
        self.stream("import json, sys, time\nsys.stdin.readline()\n"
                    "for line in sys.stdin:\n"
                    "    m = json.loads(line)\n"
                    "    if m['payload'] == 'hang': time.sleep(1000)\n"
                    "    print(json.dumps({'id': m['id'], 'status': 'ok'}), flush=True)\n",
                    "timeout = 3s", "workers = 1\nretry_min = 1h\nretry_max = 1h")
        first, hang, good = self.insert("good"), self.insert("hang"), self.insert("good")
        relay = self.start("run")
        self.until_status(good, "processed")
        row = self.row(hang)
        self.assertEqual(self.row(first)["status"], "processed")
        self.stop(relay)
        self.assertEqual((row["status"], row["retries"]), ("pending", 1))
        self.assertIn("no answer within 3000 ms", row["last_error"])
        self.assertEqual(self.row(good)["retries"], 0)

    def test_a_program_that_answers_nothing_is_at_fault_itself(self):
        self.stream("import json, sys\nsys.stdin.readline()\n"
                    "for line in sys.stdin:\n"
                    "    print(json.dumps({'id': json.loads(line)['id'], 'status': 'ok'}))\n",  # without a flush
                    "timeout = 1s", "workers = 1\nretry_min = 10ms")
        ids = self.insert("x", count=3)
        done = self.outboxd("run", "--once", "--wait", "3s", code=1)
        self.assertIn("does it flush its output after each line?", done.stderr)
        for i in ids:
            row = self.row(i)
            self.assertEqual((row["status"], row["retries"]), ("pending", 0))

    def test_what_json_cannot_hold_is_rejected_and_never_changed(self):
        self.stream("import json, sys\nsys.stdin.readline()\n"
                    "for line in sys.stdin:\n"
                    "    m = json.loads(line)\n"
                    "    open(sys.argv[1] + '/got', 'a').write(json.dumps([m['topic'], m['key'], m['headers']]) + '\\n')\n"
                    "    print(json.dumps({'id': m['id'], 'status': 'ok'}), flush=True)\n")
        insert = "INSERT INTO outbox_messages (topic, key, payload, headers) VALUES (%s, %s, 'x', %s)"
        db = self.connect()
        db.execute(insert % ("'a' || char(0) || 'b'", "'k' || char(0)", "'{\"h\":\"x\\u0000y\"}'"))
        db.execute(insert % ("cast(x'74ff74' AS text)", "''", "'{}'"))
        db.execute(insert % ("'t'", "cast(x'ff' AS text)", "'{}'"))
        self.outboxd("run", "--once", code=1)
        self.assertEqual([json.loads(line) for line in self.read("got").splitlines()], [["a\0b", "k\0", {"h": "x\0y"}]])
        failed = [row[0] for row in self.query("SELECT last_error FROM outbox_messages WHERE status = 'failed' ORDER BY seq")]
        self.assertEqual(failed, ["its id, topic or key is not valid UTF-8, so that JSON cannot hold it"] * 2)

    def test_a_flood_on_stderr_does_not_fill_the_log(self):
        self.stream("import json, sys\nsys.stdin.readline()\n"
                    "for line in sys.stdin:\n"
                    "    for i in range(100000): sys.stderr.write('noise %d\\n' % i)\n"
                    "    print(json.dumps({'id': json.loads(line)['id'], 'status': 'ok'}), flush=True)\n", "timeout = 10s")
        self.insert("x")
        done = self.outboxd("run", "--once")
        self.assertIn("lines were not logged", done.stderr)
        self.assertLess(done.stderr.count("noise"), 2000)

    def test_who_works_slowly_and_in_order_is_left_to_it(self):
        """A window of messages takes longer than `timeout`, and a backlog longer than the call."""
        self.stream("import json, os, sys, time\nsys.stdin.readline()\n"
                    "open(sys.argv[1] + '/pids', 'a').write('%d\\n' % os.getpid())\n"
                    "for line in sys.stdin:\n"
                    "    time.sleep(0.04)\n"
                    "    print(json.dumps({'id': json.loads(line)['id'], 'status': 'ok'}), flush=True)\n",
                    "timeout = 3s", "workers = 1\nbatch_timeout = 8s")
        self.insert("x", count=250)
        relay = self.start("run")
        self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status <> 'processed'") == [(0,)], "all")
        self.stop(relay)
        self.assertEqual(self.query("SELECT sum(retries) FROM outbox_messages"), [(0,)])
        self.assertEqual(len(self.read("pids").splitlines()), 1)

    def test_a_relay_that_was_stopped_blames_no_message_for_it(self):
        """Most of them had not been written when it was stopped, and what was is answered meanwhile."""
        self.stream("import json, os, sys, time\nsys.stdin.readline()\n"
                    "for line in sys.stdin:\n"
                    "    m = json.loads(line)\n"
                    "    open(sys.argv[1] + '/begun', 'w').close()\n"
                    "    while not os.path.exists(sys.argv[1] + '/go'): time.sleep(0.01)\n"
                    "    print(json.dumps({'id': m['id'], 'status': 'ok'}), flush=True)\n",
                    "timeout = 4s", "workers = 1")
        ids = self.insert("x" * 100000, count=20)
        relay = self.start("run")
        self.until(lambda: os.path.exists(self.path("begun")), "the first message")
        self.freeze(relay, self.connect())
        self.write("go", "")
        time.sleep(6)
        relay.send_signal(signal.SIGCONT)
        for i in ids:
            self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)

    def test_a_broken_protocol_is_an_outage_that_names_itself(self):
        for reply in ("junk", "{}", '{"id":"unknown","status":"ok"}', '{"id":1,"status":"ok"}', "x" * 70000):
            self.stream("import sys\nsys.stdin.readline()\nsys.stdin.readline()\nprint(%r, flush=True)\nsys.stdin.read()\n"
                        % reply)
            i = self.insert("x")
            done = self.outboxd("run", "--once", "--wait", "200ms", code=1)
            self.assertIn("broke the protocol", done.stderr)
            row = self.row(i)
            self.assertEqual((row["status"], row["retries"]), ("pending", 0))

    ANSWER = ("import json, os, sys, time\nsys.stdin.readline()\n"
              "def note(name): open(sys.argv[1] + '/' + name, 'a').write('%%d\\n' %% os.getpid())\n"
              "note('starts')\n"
              "for line in sys.stdin:\n"
              "    m = json.loads(line)\n"
              "    def say(**more): print(json.dumps(dict({'id': m['id']}, **more)), flush=True)\n"
              "    %s\n"
              "note('finished')\n")

    def test_a_reply_may_say_that_the_whole_publisher_is_unavailable(self):
        self.stream(self.ANSWER % "say(status='ok') if os.path.exists(sys.argv[1] + '/open')"
                    " else say(status='unavailable', reason='shut until noon', after_ms=300)")
        ids = self.insert("x", count=5)
        relay = self.start("run")
        self.until(lambda: "shut until noon" in self.read("relay.log"), "the outage to be noticed")
        self.assertEqual({self.row(i)["retries"] for i in ids}, {0})
        self.write("open", "")
        for i in ids:
            self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)

    def test_an_id_that_json_cannot_hold_fails_alone(self):
        self.stream(self.ANSWER % "say(status='ok')")
        db = self.connect()
        for i in ("CAST(x'ff' AS TEXT)", "x'6100'", "'a\"\\b' || char(10) || char(127)", "'\u00fc'"):
            db.execute("INSERT INTO outbox_messages (id, topic) VALUES (%s, 't')" % i)
        self.outboxd("run", "--once", "--wait", "2s", code=1)
        self.assertEqual(self.query("SELECT status, last_error FROM outbox_messages ORDER BY seq"),
                         [("failed", "the id is not valid UTF-8, or holds a NUL, so that no reply could name it")] * 2
                         + [("processed", "")] * 2)

    def test_an_id_that_was_answered_may_not_be_answered_again(self):
        # The second answer comes before any to the next message, which is sent when the first was answered.
        self.stream(self.ANSWER % "say(status='ok'); say(status='retry')", options="window = 1", relay="workers = 1")
        first, _ = self.insert("x", count=2)
        done = self.outboxd("run", "--once", "--wait", "200ms", code=None)
        self.assertIn("answered before", done.stderr)
        self.assertEqual((self.row(first)["status"], self.row(first)["retries"]), ("processed", 0))

    def test_the_end_of_its_input_lets_it_finish(self):
        self.stream(self.ANSWER % "say(status='ok')", relay="workers = 1")
        self.insert("x", count=3)
        self.outboxd("run", "--once")
        self.assertEqual(self.read("finished"), self.read("starts"))

    def test_a_program_that_ends_at_once_is_not_started_over_and_over(self):
        self.stream("import sys\nopen(sys.argv[1] + '/starts', 'a').write('x')\nsys.exit(3)\n", relay="workers = 2")
        i = self.insert("x")
        relay = self.start("run")
        self.until(lambda: os.path.exists(self.path("starts")), "the first try")
        time.sleep(3)
        self.assertLessEqual(len(self.read("starts")), 8)
        self.until(lambda: len(self.read("starts")) >= 3, "another try")
        self.stop(relay)
        self.assertEqual((self.row(i)["status"], self.row(i)["retries"]), ("pending", 0))

    def test_the_window_is_honoured(self):
        self.stream("import json, sys, select\nhello = json.loads(sys.stdin.readline())\n"
                    "assert hello == {'outboxd': 1, 'window': 5}, hello\n"
                    "while True:\n"
                    "    lines = []\n"
                    "    for line in iter(sys.stdin.readline, ''):\n"
                    "        lines.append(line)\n"
                    "        if len(lines) == 5: break\n"
                    "    if not lines: break\n"
                    "    assert not select.select([0], [], [], 0.1)[0], 'a sixth message came'\n"
                    "    for line in reversed(lines):\n"
                    "        print(json.dumps({'id': json.loads(line)['id'], 'status': 'ok'}), flush=True)\n",
                    "window = 5\ntimeout = 60s", "workers = 1\nbatch_timeout = 90s")
        self.insert("x", count=50)
        self.outboxd("run", "--once")
        self.assertEqual(self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"), [(50,)])


if __name__ == "__main__":
    outbox_test.main()
