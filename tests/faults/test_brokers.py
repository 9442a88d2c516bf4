# SPDX-License-Identifier: Apache-2.0
"""Brokers of all kinds fail under load, each in the ways that it knows: nothing is lost, nothing is charged, and what
arrives twice belongs to a fault."""

import signal
import time

import broker_faults
import fire
import outbox_test
from broker_faults import can
from fire import FULL, SHORT

OUTAGE = 60 if FULL else 1 if SHORT else 5  # seconds
KILLS = 50 if FULL else 3 if SHORT else 10
CUTS = 10 if FULL else 1 if SHORT else 2


@broker_faults.each
class Broker(broker_faults.Fire):
    def test_it_is_killed_or_stopped_if_it_would_forget(self):
        take_away = self.broker.kill if self.broker.DURABLE else self.broker.stop
        self.outage("killed" if self.broker.DURABLE else "stopped", take_away, self.broker.start, OUTAGE)

    def test_it_stalls_for_longer_than_a_publish_may_take(self):
        self.outage("stalled", lambda: self.broker.signal(self.broker.PROCESS, signal.SIGSTOP),
                    lambda: self.broker.signal(self.broker.PROCESS, signal.SIGCONT), OUTAGE)

    @can("refuse", "admit")
    def test_it_refuses_the_login(self):
        """From the next one on: some let those go on who are logged in."""
        way = self.publisher.detour()

        def refuse():
            self.broker.refuse()
            way.reset()
        self.outage("refused", refuse, self.broker.admit, max(OUTAGE, 2))
        tries = self.logs().count("publisher is unavailable")
        self.assertLess(tries, 20, "a busy loop" + self.logs_end())

    @can("fill", "make_room")
    def test_it_is_full(self):
        self.outage("full", self.broker.fill, self.broker.make_room, OUTAGE,
                    ("publisher is unavailable", "takes no messages for now"))

    def test_its_answers_are_lost_while_messages_arrive(self):
        """So they are sent again, and arrive twice where the broker does not know them by their ids."""
        way = self.publisher.detour()

        def come_back():
            way.reset()
            way.go()
        verdict = self.outage("answers lost", lambda: way.stall("down"), come_back, times=CUTS)
        if self.keeps_two:
            self.assertGreater(verdict.duplicates, 0, "no answer was lost")

    def test_relays_are_killed_with_messages_in_flight(self):
        self.begin(fire.FOR_LONG, messages=self.BATCH)  # a message that is alone in flight may be charged
        for n in range(KILLS):
            self.kill(n % self.RELAYS)
            time.sleep(0.2)
        self.go_on_and_finish()

    def test_relays_are_killed_as_soon_as_something_arrives(self):
        """What was in flight is halved from death to death down to one message, which no relay dies of."""
        self.begin(fire.FOR_LONG, messages=self.BATCH)
        for n in range(KILLS):
            seen = len(self.publisher.got)
            self.until(lambda least=seen: len(self.publisher.got) > least, "a message to arrive")
            self.kill(n % self.RELAYS)
        self.go_on_and_finish()


if __name__ == "__main__":
    outbox_test.main()
