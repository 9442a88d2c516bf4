# SPDX-License-Identifier: Apache-2.0
"""What commands show of a table in PostgreSQL that is not as it should be."""

import os
import unittest

import combination
import outbox_test


@unittest.skipUnless(combination.psycopg2 and os.environ.get("OUTBOX_TEST_PG"), "no PostgreSQL")
class Postgres(outbox_test.Scratch):
    def setUp(self):
        super().setUp()
        self.store = combination.Postgres(self)
        self.addCleanup(self.store.close)
        self.configure()
        self.outboxd("init")
        self.db = self.store.connect()
        self.addCleanup(self.db.close)

    def configure(self, more=""):
        self.write("outboxd.ini", "[relay]\nplugin_dir = %s\n%s[publisher out]\nplugin = exec\ncommand = /bin/true\n"
                   "[router]\nfallback = out\n" % (outbox_test.PLUGIN_DIR, self.store.config(more)), 0o600)

    def execute(self, sql):
        return self.store.execute(self.db, sql)

    def test_check_tells_what_is_amiss_and_init_mends_it(self):
        self.execute("ALTER TABLE outbox_messages ALTER status DROP DEFAULT")
        told = self.outboxd("check", "--connect", code=1).stderr
        self.assertIn("the column status has no default", told)
        self.assertIn("run `outboxd init`", told)
        self.outboxd("status")  # which does not need it
        self.assertIn("mended", self.outboxd("init").stdout)
        self.assertIn("store: ok", self.outboxd("check", "--connect").stdout)

    def test_a_warning_of_check_is_seen(self):
        self.execute("INSERT INTO outbox_messages (topic, status) VALUES ('t', 'PENDING')")
        done = self.outboxd("check", "--connect")
        self.assertIn("store: ok", done.stdout)
        self.assertIn("PENDING", done.stderr)

    def test_a_time_without_end_is_shown_as_one(self):
        self.execute("INSERT INTO outbox_messages (topic, created_at, available_at) VALUES ('t', '-infinity', 'infinity')")
        (row,) = self.outboxd_json("list")
        self.assertEqual((row["created_at"], row["available_at"]), ("-infinity", "infinity"))
        self.assertRegex(self.outboxd("show", row["id"]).stdout, r"(?m)^available_at +infinity$")
        self.assertIn("-infinity", self.outboxd("list").stdout)
        (status,) = self.outboxd_json("status")
        self.assertIsNone(status["oldest_pending_seconds"])

    def test_the_row_of_the_least_number_is_listed_once(self):
        self.execute("INSERT INTO outbox_messages (seq, topic, status) VALUES (-9223372036854775808, 't', 'failed')")
        self.assertEqual([row["seq"] for row in self.outboxd_json("list")], [-2 ** 63])
        self.assertIn("requeued 1", self.outboxd("requeue", "--all").stdout)

    def test_what_stays_failed_is_named(self):
        self.execute("INSERT INTO outbox_messages (topic, key, status) SELECT 't', i::text, 'failed'"
                     " FROM generate_series(1, 20) i")
        self.execute("CREATE UNIQUE INDEX ON outbox_messages (topic) WHERE status = 'pending' AND key > '18'")
        done = self.outboxd("requeue", "--all")
        ((stayed,),) = self.execute("SELECT id::text FROM outbox_messages WHERE status = 'failed' LIMIT 1")
        ((n,),) = self.execute("SELECT count(*) FROM outbox_messages WHERE status = 'failed'")
        self.assertIn("requeued %d\n" % (20 - n), done.stdout)
        self.assertIn(stayed, done.stderr)
        told = self.outboxd("requeue", stayed, code=1).stderr
        self.assertIn("duplicate key", told)


if __name__ == "__main__":
    outbox_test.main()
