# SPDX-License-Identifier: Apache-2.0
"""librdkafka's cluster for its own tests, as a process: brokers in memory, on ports that they choose, and a consumer that
writes down what arrives. What it has acknowledged is lost with the process."""

import os

import server

PROGRAM = os.path.join(os.environ["OUTBOX_TEST_BUILDDIR"], "tests/fixtures/kafka_mock")


class Cluster(server.Server):
    PROCESS = "mock"
    DURABLE = False

    def __init__(self, folder, brokers=1, topic="mock", partitions=3, id_header="message-id"):
        super().__init__(folder)
        self.arguments = [str(brokers), topic, str(partitions), id_header]

    def start(self):
        self.run(self.PROCESS, [PROGRAM, self.folder, *self.arguments])
        self.wait(lambda: os.path.exists(self.path("bootstrap")) and self.bootstrap(), "the cluster")

    def stop(self):
        self.end(self.PROCESS)
        for name in ("bootstrap", "commands"):
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))

    def log(self):
        return self.read("mock.log")

    def bootstrap(self):
        return self.read("bootstrap").strip()

    def tell(self, command):
        """A command of kafka_mock.c."""
        with open(self.path("commands"), "a", encoding="ascii") as f:
            f.write(command + "\n")

    def ids(self):
        return self.read("ids").split("\n")[:-1]

    def section(self, name="out", more=""):
        return "[publisher %s]\nplugin = kafka\nurl = kafka://%s\ntopic = mock\n%s\n" % (name, self.bootstrap(), more)
