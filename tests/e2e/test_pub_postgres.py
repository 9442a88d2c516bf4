# SPDX-License-Identifier: Apache-2.0
"""pub-postgres: from a shop's database into the inbox of another one, a real PostgreSQL."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import conform_test
import inbox
import outbox_test
import relay_test

EXAMPLES = os.path.join(outbox_test.SRCDIR, "examples", "inbox")
NO_RETRY = "retry_min = 1h\nretry_max = 1h"


@unittest.skipUnless(os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "pub-postgres.so")), "pub-postgres is not built")
@unittest.skipIf(inbox.MISSING, inbox.MISSING)
class Inbox(relay_test.Relay):
    server = None

    @classmethod
    def setUpClass(cls):
        """One server for all."""
        super().setUpClass()
        if Inbox.server:
            return
        folder = tempfile.mkdtemp(prefix="outbox-test-")
        unittest.addModuleCleanup(shutil.rmtree, folder)
        Inbox.server = inbox.Broker(folder)
        unittest.addModuleCleanup(cls.server.stop)
        cls.server.start()
        cls.server.renew()

    def setUp(self):
        super().setUp()
        self.addCleanup(self.renew)

    def renew(self):
        self.server.signal(inbox.PROCESS, signal.SIGCONT)
        self.server.renew()

    def inbox(self, more="", relay="", section=None):
        self.config(section or self.server.section(more=more), "poll_interval = 100ms\n" + relay)
        self.outboxd("init")

    def conninfo(self, conninfo, more=""):
        self.inbox(section="[publisher out]\nplugin = postgres\nconninfo = %s\n%s\n" % (conninfo, more))

    def example(self, name, user="outbox"):
        self.server.script(os.path.join(EXAMPLES, name), user)

    def statuses(self):
        return self.query("SELECT status, retries, count(*) FROM outbox_messages GROUP BY 1, 2 ORDER BY 1, 2")

    def until_all(self, n):
        self.until(lambda: self.statuses() == [("processed", 0, n)], "all to be processed, uncharged")

    def until_logged(self, text, log="relay.log"):
        self.until(lambda: text in self.read(log), "`%s` in the log" % text)


class Publishing(Inbox):
    def test_every_message_arrives_once_and_as_it_was(self):
        self.inbox("application_name = warehouse-relay", "workers = 2")
        ids = self.insert("h\u00e9llo\n", topic="order.placed", count=1200, key="k.1",
                          headers='{"b": "\\"2\\"", "a": "\\u0007\\\\", "leer": ""}')
        tombstone, empty = self.insert(None, topic="gone"), self.insert("", topic="empty")
        self.outboxd("check", "--connect")
        self.outboxd("run", "--once")
        self.assertEqual(sorted(self.server.ids()), sorted([*ids, tombstone, empty]))
        topic, key, payload, headers, seq, created = self.server.sql(
            "SELECT topic, key, payload, headers, seq, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS') "
            "FROM outbox_inbox WHERE message_id = %s", "inbox", ids[7])[0]
        self.assertEqual((topic, key, bytes(payload).decode()), ("order.placed", "k.1", "h\u00e9llo\n"))
        self.assertEqual(headers, {"a": "\x07\\", "b": '"2"', "leer": ""})
        self.assertEqual([(seq, created)], self.query("SELECT seq, created_at FROM outbox_messages WHERE id = ?", ids[7]))
        self.assertEqual(self.server.sql("SELECT message_id, payload IS NULL, octet_length(payload), headers::text FROM outbox_inbox "
                                         "WHERE topic IN ('gone', 'empty') ORDER BY seq"),
                         [(tombstone, True, None, "{}"), (empty, False, 0, "{}")])
        self.assertEqual(self.statuses(), [("processed", 0, 1202)])

    def test_messages_with_a_key_arrive_in_their_order(self):
        self.inbox(relay="workers = 1")
        self.insert("x", count=1000, key="k")
        self.outboxd("run", "--once")
        self.assertEqual(self.server.sql("SELECT array_agg(seq ORDER BY position) = array_agg(seq ORDER BY seq) FROM outbox_inbox"),
                         [(True,)])

    def test_what_has_arrived_already_is_accepted_and_not_written_again(self):
        self.inbox()
        ids = self.insert("first", count=20)
        self.outboxd("run", "--once")
        self.server.sql("UPDATE outbox_inbox SET processed_at = now()")
        db = self.connect()
        db.execute("UPDATE outbox_messages SET status = 'pending', payload = 'second'")
        ids += self.insert("first", count=20)
        self.outboxd("run", "--once")
        self.assertEqual(sorted(self.server.ids()), sorted(ids))
        self.assertEqual(self.server.sql("SELECT count(*), count(processed_at) FROM outbox_inbox WHERE payload = 'first'"), [(40, 20)])
        self.assertEqual(self.statuses(), [("processed", 0, 40)])

    def test_only_those_at_fault_are_charged(self):
        """The first three can never be taken; what a trigger or a policy does not like may be later."""
        self.server.sql("ALTER TABLE outbox_inbox ADD CHECK (topic <> 'check'), ALTER COLUMN topic TYPE varchar(20)")
        self.server.sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                        "IF NEW.topic = 'raise' THEN RAISE 'not now'; "
                        "ELSIF NEW.topic = 'lacks' THEN PERFORM 1 FROM nowhere; END IF; RETURN NEW; END $$")
        self.server.sql("CREATE TRIGGER t BEFORE INSERT ON outbox_inbox FOR EACH ROW EXECUTE FUNCTION f()")
        self.server.sql("CREATE UNIQUE INDEX one_gift ON outbox_inbox (topic) WHERE topic = 'gift'")
        self.server.sql("ALTER TABLE outbox_inbox ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON outbox_inbox FOR ALL TO relay "
                        "USING (true) WITH CHECK (topic <> 'policy')")
        self.inbox(relay=NO_RETRY + "\nworkers = 1")
        good = self.insert("x", count=100)
        wrong = [(self.insert("x", **columns), status, state) for columns, status, state in (
            ({"key": "a\0b"}, "failed", "22021"), ({"topic": "t" * 21}, "failed", "22001"),
            ({"headers": '{"a": "\\u0000"}'}, "failed", "22P05"), ({"topic": "check"}, "pending", "23514"),
            ({"topic": "raise"}, "pending", "P0001"), ({"topic": "lacks"}, "pending", "42P01"),
            ({"topic": "policy"}, "pending", "42501"))]
        good += self.insert("x", count=100)
        good.append(self.insert("x", topic="gift"))
        wrong.append((self.insert("x", topic="gift"), "pending", "23505"))
        self.outboxd("run", "--once", code=None)
        self.assertEqual(sorted(self.server.ids()), sorted(good))
        for i, status, state in wrong:
            row = self.row(i)
            self.assertEqual((row["status"], row["retries"], state in row["last_error"]), (status, 1, True), row)
        self.assertNotIn("Failing row", self.row(wrong[3][0])["last_error"])

    def test_a_constraint_that_is_checked_at_the_commit_counts_too(self):
        self.server.sql("CREATE TABLE customers (name text PRIMARY KEY); ALTER TABLE outbox_inbox ADD FOREIGN KEY (key) "
                        "REFERENCES customers DEFERRABLE INITIALLY DEFERRED; INSERT INTO customers VALUES ('known')")
        self.inbox(relay=NO_RETRY)
        good, bad = self.insert("x", count=20, key="known"), self.insert("x", key="unknown")
        self.outboxd("run", "--once", code=None)
        self.assertEqual(sorted(self.server.ids()), sorted(good))
        self.assertEqual((self.row(bad)["retries"], "23503" in self.row(bad)["last_error"]), (1, True))

    def test_the_receiver_may_choose_types_and_parts_and_further_columns(self):
        self.server.sql("DROP TABLE outbox_inbox")
        self.example("partitioned.sql")
        self.server.sql('CREATE SCHEMA "Odd.One"; GRANT USAGE ON SCHEMA "Odd.One" TO relay; CREATE TABLE "Odd.One"."in""box" ('
                        "message_id uuid, topic varchar(50), key text, payload jsonb, headers json, created_at timestamptz, seq int8, "
                        "source text NOT NULL, more int DEFAULT 7, UNIQUE (message_id, source)); "
                        'GRANT INSERT, SELECT (message_id, source) ON "Odd.One"."in""box" TO relay')
        self.inbox()
        ids = self.insert("x", count=20)
        self.outboxd("run", "--once")
        self.assertEqual(sorted(self.server.ids()), sorted(ids))
        self.inbox('table = "Odd.One"."in""box"\nsource = shop', NO_RETRY)
        good, bad = self.insert('{"a": [1]}', headers='{"z": "1", "a": "2"}'), self.insert("no JSON")
        self.outboxd("run", "--once", code=None)
        self.assertEqual(self.server.sql('SELECT message_id::text, payload, headers::text, source, more FROM "Odd.One"."in""box"'),
                         [(good, {"a": [1]}, '{"z":"1","a":"2"}', "shop", 7)])
        self.assertEqual((self.row(bad)["status"], "22P02" in self.row(bad)["last_error"]), ("failed", True))

    def test_a_text_that_is_too_long_for_its_column_is_not_cut(self):
        self.server.sql("ALTER TABLE outbox_inbox ALTER message_id TYPE varchar(36), ALTER payload TYPE varchar(5) USING '', "
                        "ALTER headers TYPE varchar(20)")
        self.inbox(relay=NO_RETRY)
        good, long = self.insert("12345", count=20), self.insert("123456")
        headers = self.insert("1", headers='{"a": "%s"}' % ("x" * 20))
        self.outboxd("run", "--once", code=None)
        self.assertEqual(sorted(self.server.ids()), sorted(good))
        for i in (long, headers):
            self.assertEqual((self.row(i)["status"], "22001" in self.row(i)["last_error"]), ("failed", True))

    def test_one_that_is_older_than_the_ids_which_are_kept_becomes_a_dead_letter(self):
        self.example("too_late.sql")
        self.inbox()
        old, new = self.insert("x", created_at="2020-01-01 00:00:00.000"), self.insert("x")
        self.outboxd("run", "--once", code=None)
        self.assertEqual(self.server.ids(), [new])
        self.assertEqual((self.row(old)["status"], "ids are kept for 30 days" in self.row(old)["last_error"]), ("failed", True))

    def test_receivers_that_listen_wake_up(self):
        listener = self.server.connect()
        listener.autocommit = True
        self.addCleanup(listener.close)
        listener.cursor().execute('LISTEN "New Mail"')
        self.inbox("notify = New Mail")
        self.insert("x", count=20)
        self.outboxd("run", "--once")
        self.until(lambda: (listener.poll(), listener.notifies)[1], "the notification")

    def test_large_batches_go_in_parts(self):
        self.inbox("publish_timeout = 50s", "max_message = 40M\nbatch_timeout = 55s")
        ids = self.insert("x" * (7 << 20), count=3) + [self.insert("y" * (17 << 20))]
        self.outboxd("run", "--once")
        self.assertEqual(sorted(self.server.ids()), sorted(ids))
        self.assertEqual(self.server.sql("SELECT sum(octet_length(payload)) FROM outbox_inbox"), [((21 + 17) << 20,)])

    def test_what_is_wrong_with_the_table_is_told(self):
        for change, said in (("RENAME TO another", "does not exist"), ("SET UNLOGGED", "is not durable"),
                             ("DROP COLUMN seq, DROP COLUMN headers", "lacks the column headers, seq"),
                             ("ALTER message_id TYPE char(36), ALTER topic TYPE name, ALTER payload TYPE int USING 1",
                              "has columns of types that do not fit: message_id character(36), topic name, payload integer"),
                             ("DROP CONSTRAINT outbox_inbox_pkey", "lacks a unique index of message_id")):
            self.server.sql("CREATE TABLE kept (LIKE outbox_inbox INCLUDING ALL); GRANT ALL ON kept TO relay")
            self.server.sql("ALTER TABLE outbox_inbox " + change)
            self.inbox()
            self.assertIn("table: outbox_inbox " + said, self.outboxd("check", "--connect", code=1).stderr)
            self.server.sql("DROP TABLE IF EXISTS outbox_inbox, another")
            self.server.sql("ALTER TABLE kept RENAME TO outbox_inbox")
            self.server.sql("ALTER TABLE outbox_inbox RENAME CONSTRAINT kept_pkey TO outbox_inbox_pkey")
        self.server.sql("CREATE TABLE parted (LIKE outbox_inbox) PARTITION BY LIST (topic); CREATE TABLE lower PARTITION OF parted "
                        "DEFAULT PARTITION BY LIST (key); CREATE UNLOGGED TABLE lowest PARTITION OF lower DEFAULT")
        self.inbox("table = parted")
        self.assertIn("is not durable, a crash of the server empties it: ALTER TABLE lowest SET LOGGED",
                      self.outboxd("check", "--connect", code=1).stderr)
        self.server.sql("ALTER TABLE outbox_inbox ADD source text")
        self.inbox("source = shop")
        self.assertIn("lacks a unique index of message_id and source,", self.outboxd("check", "--connect", code=1).stderr)
        self.inbox()
        for grant, said in (("INSERT (message_id, topic)", "GRANT INSERT (key, payload, headers, created_at, seq)"),
                            ("INSERT", "GRANT SELECT (message_id)")):
            self.server.sql("REVOKE ALL ON outbox_inbox FROM relay; GRANT %s ON outbox_inbox TO relay" % grant)
            self.assertIn(said, self.outboxd("check", "--connect", code=1).stderr)
        self.server.sql("REVOKE ALL ON SCHEMA public FROM public")
        self.assertIn("does not exist", self.outboxd("check", "--connect", code=1).stderr)

    def test_wrong_options_are_told_with_their_lines(self):
        for options, said in (("table = a.b.c", "table: "), ('table = "a', "table: "), ("publish_timeout = 1h", "publish_timeout"),
                              ("notify = " + "x" * 64, "notify: ")):
            self.config("[publisher out]\nplugin = postgres\nconninfo = dbname=x\n%s\n" % options)
            self.assertIn(said, self.outboxd("check", code=2).stderr)
        for conninfo, said in (("host=x password", "not a connection string"), ("host=x pasword=", "not a connection string"),
                               ("host=x password=", "password: conninfo has one, too")):
            self.config("[publisher out]\nplugin = postgres\nconninfo = %s%s\npassword = %s\n" % (conninfo, "s3cret", "s3cret"))
            done = self.outboxd("check", code=2)
            self.assertIn(said, done.stderr)
            self.assertNotIn("s3cret", done.stderr)

    @outbox_test.unsanitized
    @conform_test.NEEDED
    def test_it_conforms_to_level_4(self):
        command = "%s %s %%s %s" % (sys.executable, inbox.__file__, self.server.folder)
        self.server.stop()
        subprocess.run((command % "start").split(), check=True)
        run = conform_test.Run(self.dir, os.path.join(outbox_test.PLUGIN_DIR, "pub-postgres.so"),
                               self.server.section().replace("plugin = postgres\n", "")
                               + "[conform]\nscratch = yes\nverify = %s\n[kill]\nstop = %s\nstart = %s\n"
                               % (command % "ids", command % "kill", command % "start"), "--level", "4")
        self.assertEqual((run.code, run.failed, run.reached()), (0, [], 4), run.text())
        self.assertEqual(run.skipped, ["collects-unknown", "collects-late", "writes-early"])  # it has no submit


class Outages(Inbox):
    def test_no_message_is_lost_or_charged_while_the_database_comes_and_goes(self):
        self.server.stop()
        self.addCleanup(lambda: self.server.is_running() or self.server.start())
        self.inbox(relay="workers = 2\nbatch_size = 50")
        ids = self.insert("x", count=200)
        relay = self.start("run")
        self.until_logged("publisher is unavailable")
        self.assertIn("Connection refused", self.read("relay.log"))
        for end in (self.server.stop, self.server.kill, self.server.kill):
            self.server.start()
            processed = self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0]
            ids += self.insert("y", count=2000)
            self.until(lambda: self.query("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")[0][0] > processed,
                       "some to be published")
            end()
        self.server.start()
        self.until_all(len(ids))
        self.assertEqual(sorted(self.server.ids()), sorted(ids))
        self.stop(relay)

    def test_a_server_that_falls_silent_is_left_and_taken_up_again(self):
        # One worker: the next messages go by the connection that is open.
        self.inbox("publish_timeout = 1s\nconnect_timeout = 1s", "batch_timeout = 5s\nworkers = 1")
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.signal(inbox.PROCESS, signal.SIGSTOP)
        ids = self.insert("x", count=20)
        self.until_logged("no answer in time")
        self.until(lambda: re.search("no connection in time|timeout expired", self.read("relay.log")), "the next login")
        self.server.signal(inbox.PROCESS, signal.SIGCONT)
        self.until_all(21)
        self.assertLessEqual(set(ids), set(self.server.ids()))
        self.stop(relay)

    def test_an_outage_is_noticed_while_nothing_is_published(self):
        self.inbox()
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.stop()
        self.until_logged("publisher is unavailable")
        self.assertIn("57P01", self.read("relay.log"))
        self.server.start()
        self.assertEqual(self.until_status(self.insert("y"), "processed")["retries"], 0)
        self.stop(relay)

    def test_a_refused_login_charges_no_message_shows_no_secret_and_ends_with_the_right_one(self):
        password = self.write("password", "wrong-" + inbox.PASSWORD, 0o600)
        self.conninfo(self.server.conninfo("relay"), "password_file = " + password)
        i = self.insert("x")
        done = self.outboxd("run", "--once", "--wait", "1s", code=1)
        self.assertIn("password authentication failed", done.stderr)
        self.assertIn("28P01", done.stderr)
        self.assertEqual((self.row(i)["status"], self.row(i)["retries"]), ("pending", 0))
        check = self.outboxd("check", "--connect", code=1)
        for text in (done.stdout, done.stderr, check.stdout, check.stderr, self.row(i)["last_error"]):
            self.assertNotIn(inbox.PASSWORD, text)
        relay = self.start("run")
        self.until_logged("28P01")
        self.write("password", inbox.PASSWORD, 0o600)
        self.until_status(i, "processed")
        self.server.refuse()
        j = self.insert("x")
        self.until(lambda: self.read("relay.log").count("28P01") > 1, "the new refusal")
        self.write("password", "another", 0o600)
        self.assertEqual(self.until_status(j, "processed")["retries"], 0)
        self.stop(relay)

    def test_a_full_disk_charges_no_message(self):
        self.inbox(relay="retry_min = 100ms\nmax_retries = 2")
        self.server.fill()
        i = self.insert("x")
        relay = self.start("run")
        self.until_logged("make room on the server's disk")
        self.server.make_room()
        self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)

    def test_a_table_or_a_right_that_is_missing_charges_no_message(self):
        self.inbox()
        relay = self.start("run")
        for spoil, said, mend in (("ALTER TABLE outbox_inbox RENAME TO elsewhere", "table: outbox_inbox does not exist",
                                   "ALTER TABLE elsewhere RENAME TO outbox_inbox"),
                                  ("REVOKE ALL ON outbox_inbox FROM relay", "may not be written by this role",
                                   "GRANT ALL ON outbox_inbox TO relay"),
                                  ("CREATE SEQUENCE s; ALTER TABLE outbox_inbox ADD n bigint DEFAULT nextval('s')",
                                   "GRANT USAGE ON SEQUENCE s", "GRANT USAGE ON SEQUENCE s TO relay"),
                                  ("CREATE FUNCTION f() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'; "
                                   "REVOKE ALL ON FUNCTION f FROM public; ALTER TABLE outbox_inbox ADD m int DEFAULT f()",
                                   "permission denied for function f", "GRANT EXECUTE ON FUNCTION f TO relay"),
                                  ("ALTER TABLE outbox_inbox ADD needy int NOT NULL DEFAULT 1; "
                                   "ALTER TABLE outbox_inbox ALTER needy DROP DEFAULT",
                                   "lacks a default, or a trigger that sets it, for its column needy",
                                   "ALTER TABLE outbox_inbox ALTER needy SET DEFAULT 1"),
                                  ("CREATE FUNCTION h() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; "
                                   "CREATE TRIGGER h BEFORE INSERT ON outbox_inbox FOR EACH ROW EXECUTE FUNCTION h(); "
                                   "ALTER TABLE outbox_inbox ALTER needy DROP DEFAULT",
                                   'null value in column \\"needy\\"', "ALTER TABLE outbox_inbox ALTER needy SET DEFAULT 1"),
                                  ("CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'bad luck' USING ERRCODE "
                                   "= 'internal_error'; END $$; CREATE TRIGGER g BEFORE INSERT ON outbox_inbox FOR EACH ROW "
                                   "EXECUTE FUNCTION g()", "bad luck (XX000)", "DROP TRIGGER g ON outbox_inbox")):
            self.until_status(self.insert("x"), "processed")
            self.server.sql(spoil)
            ids = self.insert("x", count=2)
            self.until_logged(said)
            self.server.sql(mend)
            self.assertEqual([self.until_status(i, "processed")["retries"] for i in ids], [0, 0])
        self.stop(relay)

    def test_a_table_that_is_changed_while_the_relay_runs_is_taken_as_it_is(self):
        self.inbox(relay="workers = 1")
        relay = self.start("run")
        self.until_status(self.insert("{}"), "processed")
        self.server.sql("ALTER TABLE outbox_inbox ALTER message_id TYPE uuid USING message_id::uuid, ALTER payload TYPE jsonb "
                        "USING convert_from(payload, 'UTF8')::jsonb")
        self.assertEqual(self.until_status(self.insert("{}"), "processed")["retries"], 0)
        self.stop(relay)

    def locked(self, said, more="", relay=""):
        """The log says why nothing arrives; then the lock is released."""
        self.inbox(more, relay)
        process = self.start("run")
        self.until_status(self.insert("x"), "processed")
        db = self.server.connect()
        self.addCleanup(db.close)
        db.cursor().execute("LOCK TABLE outbox_inbox")
        self.insert("x", count=20)
        self.until_logged(said)
        self.until(lambda: not self.server.sql("SELECT 1 FROM pg_locks WHERE NOT granted"), "the statement to end at the server, too")
        db.rollback()
        self.until_all(21)
        self.stop(process)

    def test_a_lock_on_the_table_charges_no_message(self):
        self.locked("no answer in time", "publish_timeout = 500ms", "batch_timeout = 5s")

    def test_nor_does_a_lock_that_the_server_does_not_wait_for(self):
        self.server.sql("ALTER ROLE relay SET lock_timeout = '50ms'")
        self.locked("55P03")

    def test_too_many_connections_are_one_worker_s_trouble(self):
        self.server.sql("ALTER ROLE relay CONNECTION LIMIT 1")
        self.inbox(relay="workers = 4\nbatch_size = 10")
        self.insert("x", count=1000)
        relay = self.start("run")
        self.until_all(1000)
        self.assertNotIn("publisher is unavailable", self.read("relay.log"))
        self.stop(relay)

    def test_a_standby_is_left_for_the_host_that_can_be_written(self):
        self.inbox()
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.server.sql("ALTER ROLE relay SET default_transaction_read_only = on")
        self.server.disconnect()
        i = self.insert("x")
        self.until_logged("25006")
        self.server.sql("ALTER ROLE relay RESET default_transaction_read_only")
        self.assertEqual(self.until_status(i, "processed")["retries"], 0)
        self.stop(relay)

    def test_an_idle_session_that_the_server_ends_is_no_outage(self):
        if self.server.sql("SELECT current_setting('server_version_num')::int")[0][0] < 140000:
            self.skipTest("this server ends no idle sessions")
        self.server.sql("ALTER ROLE relay SET idle_session_timeout = '200ms'")
        self.inbox()
        relay = self.start("run")
        self.until_status(self.insert("x"), "processed")
        self.until(lambda: not self.server.sql("SELECT 1 FROM pg_stat_activity WHERE usename = 'relay'"), "the server to end it")
        self.until_status(self.insert("y"), "processed")
        self.stop(relay)
        self.assertNotIn("unavailable", self.read("relay.log"))

    def found(self, does):
        """What a trigger does to one message is not charged to the others, and to that one at last."""
        self.server.sql("CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN "
                        "IF NEW.topic = 'bad' THEN %s; END IF; RETURN NEW; END $$" % does)
        self.server.sql("CREATE TRIGGER t BEFORE INSERT ON outbox_inbox FOR EACH ROW EXECUTE FUNCTION f()")
        self.inbox(relay="retry_min = 1h\nretry_max = 1h\nmax_retries = 9")
        self.insert("x", count=20)
        bad = self.insert("x", topic="bad")
        relay = self.start("run")

        def charged():
            """The relay blames a message while others are accepted."""
            self.insert("x", topic="other")
            return self.row(bad)["retries"]
        self.until(charged, "the one to be charged")
        count = self.query("SELECT count(*) FROM outbox_messages")[0][0]
        self.until(lambda: self.statuses() == [("pending", 1, 1), ("processed", 0, count - 1)], "the others")
        self.stop(relay)

    def test_a_message_that_ends_the_session_is_found_and_the_others_arrive(self):
        self.found("PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10)")

    def test_nor_does_one_hold_up_the_others_that_a_trigger_leaves_without_a_value(self):
        self.server.sql("ALTER TABLE outbox_inbox ADD derived int NOT NULL DEFAULT 1")
        self.found("NEW.derived := NULL")


class ExactlyOnce(Inbox):
    def consumer(self):
        with open(self.path("consumer.out"), "ab") as out:
            process = subprocess.Popen([sys.executable, os.path.join(EXAMPLES, "consumer.py"), self.server.conninfo("shop")
                                        + " password=" + inbox.PASSWORD, "mail"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.processes.append(process)
        return process

    def test_each_message_has_its_effect_exactly_once_whoever_is_killed(self):
        """Relays, their sessions, the server and two consumers are killed at random; then all of it is left in peace."""
        self.server.sql("GRANT CREATE ON SCHEMA public TO shop")
        self.example("receiver.sql", "shop")
        self.inbox("notify = mail\npublish_timeout = 1s",
                   "workers = 2\nbatch_size = 20\nbatch_timeout = 2s\nlease = 6s")
        chance = random.Random(7)
        relays, consumers, ids = [self.start("run"), self.start("run")], [self.consumer(), self.consumer()], []

        def replace(processes, start):
            i = chance.randrange(len(processes))
            processes[i].kill()
            processes[i].wait()
            processes[i] = start()
        for turn in range(8):
            ids += self.insert('{"order": 1}', topic="order.placed", count=150, key="c")
            arrived = len(self.server.ids())
            self.until(lambda: len(self.server.ids()) > arrived, "some to arrive")
            replace(relays, lambda: self.start("run"))
            self.server.disconnect()
            replace(consumers, self.consumer)
            if turn % 4 == 3:
                self.server.kill()
                self.server.start()
                consumers = [c if c.poll() is None else self.consumer() for c in consumers]
        bad = self.insert("no JSON", topic="order.placed")

        def live():
            for i, c in enumerate(consumers):
                if c.poll() is not None:
                    consumers[i] = self.consumer()
            return self.server.sql("SELECT count(*) FROM outbox_inbox WHERE processed_at IS NULL AND error IS NULL")[0][0] == 0
        self.until(lambda: not self.query("SELECT 1 FROM outbox_messages WHERE status <> 'processed'"), "all to be processed", 120)
        self.until(live, "all to have their effects")
        effects = [i for (i,) in self.server.sql("SELECT message_id FROM parcels")]
        self.assertEqual(sorted(effects), sorted(ids))
        self.assertEqual(self.server.sql("SELECT message_id FROM outbox_inbox WHERE error IS NOT NULL"), [(bad,)])
        self.assertEqual(self.server.sql("SELECT outbox_inbox_purge('30 days'), outbox_inbox_purge('0', 100)"), [(0, 100)])
        for relay in relays:
            self.stop(relay)


class Tls(Inbox):
    def openssl(self, *args):
        subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=self.dir)

    def setUp(self):
        super().setUp()
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", "2", "-subj", "/CN=localhost", "-addext",
                     "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem")
        for name in ("key.pem", "cert.pem"):
            path = self.server.path("data", name)
            with open(self.path(name), "rb") as old, open(path, "wb") as new:
                new.write(old.read())
            os.chmod(path, 0o600)
            if inbox.AS_USER:
                os.chown(path, inbox.NOBODY.pw_uid, inbox.NOBODY.pw_gid)

    def test_the_server_must_show_who_it_is_unless_a_person_has_said_otherwise(self):
        server = "port=%d user=relay dbname=inbox " % self.server.port
        password = "password = " + inbox.PASSWORD
        self.conninfo("host=localhost " + server, password)
        self.assertIn("does not support SSL", self.outboxd("check", "--connect", code=1).stderr)
        self.server.append("postgresql.conf", "ssl = on\nssl_cert_file = 'cert.pem'\nssl_key_file = 'key.pem'\n")
        self.server.stop()
        self.server.start()
        root = "sslrootcert=" + self.path("cert.pem")
        for conninfo, said in (("host=localhost ", "certificate verify failed"),
                               ("host=127.0.0.1 " + root, "does not match host name"),
                               ("host=localhost sslrootcert=/nowhere", "/nowhere"), ("service=mail", "must have sslmode")):
            self.conninfo(conninfo + " " + server, password)
            self.assertIn(said, self.outboxd("check", "--connect", code=1).stderr)
        for conninfo in ("host=localhost " + root, "host=127.0.0.1 sslmode=require"):
            self.conninfo(conninfo + " " + server, password)
            ids = self.insert("x", count=20)
            self.outboxd("run", "--once")
            self.assertLessEqual(set(ids), set(self.server.ids()))

    def test_a_socket_of_the_machine_needs_no_tls(self):
        self.server.append("postgresql.conf", "unix_socket_directories = '/tmp'\n")
        self.server.stop()
        self.server.start()
        self.conninfo("host=/tmp port=%d user=relay dbname=inbox" % self.server.port, "password = " + inbox.PASSWORD)
        self.insert("x", count=20)
        self.outboxd("run", "--once")
        self.assertEqual(len(self.server.ids()), 20)


if __name__ == "__main__":
    outbox_test.main()
