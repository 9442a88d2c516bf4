# SPDX-License-Identifier: Apache-2.0
"""The RabbitMQ of scripts/services.sh as a broker like the others, with a queue of its own: not to be stopped."""

import os
import uuid

import server

try:
    import pika
except ImportError:
    pika = None

URL = os.environ.get("OUTBOX_TEST_AMQP")
MISSING = None if URL and pika else "OUTBOX_TEST_AMQP is not set (scripts/services.sh), or pika is missing"


class Broker(server.Server):
    def __init__(self, folder):
        super().__init__(folder)
        self.queue = "broker-" + uuid.uuid4().hex[:12]
        self.got, self.connection, self.channel = [], None, None

    def start(self):
        self.connection = pika.BlockingConnection(pika.URLParameters(URL))
        self.channel = self.connection.channel()
        self.channel.queue_declare(self.queue, durable=True)

    def stop(self):
        if self.connection:
            self.channel.queue_delete(self.queue)
            self.connection.close()
            self.connection = None

    def ids(self):
        while True:
            method, properties, _ = self.channel.basic_get(self.queue, auto_ack=True)
            if not method:
                return list(self.got)
            self.got.append(properties.message_id)

    def section(self, name="out", port=None, more=""):
        self.write("url", URL)
        return ("[publisher %s]\nplugin = amqp\nurl_file = %s\nmode = queue\nqueue = %s\n%s\n"
                % (name, self.path("url"), self.queue, more))
