# SPDX-License-Identifier: Apache-2.0
"""The commands: what they print, what they return, and that hostile rows do not drive a terminal."""

import json
import os
import re
import resource
import subprocess
import unittest
import uuid

import combination
import outbox_test
from command_test import UNFIT, Commands

COMMANDS = ("run", "reload", "check", "init", "send", "list", "show", "requeue", "discard", "purge", "status", "route", "plugins")
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"


def manual(name):
    """The text of an installed page of section 8."""
    with open(os.path.join(outbox_test.MANDIR, "man8", name + ".8"), encoding="utf-8") as f:
        return f.read()


class Usage(Commands):
    def test_every_command_has_help(self):
        out, _ = self.run_bare("--help")
        for command in COMMANDS:
            self.assertRegex(out, r"(?m)^  %s " % command)
            self.assertIn("Usage: outboxd " + command, self.run_bare(command, "--help")[0])
            self.assertIn("Usage: outboxd " + command, self.run_bare("help", command)[0])
        self.assertRegex(self.run_bare("--version")[0], r"^outboxd \d+\.\d+")

    def test_wrong_usage_is_two(self):
        self.assertIn("Usage", self.run_bare(code=2)[1])
        self.assertIn("did you mean `status`?", self.run_bare("statsu", code=2)[1])
        for args in (["run", "--bogus"], ["run", "x"], ["run", "--wait", "1s"], ["send"], ["send", "--topic", "t", "a", "b"],
                     ["send", "--topic", "t", "--id", "nonsense"], ["send", "--topic", "t", "--header", "x"],
                     ["send", "--topic", "t", "--header", "a=1", "--header", "a=2"], ["send", "--topic", "t", "--header", "=x"],
                     ["send", "--topic", b"\xff"], ["send", "--topic", "t", "--header", b"a=\xff"], ["send", "--topic", ""],
                     ["send", "--topic", "t", "--delay", "10"], ["send", "--topic", "t", "--delay", "never"], ["show"],
                     ["show", "a", "b"], ["list", "--status", "lost"], ["list", "--limit", "-1"], ["list", "--after", "x"],
                     ["route"], ["check", "x"], ["init", "x"], ["status", "x"], ["--bogus", "run"]):
            with self.subTest(args=args):
                self.assertIn("outboxd", self.run_bare(*args, code=2)[1])

    def test_a_missing_or_broken_configuration_is_two(self):
        for command in (["run"], ["check"], ["init"], ["status"], ["list"], ["send", "--topic", "t"], ["route", "--topic", "t"],
                        ["show", str(uuid.uuid4())]):
            _, err = self.run_bare(command[0], "-c", self.path("nothing.ini"), *command[1:], code=2)
            self.assertIn("nothing.ini: cannot be read: No such file", err)

    def test_what_only_the_plugin_knows_to_be_wrong_is_two_as_well(self):
        with open(self.path("outboxd.ini"), encoding="utf-8") as f:
            text = re.sub(r"(?m)^path = .*$", "path = :memory:", f.read())
        self.write("outboxd.ini", text, 0o600)
        for command in (["run", "--once"], ["check"], ["init"], ["status"], ["list"], ["send", "--topic", "t"],
                        ["show", str(uuid.uuid4())], ["purge", "--older-than", "1d"], ["requeue", "--all"]):
            with self.subTest(command=command):
                self.outboxd(*command, code=2)

    def test_help_is_a_command_too(self):
        self.assertEqual(self.run_bare("help")[0], self.run_bare("--help")[0])
        self.assertEqual(self.run_bare("help", "help")[0], self.run_bare("--help")[0])
        self.assertIn("did you mean `help`?", self.run_bare("hlep", code=2)[1])

    def test_every_command_has_a_manual_page_with_its_options(self):
        overview = manual("outboxd")
        listed = re.findall(r"(?m)^  (\S+) +\S", self.run_bare("--help")[0].split("\nCommands:\n")[1])
        self.assertEqual(sorted(listed), sorted(COMMANDS))
        for command in COMMANDS:
            self.assertIn("\n.It Xr outboxd-%s 8\n" % command, overview)
            page, help_text = manual("outboxd-" + command), self.run_bare(command, "--help")[0]
            self.assertIn("Manual page: outboxd-%s(8)." % command, help_text)
            (synopsis,) = re.findall(r"(?ms)^\.Sh SYNOPSIS\n(.*?)^\.Sh ", page)
            (shown,) = re.findall(r'(?ms)^\.\\" begin options %s\n(.*?)^\.\\" end options\n' % command, page)
            options = set(re.findall(r"--([a-z-]+)", help_text)) - {"config", "help", "usage", "version"}
            self.assertEqual(set(re.findall(r"(?m)^\.It .*\bFl -([a-z-]+)", shown)) - {"config"}, options, command)
            self.assertEqual(set(re.findall(r"Fl -([a-z-]+)", synopsis)), options, command)

    def test_the_file_may_be_named_before_the_command(self):
        self.assertIn("ok", self.run_bare("-c", self.path("outboxd.ini"), "check")[0])


class Check(Commands):
    def test_a_good_file_is_ok(self):
        self.assertIn("ok (store sqlite, 2 publishers, 2 routes)", self.outboxd("check").stdout)

    def test_connect_tells_what_is_missing(self):
        self.assertIn("run `outboxd init`", self.outboxd("check", "--connect", code=1).stderr)
        self.init()
        out = self.outboxd("check", "--connect").stdout
        self.assertIn("store: ok", out)
        self.assertIn("publisher mail: ok", out)
        self.config("[publisher out]\nplugin = exec\ncommand = /nonexistent/x\n")
        self.assertIn("publisher out: command: /nonexistent/x is not there", self.outboxd("check", "--connect", code=1).stderr)


class Look(Commands):
    COLUMNS = ["seq", "id", "topic", "key", "payload", "headers", "status", "retries", "last_error", "created_at",
               "processed_at", "available_at", "lane", "lane_seq", "origin_id"]
    SHOWN = ["seq", "id", "topic", "key", "status", "retries", "last_error", "created_at", "processed_at",
             "available_at", "lane", "lane_seq", "origin_id", "headers", "payload"]

    def setUp(self):
        super().setUp()
        self.init()

    def send(self, *args, stdin=b""):
        return self.outboxd("send", *args, stdin=stdin).stdout.strip()

    def test_what_was_sent_can_be_shown(self):
        i = self.send("--topic", "t", "--key", "k", "--header", "a=b=c", "--header", "empty=", "some text")
        (row,) = self.outboxd_json("show", i)
        self.assertEqual(list(row), self.COLUMNS)
        self.assertEqual((row["id"], row["topic"], row["key"], row["payload"], row["headers"], row["status"], row["retries"]),
                         (i, "t", "k", "some text", {"a": "b=c", "empty": ""}, "pending", 0))
        self.assertRegex(row["created_at"], TIME)
        self.assertIsNone(row["processed_at"])
        self.assertIn("some text", self.outboxd("show", i.upper()).stdout)

    def test_payloads_come_from_nothing_an_argument_or_stdin(self):
        none, empty = self.send("--topic", "t"), self.send("--topic", "t", "")
        text, binary = self.send("--topic", "t", "-", stdin="grüße".encode()), self.send("--topic", "t", "-", stdin=b"\0\xff")
        self.assertEqual(self.query("SELECT payload FROM outbox_messages ORDER BY seq"),
                         [(None,), (b"",), ("grüße".encode(),), (b"\0\xff",)])
        rows = {row["id"]: row for row in self.outboxd_json("list")}
        self.assertIsNone(rows[none]["payload"])
        self.assertEqual(rows[empty]["payload"], "")
        self.assertEqual(rows[text]["payload"], "grüße")
        self.assertEqual(rows[binary]["payload_base64"], "AP8=")
        self.assertNotIn("payload", rows[binary])

    def test_an_id_may_be_given_once(self):
        i = str(uuid.uuid4())
        self.assertEqual(self.send("--topic", "t", "--id", i.upper()), i)
        self.assertEqual(self.outboxd("send", "--topic", "t", "--id", i, code=1).stderr,
                         "outboxd: a message with the id %s is there already\n" % i)

    def test_a_delay_is_kept(self):
        self.send("--topic", "t", "--delay", "10m", "x")
        (row,) = self.outboxd_json("list")
        self.assertRegex(row["available_at"], TIME)
        self.assertEqual(self.outboxd_json("status")[0]["delayed"], 1)

    def test_an_unknown_id_is_one_and_a_malformed_one_two(self):
        self.assertIn("no message", self.outboxd("show", str(uuid.uuid4()), code=1).stderr)
        for bad in ("nonsense", "", "x" * 300):
            self.outboxd("show", bad, code=2)
        self.connect().execute("INSERT INTO outbox_messages (id, topic) VALUES ('order-1', 't')")
        self.outboxd("show", "order-1")

    def test_list_filters_and_pages(self):
        db = self.connect()
        for n in range(450):
            db.execute("INSERT INTO outbox_messages (topic, status) VALUES (?, ?)",
                       ("invoice.%d" % n if n % 2 else "order/%d" % n, "failed" if n % 3 == 0 else "pending"))
        self.assertEqual(len(self.outboxd_json("list")), 100)
        every = self.outboxd_json("list", "--limit", "0")
        self.assertEqual([row["seq"] for row in every], list(range(1, 451)))
        self.assertEqual(len(self.outboxd_json("list", "--limit", "0", "--status", "failed")), 150)
        self.assertEqual(len(self.outboxd_json("list", "--limit", "0", "--topic", "invoice.*")), 225)
        self.assertEqual(len(self.outboxd_json("list", "--limit", "0", "--topic", "order/1?", "--status", "pending")), 3)
        self.assertEqual([row["seq"] for row in self.outboxd_json("list", "--after", "440", "--limit", "5")],
                         [441, 442, 443, 444, 445])
        self.assertEqual(self.outboxd_json("list", "--publisher", "mail"), [])
        self.assertIn("did you mean `mail`?", self.outboxd("list", "--publisher", "mial", code=2).stderr)
        self.assertEqual(len(self.outboxd("list", "--limit", "3").stdout.splitlines()), 4)

    def test_hostile_rows_do_not_drive_a_terminal(self):
        db = self.connect()
        evil = "\x1b]0;owned\x07\x1b[2J\r\nfake 1 2 3\u0085\u202e"
        db.execute("INSERT INTO outbox_messages (id, topic, key, payload, last_error, headers) VALUES (?, ?, ?, ?, ?, ?)",
                   (evil, evil, evil, evil, evil, json.dumps({evil: evil})))
        db.execute("INSERT INTO outbox_messages (id, topic, key, payload) VALUES ('bytes', ?, ?, ?)",
                   (b"\xff\0x", b"\x9b31m", b"\x9b\0"))
        for out in (self.outboxd("list").stdout, self.outboxd("show", "bytes").stdout):
            self.assertIsNone(re.search(UNFIT, out), repr(out))
        self.assertEqual(len(self.outboxd("list").stdout.splitlines()), 3)
        self.assertIsNone(re.search(UNFIT, self.outboxd("list", "--json").stdout))
        rows = self.outboxd_json("list")
        self.assertEqual(rows[0]["topic"], evil)
        self.assertEqual(rows[0]["headers"], {evil: evil})
        self.assertEqual(rows[1]["topic"], "\ufffd\ufffdx")

    def test_text_does_not_reorder_what_stands_beside_it(self):
        self.send("--topic", "a\u202eb\u2066c\u2028d")
        for out in (self.outboxd("list").stdout, self.outboxd("show", self.query("SELECT id FROM outbox_messages")[0][0]).stdout):
            self.assertIn("a\\u202Eb\\u2066c\\u2028d", out)

    def test_columns_stay_in_line_and_tell_what_was_cut(self):
        self.send("--topic", "grüße/日本", "--key", "k1")
        self.send("--topic", "x" * 24, "--key", "k2")
        self.send("--topic", "é" * 30, "--key", "k3")
        head, *lines = self.outboxd("list").stdout.splitlines()
        for n, line in enumerate(lines, 1):
            self.assertEqual(line[head.index("KEY"):].rstrip(), "k%d" % n)
        self.assertIn("x" * 24, lines[1])
        self.assertIn("é" * 23 + "…", lines[2])
        i = self.send("--topic", "t", "-", stdin=b"p" * 5000)
        self.assertIn("payload       5000 bytes: " + "p" * 3999 + "…\n", self.outboxd("show", i).stdout)

    def test_every_column_is_shown_even_without_a_value(self):
        out = self.outboxd("show", self.send("--topic", "t")).stdout
        self.assertEqual([line.split()[0] for line in out.splitlines()],
                         [{"headers": "header"}.get(c, c) for c in self.SHOWN])
        for column in ("lane", "lane_seq", "origin_id", "payload", "processed_at"):
            self.assertRegex(out, r"(?m)^%s +NULL$" % column)

    def test_headers_that_cannot_be_read_are_told(self):
        self.connect().execute("INSERT INTO outbox_messages (topic, headers) VALUES ('t', 'nonsense')")
        (row,) = self.outboxd_json("list")
        self.assertEqual(row["defect"], "headers: not valid JSON")
        self.assertIn("not valid JSON", self.outboxd("show", row["id"]).stdout)

    def test_rows_below_zero_are_rows(self):
        self.connect().execute("INSERT INTO outbox_messages (seq, id, topic, status) VALUES (-5, 'early', 't', 'failed')")
        self.assertEqual([row["seq"] for row in self.outboxd_json("list")], [-5])
        self.assertEqual(self.outboxd_json("list", "--after", "-5"), [])
        self.outboxd("show", "early")
        self.assertEqual(self.outboxd("requeue", "--all").stdout, "requeued 1\n")

    def test_a_closed_stream_fails_and_hits_no_file(self):
        before = os.stat(self.path("shop.db")).st_size
        for command in ("list", "status", "plugins"):
            done = subprocess.run(["/bin/sh", "-c", 'exec "$0" "$@" >&-', outbox_test.PROGRAM, command, "-c",
                                   self.path("outboxd.ini")], stderr=subprocess.PIPE, timeout=outbox_test.PATIENCE)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"cannot write to standard output", done.stderr)
        subprocess.run(["/bin/sh", "-c", 'exec "$0" run --once -c "$1" <&- >&- 2>&-', outbox_test.PROGRAM,
                        self.path("outboxd.ini")], timeout=outbox_test.PATIENCE)
        self.assertEqual(os.stat(self.path("shop.db")).st_size, before)
        self.assertEqual(self.query("PRAGMA integrity_check"), [("ok",)])

    def test_a_reader_that_goes_away_is_no_crash(self):
        db = self.connect()
        db.execute("BEGIN")
        for _ in range(3000):
            db.execute("INSERT INTO outbox_messages (topic, payload) VALUES ('t', ?)", ("x" * 200,))
        db.execute("COMMIT")
        process = subprocess.Popen([outbox_test.PROGRAM, "list", "-c", self.path("outboxd.ini"), "--limit", "0", "--json"],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        process.stdout.close()
        self.assertIn(process.wait(outbox_test.PATIENCE), (1, -13))
        with open("/dev/full", "wb") as full:
            done = subprocess.run([outbox_test.PROGRAM, "list", "-c", self.path("outboxd.ini")], stdout=full,
                                  stderr=subprocess.PIPE)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"cannot write to standard output: No space left", done.stderr)
            done = subprocess.run([outbox_test.PROGRAM, "list", "-c", self.path("outboxd.ini"), "--limit", "0"], stdout=full,
                                  stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write", done.stderr)
        self.assertNotIn(b"Success", done.stderr)

    def test_a_lack_of_descriptors_is_told_as_that(self):
        stores = {"sqlite": "path = " + self.db, "postgres": "conninfo = host=/nonexistent"}
        for store in [store for store in stores
                      if os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "store-%s.so" % store))]:
            path = self.write("few.ini", "[relay]\nplugin_dir = %s\n[store]\nplugin = %s\n%s\n"
                              % (outbox_test.PLUGIN_DIR, store, stores[store]), 0o600)
            for limit in range(3, 12):
                done = subprocess.run([outbox_test.PROGRAM, "status", "-c", path], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, timeout=outbox_test.PATIENCE,
                                      preexec_fn=lambda n=limit: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)))
                self.assertNotIn(b"memory", done.stderr)


class StoreAlone(Commands):
    """What only looks at the table needs no more of the file than where the table is."""
    COMMANDS = (["status"], ["list"], ["requeue", "--all"], ["discard", "--all"], ["purge", "--older-than", "1d"],
                ["list", "--publisher", "mail"], ["init"])

    def setUp(self):
        super().setUp()
        self.init()
        self.sent = self.outboxd("send", "--topic", "t").stdout.strip()
        self.store = "[relay]\nplugin_dir = %s\n[store]\nplugin = sqlite\npath = %s\n" % (outbox_test.PLUGIN_DIR, self.db)

    def all_work(self, text):
        path = self.write("monitor.ini", text, 0o600)
        for command in (*self.COMMANDS, ["show", self.sent]):
            with self.subTest(command=command):
                self.outboxd(*command, config=path)
        self.outboxd("check", config=path, code=2)

    def test_a_file_that_has_only_a_store(self):
        self.all_work(self.store)

    def test_neither_plugins_nor_secrets_of_publishers_nor_routes_are_needed(self):
        self.all_work(self.store + "[publisher mail]\nplugin = missing\npassword_file = /nonexistent\n"
                      "[route r]\nto.x = nobody\n[router]\nfallback = nobody\n[other]\nnonsense\n")

    def test_names_of_publishers_are_still_checked(self):
        path = self.write("monitor.ini", self.store + "[publisher mail]\nplugin = missing\n", 0o600)
        self.assertIn("did you mean `mail`?", self.outboxd("list", "--publisher", "mial", code=2, config=path).stderr)

    def test_a_table_that_is_not_there_is_told(self):
        os.unlink(self.db)
        for command in (*self.COMMANDS[:-1], ["show", self.sent], ["send", "--topic", "t"]):
            with self.subTest(command=command):
                self.assertIn("run `outboxd init`", self.outboxd(*command, code=1).stderr)

    def test_mistakes_of_the_store_are_told(self):
        path = self.write("monitor.ini", self.store + "pth = x\n[publisher a]\nplugin = missing\n", 0o600)
        said = self.outboxd("status", code=2, config=path).stderr
        self.assertIn("monitor.ini:6: unknown key `pth` in [store]", said)
        self.assertEqual(len(said.splitlines()), 1)
        self.assertIn("there is no [store] section", self.outboxd("init", code=2, config=self.write("none.ini", "")).stderr)


@unittest.skipUnless(os.environ.get("OUTBOX_TEST_PG") and combination.psycopg2, "no PostgreSQL: see scripts/services.sh")
class Monitor(Commands):
    def test_a_monitor_needs_to_read_and_no_more(self):
        store = combination.Postgres(self)
        self.addCleanup(store.close)
        role, i, ini = "reads_" + store.schema, str(uuid.uuid4()), "[relay]\nplugin_dir = %s\n" % outbox_test.PLUGIN_DIR
        self.outboxd("init", config=self.write("owner.ini", ini + store.config(), 0o600))
        store.run("INSERT INTO %s.outbox_messages (id, topic) VALUES ('%s', 't')" % (store.schema, i))
        store.run("CREATE ROLE %s LOGIN PASSWORD 'm'" % role)
        self.addCleanup(store.run, "DROP OWNED BY %s; DROP ROLE %s" % (role, role))
        store.run("GRANT USAGE ON SCHEMA %s TO %s" % (store.schema, role))
        store.run("GRANT SELECT ON ALL TABLES IN SCHEMA %s TO %s" % (store.schema, role))
        store.conninfo, owner = store.conninfo + " user=%s password=m" % role, store.conninfo
        path = self.write("monitor.ini", ini + store.config(), 0o600)
        store.conninfo = owner
        self.assertRegex(self.outboxd("status", "--fail-if", "failed>0", config=path).stdout, r"(?m)^pending +1\b")
        self.outboxd("list", config=path)
        self.outboxd("show", i, config=path)


class FailIf(Commands):
    def setUp(self):
        super().setUp()
        self.init()
        db = self.connect()
        db.execute("INSERT INTO outbox_messages (topic, created_at) VALUES ('t', '2020-01-01'), ('t', '2020-01-01')")
        db.execute("INSERT INTO outbox_messages (topic, status) VALUES ('t', 'failed')")

    def fails(self, *conditions, said):
        args = [arg for condition in conditions for arg in ("--fail-if", condition)]
        done = self.outboxd("status", *args, code=1)
        self.assertIn("pending ", done.stdout)
        self.assertEqual(done.stderr.splitlines(), ["outboxd: " + line for line in said])

    def test_a_condition_that_holds_is_one_and_told(self):
        self.fails("pending>1", said=["pending>1: 2 are pending"])
        self.fails("failed>0", said=["failed>0: 1 are failed"])
        self.fails("no-relay", said=["no-relay: no relay is live"])
        done = self.outboxd("status", "--fail-if", "oldest>5m", code=1)
        self.assertRegex(done.stderr, r"^outboxd: oldest>5m: the oldest has waited for \d+ d")
        self.fails("processing>0", "failed>0", "delayed>0", "no-relay",
                   said=["failed>0: 1 are failed", "no-relay: no relay is live"])
        self.assertEqual(self.outboxd_json("status", "--fail-if", "pending>1", code=1)[0]["pending"], 2)

    def test_one_that_does_not_hold_is_none(self):
        self.outboxd("status", "--fail-if", "pending>2", "--fail-if", "failed>1", "--fail-if", "oldest>36500d",
                     "--fail-if", "paused", "--fail-if", "delayed>0")

    def test_a_count_that_was_cut_short_is_finished(self):
        db = self.connect()
        db.execute("INSERT INTO outbox_messages (topic) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                   " WHERE i < 150000) SELECT 't' FROM n")
        self.outboxd("status", "--fail-if", "pending>150002")
        self.fails("pending>150001", said=["pending>150001: 150002 are pending"])

    def test_a_relay_and_its_publishers_are_seen(self):
        self.config("[publisher out]\nplugin = exec\ncommand = /bin/sh -c \"exit 69\"\n")
        relay = self.start("run")
        self.until(lambda: self.outboxd("status", "--fail-if", "paused", code=None).returncode == 1, "a pause")
        self.assertIn("paused: publisher out is not ready", self.outboxd("status", "--fail-if", "paused", code=1).stderr)
        self.outboxd("status", "--fail-if", "no-relay")
        self.stop(relay)

    def test_what_is_no_condition_is_two(self):
        for condition in ("pending", "pending>", "pending>x", "pending>-1", "pending=1", "oldest>10", "no-relay>1", "", "failed"):
            self.assertIn("--fail-if: ", self.outboxd("status", "--fail-if", condition, code=2).stderr)
        self.assertIn("did you mean `pending`?", self.outboxd("status", "--fail-if", "pendign>1", code=2).stderr)


class Signals(Commands):
    def shop(self):
        """Its message takes a second."""
        program = self.write("slow.sh", "#!/bin/sh\nexec 2>/dev/null\n: >%s\nsleep 1\n" % self.path("begun"), 0o755)
        self.config("[publisher out]\nplugin = exec\ncommand = %s\n" % program)
        self.init()
        self.outboxd("send", "--topic", "t")

    def test_two_signals_at_once_are_one(self):
        self.shop()
        relay = self.start("run")
        self.until(lambda: os.path.exists(self.path("begun")), "the message")
        relay.terminate()
        self.until(lambda: "msg=stopping" in self.read("relay.log"), "the first")
        self.stop(relay)
        self.assertEqual(self.query("SELECT status FROM outbox_messages"), [("processed",)])

    def test_a_log_at_the_limit_of_its_size_kills_nobody(self):
        self.shop()
        limit = 64 << 20
        os.truncate(self.write("relay.log", ""), limit)
        relay = self.start("run", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.until(lambda: self.query("SELECT status FROM outbox_messages") == [("processed",)], "the message")
        self.assertIsNone(relay.poll())
        self.stop(relay)
        self.assertEqual(os.path.getsize(self.path("relay.log")), limit)
        os.unlink(self.path("relay.log"))


class Route(Commands):
    def test_what_cannot_be_a_map_is_a_route_of_its_own(self):
        self.config("[publisher out]\nplugin = exec\ncommand = /bin/true\n", router="[route no-topic]\ntopic = \"\"\n"
                    "publisher = out\n[route equal]\nheader.d = a=b\npublisher = out\n[route empty]\nheader.d =\n"
                    "publisher = out\n")
        self.assertIn("by route no-topic", self.outboxd("route", "--topic", "").stdout)
        self.assertIn("by route equal", self.outboxd("route", "--topic", "t", "--header", "d=a=b").stdout)
        self.assertIn("by route empty", self.outboxd("route", "--topic", "t", "--header", "d=").stdout)
        self.outboxd("route", "--topic", "t", "--header", "d=a", code=1)

    def test_the_reasons_are_told(self):
        out = self.outboxd("route", "--topic", "invoice.1", "--header", "destination=nowhere").stdout.splitlines()
        self.assertRegex(out[0], r"^route invoices \(line \d+\): the message has no header tier$")
        self.assertRegex(out[1], r"^route by-destination \(line \d+\): header destination is `nowhere`, which")
        self.assertEqual(out[2], "publisher out, by the fallback")
        self.assertIn("publisher mail, by route invoices",
                      self.outboxd("route", "--topic", "invoice.1", "--header", "tier=gold").stdout)

    def test_json_has_the_same(self):
        (route,) = self.outboxd_json("route", "--topic", "x", "--key", "k", "--header", "destination=post")
        self.assertEqual((route["publisher"], route["route"], route["fallback"], route["error"]),
                         ("mail", "by-destination", False, None))
        self.assertEqual([c["route"] for c in route["considered"]], ["invoices", "by-destination"])

    def test_a_route_without_a_condition_takes_everything(self):
        self.config("[publisher out]\nplugin = exec\ncommand = /bin/true\n", router="[route all]\npublisher = out\n")
        self.assertIn("publisher out, by route all", self.outboxd("route", "--topic", "x").stdout)

    def test_unrouted_is_one(self):
        self.config("[publisher out]\nplugin = exec\ncommand = /bin/true\n", router="[route r]\ntopic = a\npublisher = out\n")
        done = self.outboxd("route", "--topic", "b", code=1)
        self.assertIn("unrouted = hold: the message would be held", done.stderr)
        (route,) = self.outboxd_json("route", "--topic", "b", code=1)
        self.assertIsNone(route["publisher"])


class Plugins(Commands):
    def test_installed_plugins_are_listed_with_their_files(self):
        out = self.outboxd("plugins").stdout
        self.assertIn(os.path.join(outbox_test.PLUGIN_DIR, "store-sqlite.so"), out)
        rows = self.outboxd_json("plugins")
        kinds = [(row["kind"], row["name"]) for row in rows]
        self.assertIn(("store", "sqlite"), kinds)
        self.assertIn(("publisher", "exec"), kinds)
        self.assertEqual(list(rows[0]), ["kind", "name", "version", "summary", "url", "file", "abi_major", "abi_minor",
                                         "needs_minor", "options"])

    def test_a_plugins_options_are_documented(self):
        out = self.outboxd("plugins", "exec").stdout
        for text in ("command = ", "words, required", "choice: message | stream", "timeout = 10s", "shorter than batch_timeout"):
            self.assertIn(text, out)
        self.assertEqual(out, self.outboxd("plugins", "pub-exec").stdout)
        self.assertIn("did you mean `sqlite`?", self.outboxd("plugins", "sqllite", code=1).stderr)

    def test_options_have_documented_keys_and_ranges(self):
        rows = self.outboxd_json("plugins")
        options = {o["name"]: o for row in rows if row["name"] == "exec" for o in row["options"]}
        self.assertEqual((options["timeout"]["min_seconds"], options["timeout"]["max_seconds"]), (0.001, 3600))
        self.assertEqual((options["window"]["min"], options["window"]["max"]), (1, 10000))
        self.assertIn("duration, shorter than batch_timeout, 1ms to 1h", self.outboxd("plugins", "exec").stdout)
        page = manual("outboxd-plugins")
        for key in sorted({key for row in rows for o in row["options"] for key in o}):
            self.assertRegex(page, r"(?m)\b%s\b" % key)

    def test_no_configuration_is_needed(self):
        self.assertIn("sqlite", self.run_bare("plugins", "--plugin-dir", outbox_test.PLUGIN_DIR)[0])


class Init(Commands):
    def test_the_table_may_have_another_name(self):
        text = self.read("outboxd.ini").replace("path =", "table = shop_outbox\npath =")
        self.write("outboxd.ini", text, 0o600)
        self.assertIn("table shop_outbox created", self.outboxd("init").stdout)
        self.outboxd("send", "--topic", "t", "x")
        self.assertIn("published 1", self.outboxd("run", "--once").stdout)
        self.assertEqual(self.query("SELECT status FROM shop_outbox"), [("processed",)])

    def test_a_hostile_table_name_is_refused(self):
        text = self.read("outboxd.ini").replace("path =", 'table = "x; DROP TABLE y"\npath =')
        self.write("outboxd.ini", text, 0o600)
        self.assertIn("cannot be a table's name", self.outboxd("check", code=2).stderr)

    def test_a_file_that_is_no_database_is_left_alone(self):
        self.write("shop.db", "this is a text, and a long one: " * 100)
        self.assertIn("not a database", self.outboxd("init", code=1).stderr)
        self.assertTrue(self.read("shop.db").startswith("this is a text"))

    def test_two_at_once_make_one_table(self):
        command = [outbox_test.PROGRAM, "init", "-c", self.path("outboxd.ini")]
        runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
        results = [(run.communicate(timeout=outbox_test.PATIENCE), run.returncode) for run in runs]
        self.assertEqual([code for _, code in results], [0] * 4, results)
        self.assertEqual(sum(b"created" in out for (out, _), _ in results), 1)


if __name__ == "__main__":
    outbox_test.main()
