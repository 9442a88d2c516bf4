# SPDX-License-Identifier: Apache-2.0
"""A broker for Kafka's producers of a test's own, kafka_broker.py; a program, too, as server.py says.

No distribution has a broker of Kafka. librdkafka has one for its own tests, in memory: kafka_mock.py."""

import json
import os
import signal
import sys

import server

MISSING = None
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kafka_broker.py")
PASSWORD = "s3cr3t-passw0rd"
NOT_ENOUGH_REPLICAS = 19


def preload():
    """What the thread sanitizer needs to understand the library's threads, for LD_PRELOAD; None: it is not there."""
    with open(os.environ["OUTBOX_TEST_PROGRAM"], "rb") as f:
        return os.path.join(os.environ["OUTBOX_TEST_BUILDDIR"], "tests/fixtures/c11_threads.so") if b"__tsan_init" in f.read() else None


class Broker(server.Server):
    PROCESS = "kafka"
    DURABLE = True

    def __init__(self, folder, **settings):
        super().__init__(folder)
        if self.is_new:
            self.write("settings.json", json.dumps({"password": PASSWORD, **settings}))

    def start(self):
        self.run(self.PROCESS, [sys.executable, PROGRAM, self.folder])
        self.wait(self.answers, "the broker")

    def stop(self):
        self.end(self.PROCESS)

    def kill(self):
        self.end(self.PROCESS, signal.SIGKILL)

    def log(self):
        return self.read("kafka.log")

    def set(self, **settings):
        """Changes settings while it runs; None: takes one back."""
        now = {**json.loads(self.read("settings.json")), **settings}
        os.replace(self.write("settings.new", json.dumps({k: v for k, v in now.items() if v is not None})),
                   self.path("settings.json"))

    def topic(self, name):
        """Makes a topic."""
        with open(self.path("topics"), "a", encoding="utf-8") as f:
            f.write(name + "\n")

    def arrived(self):
        """What has arrived: objects with topic, partition, offset, key, value, headers (pairs), time."""
        try:
            return [json.loads(line) for line in self.read("records").splitlines(True) if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def ids(self):
        return [dict(m["headers"])["message-id"] for m in self.arrived()]

    def section(self, name="out", port=None, more=""):
        if port:
            self.set(port=port)
        return "[publisher %s]\nplugin = kafka\nurl = kafka://relay@127.0.0.1:%d\npassword = %s\n%s\n" % (
            name, port or self.port, PASSWORD, more)

    # ---- what it refuses

    def fill(self):
        """Too few brokers have their copies in sync: it takes nothing."""
        self.set(error=NOT_ENOUGH_REPLICAS)

    def make_room(self):
        self.set(error=None)

    def refuse(self):
        """Only a new connection is asked for the password."""
        self.set(password="another")
        self.stop()
        self.start()

    def admit(self):
        self.set(password=PASSWORD)


if __name__ == "__main__":
    server.main(Broker)
