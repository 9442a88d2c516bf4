# SPDX-License-Identifier: Apache-2.0
"""The ground of the scenarios in which networks fail: each relay has a way of its own to each server, through a proxy.
What the test itself asks and writes goes straight."""

import contextlib
import re
import time

import fire
import outbox_test
import proxy
from fire import FULL

# What a busy machine may add to a deadline, seconds.
SLACK = 5
PORTS = {"database": r"port=(\d+)", "broker": r":(\d+)(?=/|$)"}


class Fire(fire.Fire):
    """self.ways[NUMBER of a relay]["database" or "broker"] is a proxy."""

    @contextlib.contextmanager
    def detour(self, server):
        """Within it the address of a server leads through a new proxy."""
        thing, attribute = (self.store, "conninfo") if server == "database" else (self.publisher, "url")
        straight = getattr(thing, attribute)
        found = re.search(PORTS[server], straight)
        way = proxy.Proxy("127.0.0.1", int(found.group(1)))
        self.addCleanup(way.stop)
        setattr(thing, attribute, straight[:found.start(1)] + str(way.port) + straight[found.end(1):])
        yield way
        setattr(thing, attribute, straight)

    def servers(self):
        return ["database"] * (self.store_name != "sqlite") + ["broker"] * (self.publisher_name == "amqp")

    def configure(self, **more):
        super().configure(**more)
        self.ways, settings = [], self.relay_settings
        for number in range(self.RELAYS):
            with contextlib.ExitStack() as stack:
                self.ways.append({server: stack.enter_context(self.detour(server)) for server in self.servers()})
                self.relay_settings = "name = relay-%d\n%s" % (number, settings)
                super().configure(name="relay-%d.ini" % number, init=False)
        self.relay_settings = settings

    def start_relay(self, number):
        return self.start("run", log="relay-%d.log" % number, config=self.path("relay-%d.ini" % number))

    def ways_to(self, server):
        """Of all relays."""
        return [ways[server] for ways in self.ways]

    def everywhere(self, server, what, *args):
        """A command to all proxies that lead there."""
        for way in self.ways_to(server):
            getattr(way, what)(*args)

    def connects(self, server):
        """How often it was tried to connect, by all relays."""
        return sum(way.count()[1] for way in self.ways_to(server))

    # ---- what the logs say

    def told(self):
        """Where the logs end now; for until_told."""
        return [len(self.read("relay-%d.log" % number)) for number in range(self.RELAYS)]

    def until_well(self):
        """Until every relay has a broker and takes it for available: on a busy machine it may first wait for one."""
        self.until(lambda: all(self.well()), "every relay to be well")

    def until_unwell(self, patience):
        """Until none does. Returns the seconds."""
        began = time.monotonic()
        self.until(lambda: not any(self.well()), "every relay to notice", patience)
        return time.monotonic() - began

    def well(self):
        logs = [self.read("relay-%d.log" % number) for number in range(self.RELAYS)]
        return ["connected to" in log and log.rfind("publisher is back") >= log.rfind("publisher is unavailable")
                for log in logs]

    def until_told(self, texts, since, patience=outbox_test.PATIENCE):
        """Until every relay has said one of these since then."""
        self.until(lambda: all(any(text in self.read("relay-%d.log" % number)[at:] for text in texts)
                               for number, at in enumerate(since)), " or ".join(texts), patience)


class Outage(Fire):
    """A server refuses connections for long, and much is due then."""
    WORKERS = 2
    SECONDS = 60 if FULL else 12
    BACKLOG = 3000

    def outage(self, server):
        self.begin(fire.FOR_LONG)
        time.sleep(1)
        at_first = sum(way.count()[0] for way in self.ways_to(server))
        self.wrote(self.insert(count=self.BACKLOG))
        fault = self.fault(server)
        self.everywhere(server, "refuse")
        self.everywhere(server, "reset")
        before = self.connects(server)
        time.sleep(self.SECONDS)
        during = self.connects(server) - before
        self.everywhere(server, "go")
        self.over(fault)
        began = time.monotonic()
        self.stop_writing()
        self.finish()
        after = self.connects(server) - before - during
        self.figures("%d connections before; in %d s of outage tried %d times, after it %d times; all sent %.1f s later"
                     % (at_first, self.SECONDS, during, after, time.monotonic() - began))
        # Not each of them was there at first. To the database go also the keeper, the registry and the watcher.
        each = self.WORKERS + (3 if server == "database" else 0)
        self.assertLessEqual(after, max(at_first, self.RELAYS * each) + self.RELAYS)
        return during
