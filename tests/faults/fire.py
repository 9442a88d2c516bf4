# SPDX-License-Identifier: Apache-2.0
"""The ground of the fault scenarios: writers, relays and a receiver under load, and servers that may be stopped. A
scenario says what goes wrong and how many duplicates that may cost; the checker says whether anything else came of it."""

import datetime
import os
import re
import subprocess
import sys
import threading
import time
import types

import checker
import combination
import outbox_test
import services

try:
    import pika
except ImportError:
    pika = None

HERE = os.path.dirname(os.path.abspath(__file__))
# Scaled in continuous integration; `make check-release` takes the full time.
FULL = bool(os.environ.get("OUTBOX_TEST_FULL"))
SHORT = bool(os.environ.get("OUTBOX_TEST_SHORT")) and not FULL
FOR_LONG = 3600  # of writing, for scenarios that end it
BROKER_WRITES = 3  # seconds: what it was told of just before SIGKILL, a queue say, it may have lost
own = None  # the servers of this program


def set_up_module():
    """Servers of this program's own: other tests must not find them stopped."""
    global own
    if services.available():
        own = services.Services("postgres", "rabbitmq")
        os.environ.update(own.env)


def tear_down_module():
    if own:
        own.close()


# The other side of pub-exec: a line for every arrival, in a file that survives its relay.
RECEIVER = r"""
import json, os, sys, time
out = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
pace = float(sys.argv[2])
sys.stdin.readline()
for line in sys.stdin:
    i = json.loads(line)["id"]
    if pace:
        time.sleep(pace)
    os.write(out, ("%r %s\n" % (time.time(), i)).encode())
    print(json.dumps({"id": i, "status": "ok"}), flush=True)
"""


class StreamReceiver(combination.Exec):
    def __init__(self, test, pace=0.0):
        super().__init__(test)
        self.script = test.write("receiver.py", RECEIVER)
        self.pace = pace

    def config(self, name="out", more=""):
        return ("[publisher %s]\nplugin = exec\nmode = stream\ncommand = %s %s %s %g\n%s\n"
                % (name, sys.executable, self.script, self.test.path("arrived"), self.pace, more))

    def arrivals(self):
        try:
            return [(float(t), i) for t, i in (line.split() for line in self.test.read("arrived").splitlines())]
        except FileNotFoundError:
            return []

    def settle_down(self):
        pass


class Consumer(combination.Amqp):
    """Takes what arrives, also across restarts of the broker. What the broker delivers again because its own
    connection to us broke is no duplicate of the relay's."""

    PREFETCH = 500

    def __init__(self, test):
        super().__init__(test)
        self.got, self.seen, self.ended = [], set(), False
        self.thread = threading.Thread(target=self._consume, daemon=True)
        self.thread.start()

    def _consume(self):
        while not self.ended:
            try:
                connection = pika.BlockingConnection(pika.URLParameters(self.url))
                channel = connection.channel()
                channel.basic_qos(prefetch_count=self.PREFETCH)
                for method, properties, _ in channel.consume(self.queue, inactivity_timeout=0.2):
                    if self.ended:
                        break
                    if method is None:
                        continue
                    i = properties.message_id
                    if not (method.redelivered and i in self.seen):
                        self.got.append((time.time(), i))
                        self.seen.add(i)
                    channel.basic_ack(method.delivery_tag)
                connection.close()
            except Exception:  # whatever a broker that is not there may raise
                time.sleep(0.2)

    def arrivals(self):
        return list(self.got)

    def waiting(self):
        """How many messages the queue still has for us."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            return connection.channel().queue_declare(self.queue, passive=True).method.message_count
        finally:
            connection.close()

    def settle_down(self):
        """Until the queue is empty, and has been so for a moment."""
        last = -1
        while len(self.got) != last or self.waiting():
            last = len(self.got)
            time.sleep(1)

    def close(self):
        self.ended = True
        self.thread.join(30)
        self.connection = pika.BlockingConnection(pika.URLParameters(self.url))
        self.channel = self.connection.channel()
        super().close()


class Watched(combination.Scenario):
    """A scenario in which no relay may be silent while messages are due and nothing is done."""

    def __init__(self, method):
        super().__init__(method)
        test = getattr(self, method)

        def watched(_self):
            test()
            self.watch()
        setattr(self, method, types.MethodType(watched, self))

    # When each message that the table still has was due, and when it was done.
    TIMES = {
        "sqlite": "SELECT (julianday(max(created_at, coalesce(available_at, ''))) - 2440587.5) * 86400,"
                  " (julianday(processed_at) - 2440587.5) * 86400",
        "postgres": "SELECT extract(epoch FROM greatest(created_at, available_at))::float8,"
                    " extract(epoch FROM processed_at)::float8",
    }

    def when_told(self):
        """When a relay warned of something."""
        text = "".join(self.read(name) for name in os.listdir(self.dir) if name.endswith(".log"))
        return [datetime.datetime.fromisoformat(at).replace(tzinfo=datetime.timezone.utc).timestamp()
                for at in re.findall(r"^time=(\S+)Z level=(?:warn|error)", text, re.M)]

    def is_never_silent(self, silences):
        self.assertEqual(["%.0f s" % (end - since) for since, end in silences], [],
                         "messages were due, and none was done, and no word why" + self.logs_end())

    def figures(self, text):
        print("# figures: %s: %s" % (self.id().replace("__main__.", ""), text), flush=True)

    def watch(self):
        rows = self.query(self.TIMES[self.store_name.split("_")[0]] +
                          " FROM outbox_messages WHERE status = 'processed' AND processed_at IS NOT NULL")
        self.is_never_silent(checker.silences(rows, self.when_told()))


class Fire(Watched):
    """BATCH messages for each of WORKERS is what one fault may repeat."""
    BATCH, WORKERS, RELAYS = 20, 1, 2
    WRITERS, RATE = 2, 100
    LEASE = "5s"
    relay_settings = ""
    store_settings = ""
    publisher_settings = ""

    def setUp(self):
        super().setUp()
        self.history = checker.History()
        self.relays, self.writers, self.kills = [], [], 0

    def watch(self):
        """finish() does, by what arrived: it knows of what was deleted, too, and trusts no relay's clock."""

    def make_publisher(self):
        return Consumer(self) if self.publisher_name == "amqp" else StreamReceiver(self)

    def configure(self, **more):
        return self.shop("batch_size = %d\nworkers = %d\nlease = %s\n%s"
                         % (self.BATCH, self.WORKERS, self.LEASE, self.relay_settings), self.publisher_settings,
                         self.store_settings, **more)

    def start_relay(self, number):
        return self.start("run", log="relay-%d.log" % number)

    def begin(self, seconds, size=0, messages=1):
        """The table, the relays, and writers for so many seconds; each transaction has so many messages."""
        self.configure()
        for number in range(self.RELAYS):
            self.relays.append(self.start_relay(number))
        place = self.store.path if self.store_name == "sqlite" else self.store.schema
        for number in range(self.WRITERS):
            with open(self.path("writer-%d" % number), "wb") as out:
                self.writers.append(subprocess.Popen(
                    [sys.executable, os.path.join(HERE, "writer.py"), self.store_name.split("_")[0], place,
                     "key-%d" % number, str(seconds), str(self.RATE), str(size), str(messages)], stdout=out))
        self.processes += self.writers
        self.until(lambda: len(self.publisher.arrivals()) > 20, "the first messages to arrive")

    def wrote(self, ids):
        """What the test itself has inserted, besides the writers."""
        for i in ids:
            self.history.wrote("committed", i)

    def fault(self, name, bound=None):
        """It begins now. By default each worker may repeat a batch."""
        return self.history.fault(name, time.time(), self.BATCH * self.WORKERS * self.RELAYS if bound is None else bound)

    def over(self, fault):
        fault.end = time.time()

    def restart(self, number):
        self.relays[number] = self.start_relay(number)

    def kill(self, number):
        """Kills a relay and starts another in its place."""
        fault = self.fault("relay killed", self.BATCH * self.WORKERS)
        self.kills += 1
        self.relays[number].kill()
        self.relays[number].wait()
        self.restart(number)
        self.over(fault)

    def status_is_true(self):
        """`outboxd status` tells neither less nor more than there is."""
        before = self.number("SELECT count(*) FROM outbox_messages")
        status = self.outboxd_json("status", "--exact")[0]
        after = self.number("SELECT count(*) FROM outbox_messages")
        told = sum(status[k] for k in ("pending", "delayed", "processing", "processed", "failed"))
        self.assertTrue(before <= told <= after, "%d, then %d told, then %d" % (before, told, after))
        return status

    def stop_writing(self):
        for number, writer in enumerate(self.writers):
            self.until(lambda n=number, w=writer: self.read("writer-%d" % n) or w.poll() is not None,
                       "each writer to have begun")
            writer.terminate()

    def charges(self):
        """Of messages that were processed in the end: for what is not told any more."""
        return int(self.query("SELECT coalesce(sum(retries), 0) FROM outbox_messages")[0][0])

    def only_kills_charged(self):
        """A kill may meet a relay that publishes one message alone, which looks to the next one like that message's
        doing: seldom, and never often enough to fail one. Nothing else charges."""
        charges = self.charges()
        self.assertLessEqual(charges, (self.kills + 49) // 50)
        if charges:
            self.figures("%d of %d kills charged a message that was alone in flight" % (charges, self.kills))

    def finish(self, ordered=False):
        """After the writers: everything is relayed, nothing was charged but by kills, and the history holds."""
        for writer in self.writers:
            self.assertEqual(writer.wait(600), 0)
        left = self.number("SELECT count(*) FROM outbox_messages WHERE status IN ('pending', 'processing')")
        self.until(lambda: not self.query("SELECT 1 FROM outbox_messages WHERE status IN ('pending', 'processing')"
                                          " LIMIT 1"), "%d messages to be relayed" % left, 300)
        for relay in self.relays:
            self.stop(relay)
        self.publisher.settle_down()
        self.assertEqual(self.number("SELECT count(*) FROM outbox_messages WHERE status = 'failed'"), 0)
        self.only_kills_charged()
        for number in range(len(self.writers)):
            for line in self.read("writer-%d" % number).splitlines():
                what, i, key, n, at = line.split()
                self.history.wrote(what, i, key, int(n), float(at))
        for at, i in self.publisher.arrivals():
            self.history.arrived(at, i)
        verdict = self.history.judge()
        self.figures(verdict)
        verdict.require(self, ordered)
        self.is_never_silent(self.history.silences(self.when_told()))
        return verdict

    def logs(self):
        return "".join(self.read("relay-%d.log" % n) for n in range(self.RELAYS))
