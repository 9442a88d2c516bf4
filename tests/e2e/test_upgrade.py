# SPDX-License-Identifier: Apache-2.0
"""Tables of an older form, of a newer version, and of somebody else."""

import sqlite3

import outbox_test
import relay_test


class Upgrade(relay_test.Relay):
    TABLE = ("CREATE TABLE outbox_messages (id TEXT PRIMARY KEY, topic TEXT NOT NULL, key TEXT NOT NULL DEFAULT '',"
             " payload BLOB, headers TEXT NOT NULL DEFAULT '{}', status TEXT NOT NULL DEFAULT 'pending',"
             " retries INTEGER NOT NULL DEFAULT 0, last_error TEXT NOT NULL DEFAULT '',"
             " created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP, processed_at DATETIME)")

    def old_shop(self):
        self.shop(init=False)
        db = self.connect()
        db.execute(self.TABLE)
        db.execute("CREATE INDEX idx_outbox_messages_pending ON outbox_messages (created_at) WHERE status = 'pending'")
        return db

    def test_a_ten_column_table_is_upgraded_in_place(self):
        db = self.old_shop()
        rows = [("new", "pending", b"null", None), ("old", "pending", b'{"a":"b"}', "2001-01-01 00:00:00"),
                ("busy", "processing", b"null", "2002-01-01 00:00:00"), ("done", "processed", "{}", "2003-01-01 00:00:00"),
                ("dead", "failed", "{}", "2004-01-01 00:00:00")]
        for name, status, headers, created in rows:
            db.execute("INSERT INTO outbox_messages (id, topic, payload, headers, status, created_at)"
                       " VALUES (?, 't', ?, ?, ?, coalesce(?, CURRENT_TIMESTAMP))", (name, name, headers, status, created))
        db.execute("CREATE INDEX mine ON outbox_messages (topic)")
        self.assertIn("older form", self.outboxd("status", code=1).stderr)
        done = self.outboxd("init")
        self.assertIn("upgraded (schema 1), 5 rows kept", done.stdout)
        self.assertEqual(self.query("SELECT id, status FROM outbox_messages ORDER BY seq"),
                         [("old", "pending"), ("busy", "pending"), ("done", "processed"), ("dead", "failed"),
                          ("new", "pending")])
        self.assertEqual(self.query("SELECT name FROM sqlite_master WHERE name IN ('mine', 'idx_outbox_messages_pending')"),
                         [("mine",)])
        # The package's producer goes on with the statement it had.
        db.execute("INSERT INTO outbox_messages (id, topic, key, payload, headers) VALUES (?, ?, ?, ?, ?)",
                   ("go", "t", "k", b"go", b"null"))
        self.outboxd("run", "--once")
        self.assertEqual(sorted(a[2] for a in self.arrived()), ["busy", "go", "new", "old"])
        self.assertIn("up to date", self.outboxd("init").stdout)

    def test_columns_that_somebody_added_are_kept(self):
        db = self.old_shop()
        db.execute("ALTER TABLE outbox_messages ADD COLUMN tenant TEXT NOT NULL DEFAULT 'none'")
        db.execute("INSERT INTO outbox_messages (id, topic, tenant) VALUES ('a', 't', 'x')")
        self.outboxd("init")
        db.execute("INSERT INTO outbox_messages (id, topic) VALUES ('b', 't')")
        self.assertEqual(self.query("SELECT id, tenant FROM outbox_messages ORDER BY seq"), [("a", "x"), ("b", "none")])

    def test_a_table_that_is_no_outbox_is_left_alone(self):
        self.shop(init=False)
        self.connect().execute("CREATE TABLE outbox_messages (id TEXT, topic TEXT)")
        self.assertIn("so it is no outbox", self.outboxd("init", code=1).stderr)
        self.assertEqual(self.query("SELECT count(*) FROM sqlite_master"), [(1,)])

    def test_a_newer_table_is_refused(self):
        self.shop()
        db = self.connect()
        db.execute("UPDATE outbox_messages_schema SET version = 3")
        self.outboxd("status")  # an upgrade that only adds does not bother us
        db.execute("UPDATE outbox_messages_schema SET needs = 3")
        self.assertIn("made by a newer outboxd", self.outboxd("status", code=1).stderr)

    def test_the_printed_sql_makes_the_same_tables(self):
        self.shop()
        sql = self.outboxd("init", "--print").stdout
        other = sqlite3.connect(self.path("other.db"))
        other.executescript(sql)
        same = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
        self.assertEqual(other.execute(same).fetchall(), self.query(same))
        other.close()


if __name__ == "__main__":
    outbox_test.main()
