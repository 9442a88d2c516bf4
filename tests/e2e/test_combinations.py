# SPDX-License-Identifier: Apache-2.0
"""What the relay promises, on every combination of a store and a publisher: one table of scenarios."""

import json
import os
import signal
import time
import uuid

import combination
import outbox_test


@combination.combinations()
class Delivery(combination.Scenario):
    def test_a_message_arrives_once_and_is_kept_as_processed(self):
        self.shop()
        i = self.insert("hello")
        self.assertIn("published 1, failed 0", self.outboxd("run", "--once").stdout)
        self.assertEqual(self.arrived(), [(i, "t", "hello")])
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"], row["last_error"]), ("processed", 0, ""))
        self.assertIsNotNone(row["processed_at"])
        self.assertIn("published 0", self.outboxd("run", "--once").stdout)
        self.assertEqual(len(self.arrived()), 1)

    def test_a_rolled_back_message_never_arrives(self):
        self.shop()
        db = self.connect()
        relay = self.start_and_wait()
        for n in range(5):
            self.store.execute(db, "BEGIN")
            self.store.execute(db, "INSERT INTO outbox_messages (topic, payload) VALUES ('t', 'ghost')")
            time.sleep(0.05)
            self.store.execute(db, "ROLLBACK")
        last = self.insert("real")
        self.until_status(last, "processed")
        self.stop(relay)
        self.assertEqual(self.arrived(), [(last, "t", "real")])

    def test_a_transaction_that_commits_late_is_published(self):
        self.shop()
        relay = self.start_and_wait()
        db = self.connect()
        if self.store_name != "sqlite":  # which has one writer at a time
            self.store.execute(db, "BEGIN")
            self.store.execute(db, "INSERT INTO outbox_messages (topic, payload) VALUES ('t', 'late')")
        later = self.insert("x", count=50)
        self.until_counted(50, "processed")
        if self.store_name != "sqlite":
            self.store.execute(db, "COMMIT")
            self.until_counted(51, "processed")
        self.stop(relay)
        self.assertTrue(set(later) <= set(self.arrived_ids()))

    def test_an_sql_user_needs_four_columns_and_gets_an_id(self):
        self.shop()
        db = self.connect()
        self.store.execute(db, "INSERT INTO outbox_messages (topic, key, payload, headers)"
                           " VALUES ('t', 'k', 'p', '{\"a\":1}')")
        self.outboxd("run", "--once")
        i = self.arrived()[0][0]
        self.assertEqual(str(uuid.UUID(i)), i)

    def test_retention_zero_deletes_on_success(self):
        self.shop("retention = 0")
        self.insert(count=50)
        self.outboxd("run", "--once")
        self.assertEqual(len(self.arrived()), 50)
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages"), 0)

    def test_processed_rows_go_after_retention_and_failed_ones_stay(self):
        self.shop("retention = 1s")
        self.insert(status="processed", processed_at="2020-01-01 00:00:00", count=1200)
        failed = self.insert(status="failed", created_at="2020-01-01 00:00:00")
        fresh = self.insert(status="processed", processed_at="2999-01-01 00:00:00")
        relay = self.start("run")
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages") == 2, "old rows to go")
        self.stop(relay)
        self.assertEqual({str(r[0]) for r in self.query("SELECT id FROM outbox_messages")}, {failed, fresh})

    def test_a_delayed_message_waits_for_its_time(self):
        self.shop()
        i = self.outboxd("send", "--topic", "t", "--delay", "1h", "later").stdout.strip()
        self.assertIn("not due yet 1", self.outboxd("run", "--once").stdout)
        soon = self.outboxd("send", "--topic", "t", "--delay", "700ms", "soon").stdout.strip()
        text = self.insert("text", available_at="2020-02-03 04:05:06")
        relay = self.start("run")
        self.until_status(soon, "processed")
        self.until_status(text, "processed")
        self.stop(relay)
        self.assertEqual(self.row(i)["status"], "pending")

    def test_a_commit_of_another_process_wakes_the_relay(self):
        self.shop("poll_interval = 1h")
        relay = self.start_and_wait()
        time.sleep(0.3)
        for n in range(3):
            began = time.monotonic()
            self.insert("wake %d" % n)
            self.until(lambda: len(self.arrived()) == n + 1, "the message")
            self.assertLess(time.monotonic() - began, 10)
        self.stop(relay)

    def test_an_idle_relay_costs_next_to_nothing(self):
        self.shop()
        relay = self.start_and_wait()
        time.sleep(1)
        before = cpu_seconds(relay)
        time.sleep(4)
        self.assertLessEqual(cpu_seconds(relay) - before, 0.1)
        self.stop(relay)

    def test_several_relays_share_a_table_without_overlap(self):
        self.shop("batch_size = 20\nworkers = 2")
        ids = self.insert(count=400)
        relays = [self.start("run") for _ in range(3)]
        self.until_counted(400, "processed")
        for relay in relays:
            self.stop(relay)
        self.assertEqual(self.arrived_ids(), sorted(ids))

    def test_a_backlog_drains_in_batches(self):
        self.shop("retention = 0\nbatch_size = 500\nworkers = 2")
        count = 2000 if self.publisher_name == "amqp" else 300
        ids = self.insert(count=count)
        self.assertIn("published %d, failed 0" % count, self.outboxd("run", "--once").stdout)
        self.assertEqual(self.arrived_ids(), sorted(ids))


def cpu_seconds(process):
    with open("/proc/%d/stat" % process.pid, encoding="ascii") as f:
        return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")


@combination.combinations()
class Outcomes(combination.Scenario):
    def test_a_message_that_fails_is_charged_and_after_max_retries_dead(self):
        self.shop("max_retries = 3\nretry_min = 10ms\nretry_max = 20ms")
        bad = self.insert(**self.publisher.tried_again)
        good = self.insert("good")
        relay = self.start("run")
        row = self.until_status(bad, "failed")
        self.assertEqual(self.until_status(good, "processed")["retries"], 0)
        self.stop(relay)
        self.assertEqual(row["retries"], 3)
        self.assertIn(self.publisher.reason_tried, row["last_error"])
        self.assertIn("message failed", self.read("relay.log"))

    def test_a_retry_waits_and_is_not_due_meanwhile(self):
        self.shop("retry_min = 1h\nretry_max = 1h")
        i = self.insert(**self.publisher.tried_again)
        self.assertIn("published 0, failed 0, not due yet 1", self.outboxd("run", "--once").stdout)
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), ("pending", 1))
        self.assertIsNotNone(row["available_at"])

    def test_a_rejected_message_is_dead_at_once_and_its_neighbours_arrive(self):
        self.shop()
        before, bad, after = self.insert(count=10), self.insert(**self.publisher.rejected), self.insert(count=10)
        self.assertIn("published 20, failed 1", self.outboxd("run", "--once", code=1).stdout)
        row = self.row(bad)
        self.assertEqual((row["status"], row["retries"]), ("failed", 1))
        self.assertIn(self.publisher.reason_rejected, row["last_error"])
        self.assertEqual(self.arrived_ids(), sorted(before + after))

    def test_a_publisher_may_have_its_own_terms(self):
        self.shop("max_retries = 5", "max_retries = 1")
        i = self.insert(**self.publisher.tried_again)
        self.outboxd("run", "--once", code=1)
        self.assertEqual(self.row(i)["status"], "failed")

    def test_an_outage_charges_nothing_and_ends_by_itself(self):
        self.shop()
        self.publisher.shut()
        ids = self.insert(count=20)
        relay = self.start("run")
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the outage to be noticed")
        time.sleep(1)
        status = self.outboxd_json("status")[0]
        self.assertEqual(status["failed"], 0)
        self.assertEqual(status["pending"] + status["delayed"] + status["processing"], 20)
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)
        self.publisher.open()
        self.until_counted(20, "processed")
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)
        self.until(lambda: "publisher is back" in self.read("relay.log"), "the end to be noticed")
        self.stop(relay)
        self.assertEqual(self.arrived_ids(), sorted(ids))

    def test_once_gives_up_on_a_publisher_that_stays_away(self):
        self.shop()
        self.publisher.shut()
        i = self.insert()
        done = self.outboxd("run", "--once", "--wait", "1s", code=1)
        self.assertIn("publisher out was unavailable", done.stderr)
        self.assertEqual((self.row(i)["status"], self.row(i)["retries"]), ("pending", 0))
        self.publisher.open()

    def test_a_paused_publisher_does_not_hold_up_another(self):
        self.shop(more=self.publisher.config_down("down"),
                  router="[route down]\ntopic = down\npublisher = down\n[router]\nfallback = out\n")
        self.insert(topic="down", count=50)
        good = self.insert(topic="other", count=50)
        relay = self.start("run")
        self.until(lambda: len(self.arrived()) == 50, "the good ones")
        self.assertEqual(self.arrived_ids(), sorted(good))
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)
        self.stop(relay)


@combination.combinations()
class Routing(combination.Scenario):
    def test_an_unrouted_message_is_held_and_taken_up_after_the_repair(self):
        self.shop(router="[route r]\ntopic = known\npublisher = out\n")
        i = self.insert()
        self.assertIn("not due yet 1 (of these unrouted 1)", self.outboxd("run", "--once").stdout)
        row = self.row(i)
        self.assertEqual((row["status"], row["retries"]), ("pending", 0))
        self.assertIn("unrouted", row["last_error"])
        self.query("UPDATE outbox_messages SET available_at = NULL")
        self.shop(init=False)
        self.outboxd("run", "--once")
        self.assertEqual(self.row(i)["status"], "processed")

    def test_unrouted_fail_makes_it_failed(self):
        self.shop(router="[route r]\ntopic = known\npublisher = out\n[router]\nunrouted = fail\n")
        i = self.insert()
        self.outboxd("run", "--once", code=1)
        self.assertEqual(self.row(i)["status"], "failed")

    def test_a_header_names_the_publisher(self):
        self.shop(more=self.publisher.config_down("down"),
                  router="[route d]\nheader = destination\nto.pit = down\nto = out, down\n[router]\nfallback = out\n")
        ids = {d: self.insert(headers=json.dumps({"destination": d})) for d in ("pit", "down", "out", "else")}
        relay = self.start("run")
        self.until_counted(2, "processed")
        self.stop(relay)
        self.assertEqual(self.arrived_ids(), sorted([ids["out"], ids["else"]]))


@combination.combinations()
class Rows(combination.Scenario):
    def test_unreadable_headers_fail_alone(self):
        self.shop()
        bad = [self.insert(headers=h) for h in ("[1]", '"a"', "7", "true")]
        good = [self.insert(headers=h) for h in ("[]", "null", '{"a":"b"}', '{"n":1.50,"b":true,"o":{},"l":[1]}')]
        self.assertIn("published 4, failed 4", self.outboxd("run", "--once", code=1).stdout)
        for i in bad:
            row = self.row(i)
            self.assertEqual((row["status"], row["last_error"][:8]), ("failed", "headers:"))
        for i in good:
            self.assertEqual(self.row(i)["status"], "processed")

    def test_a_message_over_max_message_fails_at_once(self):
        self.shop("max_message = 1K")
        big, fits = self.insert("x" * 1025), self.insert("x" * 1024)
        self.outboxd("run", "--once", code=1)
        self.assertIn("max_message (1024)", self.row(big)["last_error"])
        self.assertEqual(self.row(fits)["status"], "processed")

    def test_a_batch_holds_no_more_bytes_than_told_and_large_ones_arrive(self):
        self.shop("batch_bytes = 1K")
        ids = [self.insert("y" * n) for n in (600, 600, 5000, 10, 300000)]
        self.outboxd("run", "--once")
        self.assertEqual([self.row(i)["status"] for i in ids], ["processed"] * 5)
        self.assertEqual(sorted(len(a[2]) for a in self.arrived()), [10, 600, 600, 5000, 300000])

    def test_hostile_text_goes_through_unharmed(self):
        self.shop()
        topics = ["t.'; DROP TABLE outbox_messages; --", "t.$(rm -rf /)`id`", "t.%s%n{topic}{key}", "t.gr\u00fc\u00df\u202e"]
        ids = [self.insert("x", topic=topic, key="{header.x}", headers=json.dumps({"a'b": "\"\\", "LD_PRELOAD": "/evil.so"}))
               for topic in topics]
        self.outboxd("run", "--once")
        self.assertEqual({(a[0], a[1]) for a in self.arrived()} if self.publisher_name == "amqp" else
                         set(zip(ids, topics)), set(zip(ids, topics)))
        self.assertEqual(self.arrived_ids(), sorted(ids))

    def test_rows_of_another_relay_without_a_lease_expire(self):
        self.shop("lease = 1s")
        i = self.insert(status="processing")
        relay = self.start("run")
        self.until_status(i, "processed")
        self.stop(relay)


@combination.combinations()
class Commands(combination.Scenario):
    def test_dead_letters_are_listed_requeued_and_discarded(self):
        self.shop("max_retries = 1")
        ids = [self.insert(**self.publisher.rejected) for _ in range(4)]
        self.outboxd("run", "--once", code=1)
        rows = self.outboxd_json("list", "--status", "failed")
        self.assertEqual([r["id"] for r in rows], ids)
        self.assertEqual([r["id"] for r in self.outboxd_json("list", "--after", str(rows[1]["seq"]))], ids[2:])
        shown = self.outboxd_json("show", ids[0])[0]
        self.assertIn(self.publisher.reason_rejected, shown["last_error"])
        self.outboxd("requeue", ids[0])
        self.assertEqual((self.row(ids[0])["status"], self.row(ids[0])["retries"]), ("pending", 0))
        self.outboxd("discard", ids[1])
        self.assertEqual(self.query("SELECT 1 FROM outbox_messages WHERE id = ?", ids[1]), [])
        self.outboxd("requeue", "--all", "--topic", "t*", "--dry-run")
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE status = 'failed'"), 2)
        self.outboxd("requeue", "--all", "--topic", "t*")
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE status = 'pending'"), 3)
        self.outboxd("show", str(uuid.uuid4()), code=1)

    def test_purge_deletes_what_is_old(self):
        self.shop()
        self.insert(status="processed", processed_at="2020-01-01 00:00:00", count=700)
        keep = self.insert()
        self.outboxd("purge", "--older-than", "1d")
        self.assertEqual([str(r[0]) for r in self.query("SELECT id FROM outbox_messages")], [keep])

    def test_a_row_is_shown_with_every_column(self):
        self.shop()
        i = self.outboxd("send", "--topic", "t", "--key", "k", "--header", "a=b", "p").stdout.strip()
        row = self.outboxd_json("show", i)[0]
        self.assertEqual((row["topic"], row["key"], row["payload"], row["headers"], row["status"], row["retries"]),
                         ("t", "k", "p", {"a": "b"}, "pending", 0))
        self.assertRegex(row["created_at"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
        for column in ("processed_at", "available_at", "lane", "lane_seq", "origin_id"):
            self.assertIn(column, row)
            self.assertIsNone(row[column])

    def test_status_counts_and_names_the_relays(self):
        self.shop("name = shop-7")
        self.insert(count=3, available_at="2999-01-01 00:00:00")
        self.insert(status="failed")
        relay = self.start_and_wait()
        status = self.outboxd_json("status")[0]
        self.assertEqual([status[k] for k in ("pending", "delayed", "processing", "processed", "failed")], [0, 3, 0, 0, 1])
        self.assertEqual([(r["name"], r["life"]) for r in status["relays"]], [("shop-7", "live")])
        self.stop(relay)
        self.assertEqual([r["life"] for r in self.outboxd_json("status")[0]["relays"]], ["ended"])

    def test_check_connects_and_says_what_is_wrong(self):
        self.shop(init=False)
        self.assertIn("outboxd init", self.outboxd("check", "--connect", code=1).stderr)
        self.outboxd("init")
        self.assertIn("store: ok", self.outboxd("check", "--connect").stdout)


@combination.combinations()
class Life(combination.Scenario):
    def test_it_starts_before_its_table_and_its_publisher(self):
        self.shop(init=False)
        self.publisher.shut()
        relay = self.start("run")
        self.until(lambda: "the store is unavailable" in self.read("relay.log"), "the warning")
        self.outboxd("init")
        i = self.insert()
        self.until(lambda: "publisher is unavailable" in self.read("relay.log"), "the other warning")
        self.publisher.open()
        self.until_status(i, "processed")
        self.stop(relay)
        self.assertEqual(self.arrived_ids(), [i])

    def test_sigterm_ends_it_cleanly_in_the_middle_of_a_backlog(self):
        self.shop("batch_size = 20")
        ids = self.insert(count=3000 if self.publisher_name == "amqp" else 400)
        relay = self.start("run")
        self.until(self.arrived, "the first message")
        self.stop(relay)
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processing'"), 0)
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processed'"),
                         len(set(self.arrived_ids())))
        self.outboxd("run", "--once")
        self.assertEqual(self.arrived_ids(), sorted(ids))

    def test_a_killed_relay_loses_nothing(self):
        self.shop("batch_size = 20\nlease = 1s\nworkers = 1")
        ids = []
        for n in range(3):
            ids += self.insert(count=1000 if self.publisher_name == "amqp" else 100)
            before = len(self.arrived())
            relay = self.start("run")
            self.until(lambda: len(self.arrived()) > before, "a message")
            relay.send_signal(signal.SIGKILL)
            relay.wait()
        relay = self.start("run", log="last.log")
        self.until(lambda: "started" in self.read("last.log"), "the last one")  # the others may have left it nothing to do
        self.until_counted(len(ids), "processed")
        self.stop(relay)
        arrived = self.arrived_ids()
        self.assertEqual(set(arrived), set(ids))
        self.assertLessEqual(len(arrived) - len(ids), 3 * 20)

    def test_swapping_the_publisher_is_an_edit_of_the_file(self):
        """From this publisher to the other kind and back, under load: nothing is lost, nothing is rebuilt."""
        self.shop("batch_size = 20\nretention = 1d")
        here = self.publisher
        other = "exec" if here.name == "amqp" else "amqp"
        self.needs_server(other)
        there = combination.PUBLISHERS[other](self)
        self.addCleanup(there.close)
        ids = []
        for publisher in (here, there, here):
            self.publisher = publisher
            self.shop("batch_size = 20", init=False)
            relay = self.start("run")
            before = len(publisher.arrived())
            for _ in range(10):
                ids += self.insert(count=20)
            self.until(lambda: len(publisher.arrived()) > before, "messages")
            self.stop(relay)
        self.outboxd("run", "--once")
        self.assertEqual(sorted([a[0] for a in here.arrived()] + [a[0] for a in there.arrived()]), sorted(ids))


if __name__ == "__main__":
    outbox_test.main()
