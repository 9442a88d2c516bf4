# SPDX-License-Identifier: Apache-2.0
"""Our plugins that have a server conform to level 4: the server is killed under them."""

import os
import sys
import unittest

import conform_test
import outbox_test
import services

# Reads all ids, and leaves the messages where they are.
QUEUE = r"""import sys, pika
connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.queue_declare("conform", durable=True)
while sys.argv[2] == "read":
    method, properties, _ = channel.basic_get("conform")
    if method is None:
        break
    print(properties.message_id)
connection.close()
"""


class Servers(outbox_test.Scratch):
    NAME = None

    @classmethod
    def setUpClass(cls):
        cls.servers = services.Services(cls.NAME)

    @classmethod
    def tearDownClass(cls):
        cls.servers.close()

    def conforms(self, plugin, section, extra):
        servers, name = self.servers, self.NAME
        script = "OUTBOX_SERVICES_DIR=%s %s" % (servers.dir, services.SCRIPT)
        run = conform_test.Run(self.dir, os.path.join(outbox_test.PLUGIN_DIR, plugin),
                               "%s[conform]\nscratch = yes\n%s[kill]\nstop = %s kill %s\nstart = %s start %s\n"
                               % (section, extra, script, name, script, name), "--level", "4")
        self.assertEqual((run.code, run.failed, run.reached()), (0, [], 4), run.text())
        self.assertIn("it_comes_back_after_its_server_was_killed", run.passed)
        return run


AVAILABLE = unittest.skipUnless(services.available(), "there is no PostgreSQL or RabbitMQ here: see scripts/deps.sh")


@conform_test.NEEDED
@AVAILABLE
class Postgres(Servers):
    NAME = "postgres"

    def postgres(self, claim):
        conninfo = self.servers.env["OUTBOX_TEST_PG"]
        run = self.conforms("store-postgres.so", "[store]\nconninfo = %s\nclaim = %s\n" % (conninfo, claim),
                            "sql = PGTZ=UTC psql -qAt -v ON_ERROR_STOP=1 '%s'\n" % conninfo)
        self.assertIn("done_messages_are_kept_as_processed", run.passed)
        self.assertIn("nothing_written_is_lost_in_kills", run.passed)

    def test_store_postgres_conforms_with_leases(self):
        self.postgres("leases")

    def test_store_postgres_conforms_with_locks(self):
        self.postgres("locks")


@conform_test.NEEDED
@AVAILABLE
class RabbitMq(Servers):
    NAME = "rabbitmq"

    def test_pub_amqp_conforms(self):
        url, script = self.servers.env["OUTBOX_TEST_AMQP"], self.write("queue.py", QUEUE)
        command = "%s %s %s" % (sys.executable, script, url)
        self.assertEqual(os.system(command + " declare"), 0)
        run = self.conforms("pub-amqp.so", "[publisher x]\nurl = %s\nmode = queue\nqueue = conform\n" % url,
                            "verify = %s read\n" % command)
        self.assertIn("nothing_accepted_is_lost_in_kills", run.passed)
        self.assertIn("keepalive_says_that_it_is_healthy", run.passed)


if __name__ == "__main__":
    outbox_test.main()
