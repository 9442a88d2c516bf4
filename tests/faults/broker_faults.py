# SPDX-License-Identifier: Apache-2.0
"""The ground of the scenarios that every broker goes through: a broker of the test's own, whose arrivals are written
down with their times, and what can be done to it, whatever it is."""

import collections
import sys
import threading
import time

import brokers
import combination
import fire
import proxy

# What the relays give their broker to answer in.
ANSWER = "1s"
BATCHES = 4  # that a worker has under way at once, with an asynchronous publisher


class Receiver:
    """What a broker has got, and when: it is asked all the while, and answers again when it is there again."""

    def __init__(self, test, name):
        self.broker = brokers.make(test, name)
        test.addCleanup(self.broker.stop)
        self.broker.start()
        self.port, self.way = None, None
        self.got, self.counted, self.ended = [], collections.Counter(), False
        self.looks = 0  # how often it has answered
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        while not self.ended:
            began = time.time()
            try:
                new = collections.Counter(self.broker.ids()) - self.counted
                self.got += [(time.time(), i) for i in new.elements()]
                self.counted += new
                self.looks += 1
            except Exception:  # whatever a broker that is not there may raise
                pass
            time.sleep(max(0.05, time.time() - began))

    def detour(self):
        """From now on configurations lead through a proxy, which is returned."""
        self.way = proxy.Proxy("127.0.0.1", self.broker.port)
        self.port = self.way.port
        return self.way

    def config(self, name="out", more=""):
        return self.broker.section(name, self.port, more)

    def arrivals(self):
        return list(self.got)

    def settle_down(self):
        """Until nothing more has come for a moment, and since a look began: with many messages one takes seconds."""
        last = -1
        while len(self.got) != last:
            last, looks = len(self.got), self.looks
            time.sleep(0.6)
            end = time.monotonic() + 120
            while self.looks < looks + 2:
                if time.monotonic() > end:
                    raise AssertionError("for two minutes the broker could not be asked what has arrived")
                time.sleep(0.05)

    def close(self):
        self.ended = True
        self.thread.join(30)
        if self.way:
            self.way.stop()


class Fire(fire.Fire):
    """self.broker may be stopped, killed and more; `publisher_name` is a plugin."""
    RATE, TOGETHER = 20, 5  # transactions a second of each writer, and messages in each
    LEASE = "4s"
    publisher_settings = "connect_timeout = %s\npublish_timeout = %s\nbatch_timeout = 2s\nretry_max = 1s" % (ANSWER, ANSWER)

    def needs_server(self, name):
        """A missing server is told by make_publisher."""

    def make_publisher(self):
        receiver = Receiver(self, self.publisher_name)
        self.broker = receiver.broker
        return receiver

    @property
    def keeps_two(self):
        """Whether the broker keeps both messages of one id; None: of some."""
        return brokers.KEEPS_TWO.get(self.publisher_name, True)

    def fault(self, name, bound=None):
        """By default each worker may repeat what it has under way; of a broker that is stopped some are its own."""
        if bound is None:
            bound = self.BATCH * BATCHES * self.WORKERS * self.RELAYS + brokers.ITS_OWN.get(self.publisher_name, 0)
        return super().fault(name, bound)

    def kill(self, number):
        """When it has something under way, which another relay may finish."""
        self.until(lambda: self.query("SELECT 1 FROM outbox_messages WHERE status = 'processing' LIMIT 1"), "a batch")
        fault = self.fault("relay killed", self.BATCH * BATCHES * self.WORKERS)
        self.kills += 1
        self.relays[number].kill()
        self.relays[number].wait()
        self.restart(number)
        self.over(fault)

    def log_of(self, number):
        return self.read("relay-%d.log" % number)

    def until_all_are_well(self):
        self.until(lambda: all(self.log_of(n).rfind("publisher is back") >= self.log_of(n).rfind("publisher is unavailable")
                               for n in range(self.RELAYS)), "every relay to be well")

    def is_noticed(self, told, since):
        """By each relay; or messages are put off one by one, as where each may have a stream of its own."""
        return all(any(text in self.log_of(n)[at:] for text in told) for n, at in enumerate(since)) or \
            self.number("SELECT count(*) FROM outbox_messages WHERE status = 'pending' AND available_at IS NOT NULL") > 0

    def outage(self, name, take_away, bring_back, seconds=0.0, told=("publisher is unavailable", ), times=1):
        """Each at least until every relay has noticed, and so long. Nothing is charged."""
        self.begin(fire.FOR_LONG, messages=self.TOGETHER)
        for _ in range(times):
            self.until_all_are_well()
            since = [len(self.log_of(n)) for n in range(self.RELAYS)]
            fault = self.fault(name)
            began = time.monotonic()
            take_away()
            try:
                self.until(lambda: self.is_noticed(told, since), "every relay to notice")
                while time.monotonic() - began < seconds:
                    time.sleep(0.1)
                self.assertEqual(self.status_is_true()["failed"], 0)
            finally:
                bring_back()
            self.over(fault)
        self.until_all_are_well()
        return self.go_on_and_finish()

    def go_on_and_finish(self):
        n = len(self.publisher.arrivals())
        self.until(lambda: len(self.publisher.arrivals()) > n + 20, "messages to arrive again")
        self.stop_writing()
        verdict = self.finish()
        for secret in brokers.secrets(self.publisher_name):
            self.assertNotIn(secret, self.logs())
        if self.keeps_two is False:
            self.assertEqual(verdict.duplicates, 0)
        return verdict


def can(*names):
    """A case of brokers that have these methods."""
    def decorate(case):
        case.needs = names
        return case
    return decorate


def each(scenario):
    """Makes a test class of the decorated one for each broker that is there, without the cases that it cannot do."""
    def is_no_case(case, broker):
        return any(not hasattr(broker, name) for name in getattr(case, "needs", ()))
    combination.combinations([("sqlite", name) for name in brokers.THERE])(scenario)
    for name in brokers.THERE:
        made = getattr(sys.modules[scenario.__module__], "%s_sqlite_%s" % (scenario.__name__, name), None)
        for case in [c for c in dir(scenario) if is_no_case(getattr(scenario, c), brokers.module(name).Broker)]:
            setattr(made, case, None)
    return type(scenario.__name__, (), {"scenario": scenario})
