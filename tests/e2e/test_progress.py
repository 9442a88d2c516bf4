# SPDX-License-Identifier: Apache-2.0
"""Whatever a relay waits for, its status and its log say so; and nothing is sent again and again meanwhile."""

import collections
import json
import signal
import time

import combination
import outbox_test
import relay_test


@combination.combinations([("postgres", "exec")])
class LockedTable(combination.Scenario):
    """Claims pass and settles do not: a plain CREATE INDEX does that, too."""
    SECONDS = 30  # a settle takes ten until it gives up
    ROWS, RELAYS, WORKERS = 10, 2, 2

    def test_a_lock_that_stops_settles_repeats_one_batch_a_worker_at_most(self):
        self.shop("workers = %d\npoll_interval = 200ms" % self.WORKERS)
        relays = [self.start_and_wait("relay-%d.log" % n) for n in range(self.RELAYS)]
        db = self.connect()
        self.store.execute(db, "BEGIN")
        ids = self.insert(count=self.ROWS)  # before the lock, and claimed when it is there
        self.store.execute(db, "LOCK TABLE outbox_messages IN SHARE MODE")
        began = time.monotonic()
        self.until(lambda: len(self.arrived()) >= self.ROWS or self.settled() == self.ROWS, "them to be sent")
        self.until(lambda: self.settled() or "messages cannot be settled" in self.outboxd("status").stdout, "the pause")
        if not self.settled():  # else the relays were faster than the lock
            self.assertIn("nothing more is published until a settle passes", self.logs())
            paused = [r["state"] for r in self.outboxd_json("status")[0]["relays"] if "cannot be settled" in str(r)]
            self.assertEqual({state["state"] for state in paused}, {"waiting"})
            self.assertEqual({state["publishers"]["out"]["state"] for state in paused}, {"waiting"})
        while time.monotonic() - began < self.SECONDS and self.settled() < self.ROWS:
            time.sleep(0.2)
        self.store.execute(db, "COMMIT")
        self.until_counted(self.ROWS, "processed")
        self.until(lambda: "waiting" not in self.outboxd("status").stdout, "the end of it")
        self.until_status(self.insert(), "processed")

        def told():  # by each that paused, when it has a message of its own to settle
            self.insert()
            time.sleep(0.3)
            return "settles pass again" in self.logs()
        self.until(told, "the end of it to be told")
        for relay in relays:
            self.stop(relay)
        counts = collections.Counter(self.arrived_ids())
        print("# copies: %s" % sorted(counts.values()), flush=True)
        self.assertLessEqual(set(ids), set(counts))
        self.assertLessEqual(max(counts.values()), self.RELAYS * self.WORKERS)

    def settled(self):
        return self.number("SELECT count(*) FROM outbox_messages WHERE status = 'processed'")

    def logs(self):
        return "".join(self.read("relay-%d.log" % n) for n in range(self.RELAYS))


class Waits(relay_test.Relay):
    def status(self):
        relays = [r for r in self.outboxd_json("status")[0]["relays"] if r["life"] == "live"]
        return relays[0]["state"] if relays else {}

    def test_a_publish_that_does_not_return_is_shown_and_told(self):
        self.shop("workers = 1\nbatch_timeout = 10m", "timeout = 9m")
        fine = self.insert("x")
        relay = self.start("run")
        self.until_status(fine, "processed")
        self.insert("sleep 300")
        state = self.until(lambda: self.status().get("waits_for") and self.status(), "it to be shown", 20)
        self.assertEqual(state["state"], "waiting")
        self.assertEqual([w["what"] for w in state["waits_for"]], ["worker 1 publishes to out"])
        self.assertEqual(state["publishers"]["out"]["state"], "waiting")
        self.assertIn("worker 1 publishes to out", state["publishers"]["out"]["reason"])
        self.assertLess(state["progress_at"], state["waits_for"][0]["since"])
        self.assertEqual(state["workers"][0]["does"], "publishing")
        out = self.outboxd("status").stdout
        self.assertRegex(out, r"(?m)^relay .*: live, waiting, last seen \d+ s ago, last progress \d+ s ago")
        self.assertRegex(out, r"(?m)^  waits since .*Z: worker 1 publishes to out$")
        self.assertRegex(out, r"(?m)^  publisher out: waiting, .*last progress \d+ s ago$")
        self.until(lambda: "get no further" in self.read("relay.log"), "it to be told", 90)
        # It has published for somewhat less long than none was settled, by how slow the machine is.
        self.assertRegex(self.read("relay.log"), r'waits_for="worker 1 publishes to out since [4-6]\d s"')
        relay.send_signal(signal.SIGTERM)
        relay.send_signal(signal.SIGINT)  # at once
        relay.wait(outbox_test.PATIENCE)

    def test_a_relay_with_nothing_to_do_is_ready_and_writes_its_row_rarely(self):
        self.shop("workers = 2\npoll_interval = 50ms")
        relay = self.start("run")
        self.until(lambda: self.status().get("state") == "ready", "the relay")
        def seen():
            return self.query("SELECT alive_at FROM outbox_messages_relays")[0][0]
        writes, end = set(), time.monotonic() + 8
        while time.monotonic() < end:
            writes.add(seen())
            time.sleep(0.2)
        self.assertLessEqual(len(writes), 3)
        self.stop(relay)

    def test_a_table_that_refuses_to_be_purged_is_warned_about(self):
        self.shop("retention = 1s")
        self.connect().execute("CREATE TRIGGER no BEFORE DELETE ON outbox_messages BEGIN SELECT RAISE(ABORT, 'kept'); END")
        relay = self.start("run")
        i = self.insert("x")
        self.until_status(i, "processed")
        self.until(lambda: "cannot delete old messages" in self.read("relay.log") or
                   "kept" in self.read("relay.log"), "the warning", 100)
        self.stop(relay)


class Once(relay_test.Relay):
    def die_in_a_batch(self, lease):
        self.shop("workers = 1\nlease = %s" % lease)
        i = self.insert("sleep 2")
        relay = self.start("run")
        self.until(self.arrived, "the message to start")
        relay.kill()
        relay.wait()
        return i

    def test_it_tells_of_what_a_dead_relay_has_claimed(self):
        self.die_in_a_batch("1h")
        done = self.outboxd("run", "--once", "--wait", "1s", code=1)
        self.assertIn("published 0", done.stdout)
        self.assertIn("left: 1 claimed by another relay; if it died, until its lease ends", done.stderr)

    def test_it_waits_for_what_a_dead_relay_has_claimed(self):
        i = self.die_in_a_batch("1s")
        done = self.outboxd("run", "--once", "--wait", "30s")
        self.assertIn("published 1", done.stdout)
        self.assertEqual(self.row(i)["status"], "processed")

    def test_it_waits_for_a_retry_that_comes_soon(self):
        self.shop("max_retries = 3\nretry_min = 100ms\nretry_max = 300ms")
        i = self.insert("exit 75")
        done = self.outboxd("run", "--once", code=1)
        self.assertIn("failed 1", done.stdout)
        self.assertEqual(self.row(i)["retries"], 3)

    def test_it_does_not_wait_for_what_is_due_later_or_nobody_takes(self):
        self.shop("retry_min = 1h\nretry_max = 1h", router="[route r]\ntopic = a\npublisher = out\n")
        self.insert("exit 75", topic="a")
        self.insert("x", topic="b")
        began = time.monotonic()
        done = self.outboxd("run", "--once", "--wait", "20s")
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn("not due yet 2 (of these unrouted 1)", done.stdout)


@combination.combinations([("postgres", "exec"), ("postgres_leases", "exec")])
class LockedRow(combination.Scenario):
    def test_once_tells_of_a_row_that_somebody_has_locked(self):
        self.shop()
        self.insert(count=3)
        db = self.connect()
        self.store.execute(db, "BEGIN")
        self.store.execute(db, "SELECT 1 FROM outbox_messages LIMIT 1 FOR UPDATE")
        done = self.outboxd("run", "--once", "--wait", "1s", code=1)
        self.assertIn("published 2", done.stdout)
        self.assertIn("left: 1 due, but held by another relay or a lock of the database", done.stderr)
        self.store.execute(db, "COMMIT")
        self.assertIn("published 1", self.outboxd("run", "--once").stdout)


@combination.combinations([("postgres", "exec")])
class FewConnections(combination.Scenario):
    def test_a_worker_without_a_connection_does_not_stop_the_others(self):
        role, schema = "few_" + self.store.schema, self.store.schema
        self.shop()
        self.query("CREATE ROLE %s LOGIN PASSWORD 'few' CONNECTION LIMIT 5" % role)
        self.addCleanup(self.query, "DROP OWNED BY %s; DROP ROLE %s" % (role, role))
        self.query("GRANT USAGE ON SCHEMA %s TO %s; GRANT ALL ON ALL TABLES IN SCHEMA %s TO %s" % (schema, role, schema, role))
        owner = self.store.conninfo
        self.store.conninfo += " user=%s password=few" % role
        self.shop("workers = 6\nbatch_size = 5\npoll_interval = 200ms", init=False)
        self.store.conninfo = owner
        ids = self.insert(count=200)
        relay = self.start("run")
        self.until(lambda: "a worker cannot use the store, though others can" in self.read("relay.log"), "it to be told")
        self.until_counted(len(ids), "processed")
        more = self.insert(count=200)
        self.until_counted(len(ids) + len(more), "processed")
        time.sleep(2)
        self.assertLessEqual(self.read("relay.log").count("the store is unavailable"), 3)
        self.stop(relay)


@combination.combinations([("postgres", "exec")])
class Waking(combination.Scenario):
    def test_a_listener_that_cannot_work_is_shown_and_told_once(self):
        self.shop("poll_interval = 300ms", store="notify_conninfo = host=127.0.0.1 port=1 user=nobody dbname=none\n")
        relay = self.start_and_wait()

        def waking():
            return json.loads(self.query("SELECT state FROM outbox_messages_relays")[0][0]).get("waking", {})
        self.until(lambda: waking().get("by") == "polling", "it to be shown")
        self.assertTrue(waking()["reason"])
        self.assertIn("  polls instead of waiting for news: ", self.outboxd("status").stdout)
        i = self.insert()
        self.until_status(i, "processed")
        self.assertEqual(self.read("relay.log").count("the store cannot wait for news"), 1)
        self.stop(relay)


if __name__ == "__main__":
    outbox_test.main()
