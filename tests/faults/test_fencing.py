# SPDX-License-Identifier: Apache-2.0
"""A relay is stopped until it has lost what it held, and goes on: it settles, charges and deletes nothing of what is
another's by then, and says that it came too late."""

import re
import signal
import sys
import time
import urllib.parse

import combination
import fire
import outbox_test
import proxy
from fire import FULL, SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module

# Notes what arrives, and answers when its gate is open: what the payload says, or `ok` whatever that says.
GATED = r"""
import json, os, queue, sys, threading, time
arrived, gate, always = sys.argv[1], sys.argv[2], sys.argv[3:]

def note(i):
    out = os.open(arrived, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(out, (i + "\n").encode())
    os.close(out)

def answer(payload):
    while not os.path.exists(gate):
        if not os.path.isdir(os.path.dirname(gate)):
            os._exit(0)
        time.sleep(0.02)
    return always[0] if always else payload

def answer_all():
    while True:
        message = waiting.get()
        print(json.dumps({"id": message["id"], "status": answer(message["payload"]), "reason": "told to"}), flush=True)

if "OUTBOX_ID" in os.environ:
    note(os.environ["OUTBOX_ID"])
    sys.exit({"ok": 0, "retry": 75, "reject": 65}[answer(sys.stdin.read())])
waiting = queue.Queue()
threading.Thread(target=answer_all, daemon=True).start()
sys.stdin.readline()
for line in sys.stdin:
    note(json.loads(line)["id"])
    waiting.put(json.loads(line))
"""


class Gated(combination.Exec):
    """A receiver that answers when it is told to."""
    tried_again, rejected = {"payload": "retry"}, {"payload": "reject"}

    def __init__(self, test, name, mode="stream", always="", timeout="60s"):
        self.test, self.name = test, name
        self.command = " ".join([sys.executable, test.write("gated.py", GATED), test.path("arrived-" + name),
                                 test.path("gate-" + name), always])
        self.mode = "mode = %s\n%s" % (mode, "" if mode == "stream" else "concurrency = 10\n")
        self.timeout = timeout

    def config(self, name="out", more=""):
        return ("[publisher %s]\nplugin = exec\ncommand = %s\n%stimeout = %s\n%s\n"
                % (name, self.command, self.mode, self.timeout, more))

    def get_ready(self):
        pass

    def has_got(self, n):
        try:
            return len(self.test.read("arrived-" + self.name).split()) == n
        except FileNotFoundError:
            return False

    def answer(self):
        self.test.write("gate-" + self.name, "")


class GatedBroker(combination.Amqp):
    """A broker whose confirms and returns are held up on their way. It gets what can be routed or returned."""

    def __init__(self, test, timeout):
        super().__init__(test)
        self.test, self.timeout = test, timeout
        straight = urllib.parse.urlsplit(self.url)
        self.way = proxy.Proxy(straight.hostname, straight.port)
        self.url = self.url.replace(":%d" % straight.port, ":%d" % self.way.port)

    def config(self, name="out", more=""):
        return super().config(name, "confirm_timeout = %s\n%s" % (self.timeout, more))

    def get_ready(self):
        """A connection proves itself with one message before it gets more of them."""
        self.test.insert()
        self.test.until(self.arrived, "the first message")
        self.test.until_all_processed()
        self.test.query("DELETE FROM outbox_messages")
        self.way.stall("down")

    def has_got(self, n):
        time.sleep(0.5)  # returned messages show nowhere else than on the way that is held up
        return len(self.arrived()) == 1 + len([v for v in self.test.VERDICTS if v == "ok"])

    def answer(self):
        self.way.go()
        time.sleep(0.5)

    def close(self):
        self.way.stop()
        super().close()


ALL = [(store, publisher) for store in ("sqlite", "postgres", "postgres_leases") for publisher in ("exec", "amqp")]


@combination.combinations(ALL if not SHORT else [("sqlite", "exec"), ("postgres_leases", "amqp")])
class Stopped(fire.Watched):
    """The first relay is stopped while its publisher has a batch; the publisher answers meanwhile. Another relay takes
    the messages over; then the first goes on, and settles what it was told."""
    VERDICTS = ("ok", "retry", "reject", "ok", "retry", "reject")
    MODE = "stream"

    def make_publisher(self):
        # Locks end with the time for a batch, a lease by itself.
        self.holds_locks = self.store_name == "postgres"
        timeout = "4s" if self.holds_locks else "30s"
        return GatedBroker(self, timeout) if self.publisher_name == "amqp" else Gated(
            self, "first", self.MODE, timeout=timeout)

    def set_up_relays(self, retention):
        more = "batch_size = 10\nworkers = 1\nretention = %s\n" % retention
        self.shop(more + "name = first\nlease = 1s\nbatch_timeout = %s" % ("5s" if self.holds_locks else "60s"))
        self.first, self.publisher = self.publisher, Gated(self, "other", always="ok")
        self.shop(more + "name = other\nlease = 90s\nbatch_timeout = 90s", name="other.ini", init=False)
        self.other = self.publisher

    def insert_batch(self):
        """In one transaction, so that they are one batch."""
        kinds = {"ok": {}, "retry": self.first.tried_again, "reject": self.first.rejected}
        db = self.connect()
        self.store.execute(db, "BEGIN")
        for verdict in self.VERDICTS:
            row = {"topic": "t", "payload": "ok", "headers": "{}", **kinds[verdict]}
            self.store.execute(db, "INSERT INTO outbox_messages (topic, payload, headers) VALUES (?, ?, ?)",
                               [row["topic"], row["payload"].encode(), row["headers"]])
        self.store.execute(db, "COMMIT")
        return len(self.VERDICTS)

    def rows(self):
        return self.query("SELECT * FROM outbox_messages ORDER BY seq")

    def settled_too_late(self):
        return sum(int(n) for n in re.findall(r"settled too late.* messages=(\d+)", self.read("first.log")))

    def told_by_status(self):
        relays = self.outboxd_json("status")[0]["relays"]
        return max([r["state"].get("stale", 0) for r in relays if r["name"] == "first"], default=0)

    def until_all_processed(self):
        self.until(lambda: not self.query("SELECT 1 FROM outbox_messages WHERE status <> 'processed'"), "the end of it")

    def lose_and_go_on(self, retention, while_held):
        self.set_up_relays(retention)
        first = self.start("run", log="first.log")
        self.first.get_ready()
        n = self.insert_batch()
        self.until(lambda: self.first.has_got(n), "the batch to be on its way")
        self.freeze(first, self.connect() if self.store_name == "sqlite" else None)
        began = time.monotonic()
        self.first.answer()
        other = self.start("run", log="other.log", config=self.path("other.ini"))
        self.until(lambda: self.other.has_got(n), "the other relay to take it over")
        took = time.monotonic() - began
        if not while_held:
            self.other.answer()
            self.until_all_processed()
        before = self.rows()
        first.send_signal(signal.SIGCONT)
        self.until(self.has_settled, "the first relay to come too late")
        self.assertEqual(self.rows(), before)
        late = self.settled_too_late()
        if late:
            self.assertEqual(late, n)
            self.until(lambda: self.told_by_status() == n, "the row of the relay")
        self.assertEqual(self.rows(), before)
        self.other.answer()
        self.until_all_processed()
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages"), 0 if retention == "0" else n)
        self.assertEqual(self.number("SELECT coalesce(sum(retries), 0) FROM outbox_messages"), 0)
        self.stop(first)
        self.stop(other)
        self.assertTrue(self.other.has_got(n))
        print("# figures: %s: taken over after %.1f s, settled too late %d of %d"
              % (self.id().replace("__main__.", ""), took, late, n), flush=True)

    def has_settled(self):
        """A broker that is asked past the time for the batch has its connection closed: nothing is known then, and
        nothing is settled."""
        return self.settled_too_late() or (self.publisher_name == "amqp" and self.holds_locks
                                           and re.search("connection to .* is lost", self.read("first.log")))

    def test_while_the_other_is_at_work_on_them(self):
        self.lose_and_go_on("0", True)

    def test_after_the_other_has_settled_them(self):
        self.lose_and_go_on("1d", False)


@combination.combinations([(store, "exec") for store in ("sqlite", "postgres", "postgres_leases")][:1 if SHORT else 3])
class StoppedProcesses(Stopped.scenario):
    """One process for each message."""
    MODE = "message"
    if not FULL:
        test_after_the_other_has_settled_them = None


@combination.combinations([("postgres", "amqp")] if SHORT else [("sqlite", "exec"), ("postgres", "amqp"),
                                                                 ("postgres_leases", "exec")])
class UnderLoad(fire.Fire):
    """Relays stop in turns, wherever they are, and go on; what was accepted is deleted."""
    LEASE = "2s"
    relay_settings = "retention = 0\nbatch_timeout = 4s"
    STOPS = 20 if FULL else 1 if SHORT else 2

    def setUp(self):
        super().setUp()
        self.stopped = 10 if self.store_name == "postgres" else 4  # seconds; until its locks or its lease have ended
        self.publisher_settings = ("confirm_timeout" if self.publisher_name == "amqp" else "timeout") + " = 3s"

    def test_relays_that_stop_and_go_on(self):
        self.begin(self.STOPS * (self.stopped + 1) + 2)
        db = self.connect() if self.store_name == "sqlite" else None
        for stop in range(self.STOPS):
            relay = self.relays[stop % self.RELAYS]
            fault = self.fault("stopped", self.BATCH * self.WORKERS)
            self.freeze(relay, db)
            time.sleep(self.stopped)
            relay.send_signal(signal.SIGCONT)
            self.over(fault)
            time.sleep(1)
        self.finish()


if __name__ == "__main__":
    outbox_test.main()
