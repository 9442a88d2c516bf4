#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Walks through the packages as a new user would, on a machine that may be thrown away; see scripts/walk-packages.sh.

The packages are in /srv/debs: new/, what was built; old/, the same with a lower version; next/, with a higher one. Every step
prints a line. It ends at the first that fails, with what the relays logged."""

import importlib
import os
import pwd
import sys
import time
import traceback

import machine
import readme
from machine import (PACKAGES, SHOP, STATE, AmqpConsumer, FileConsumer, MqttConsumer, active, apt, check, debs, journal, process,
                     produce_postgres, produce_sqlite, prop, put, run, until, versions)

SERVERS = "postgresql rabbitmq-server mosquitto mosquitto-clients python3-pika python3-psycopg2 sqlite3 nats-server redis-server".split()
# glibc and systemd of Debian 13 recommend these, and so apt keeps them when the package that brought them goes.
SERVERS += "libidn2-0 libp11-kit0".split()
OTHERS = {"http": "http_receiver", "kafka": "kafka_server", "nats": "nats_server", "redis": "redis_server"}
# How long messages flow before a step and after it, and so how long the longest may take that is to meet them.
FLOW = 2
SQLITE, SHOP_UNIT, OTHERS_UNIT = "outboxd.service", "outboxd@shop.service", "outboxd@others.service"
AMQP = "plugin = amqp\nurl = amqp://shop@127.0.0.1\npassword_file = /etc/outboxd/mq.password\nmode = pubsub\nexchange = shop\n"
MQTT = "plugin = mqtt\nurl = mqtt://127.0.0.1\ntopic = shop/{topic}\n"
MAIL = STATE + "/mail.txt"


class Walk:
    """What a step leaves to those after it."""

    def __init__(self):
        self.producers, self.steps = [], []

    def step(self, name, function):
        began = time.monotonic()
        function()
        print("ok %s (%.1f s)" % (name, time.monotonic() - began), flush=True)

    # ---- a new user

    def servers(self):
        """The user's own, which were there before."""
        apt("update")
        apt("install", "--no-install-recommends", *SERVERS)
        for unit in "postgresql", "rabbitmq-server", "mosquitto":
            run("systemctl", "start", unit)
        run("rabbitmqctl", "await_startup")
        run("rabbitmqctl", "add_user", "shop", "secret")
        run("rabbitmqctl", "set_permissions", "shop", ".*", ".*", ".*")
        run("psql", "-c", "CREATE ROLE outboxd LOGIN", "-c", "CREATE ROLE shop LOGIN", "-c", "CREATE DATABASE shop OWNER outboxd",
            user="postgres")
        hba = run("psql", "-Atc", "SHOW hba_file", user="postgres").strip()
        with open(hba, encoding="utf-8") as f:
            rules = f.read()
        with open(hba, "w", encoding="utf-8") as f:
            f.write("local shop shop trust\n" + rules)
        run("systemctl", "reload", "postgresql")
        run("systemctl", "daemon-reload")
        self.before = machine.snapshot()

    def install(self):
        apt("install", *debs("new", "outboxd", "outboxd-store-sqlite", "outboxd-pub-exec"))
        for unit in SQLITE, SHOP_UNIT:
            check(not active(unit), "%s was started" % unit)
            check(prop(unit, "UnitFileState") != "enabled", "%s was enabled" % unit)
        pwd.getpwnam("outboxd")
        check(machine.describe("/etc/outboxd").startswith("drwxr-x--- 0:%d" % pwd.getpwnam("outboxd").pw_gid),
              "/etc/outboxd is " + machine.describe("/etc/outboxd"))
        check("outboxd-pub-exec" in versions(), "apt has not installed the publisher")
        self.new = versions()["outboxd"]

    def first_message(self):
        """README.md's configuration, and then its commands for a service, as they stand there; an application's own message."""
        found = list(readme.blocks("README.md"))
        commands = [text for _, _, text, _ in found if "systemctl enable --now outboxd" in text]
        check(len(commands) == 1, "README.md has %d blocks that enable the service" % len(commands))
        put("/srv/reader/shop.ini", next(text for _, language, text, _ in found if language == "ini") + "\n", 0o644, None)
        run("sh", "-ec", "cd /srv/reader\n" + commands[0])
        self.mail = FileConsumer(MAIL)
        until(lambda: self.mail.got == ['{"n":2}'], lambda: "README.md's message\n" + journal(SQLITE))
        run("sqlite3", STATE + "/shop.db", "BEGIN; CREATE TABLE orders (n); INSERT INTO orders VALUES (1);"
            "INSERT INTO outbox_messages (topic, key, payload) VALUES ('order.placed', 'order-1', ' first'); COMMIT;")
        until(lambda: self.mail.got == ['{"n":2}', "first"], lambda: "the first message\n" + journal(SQLITE))

    # ---- PostgreSQL and brokers

    def shop_file(self, publisher):
        put("/etc/outboxd/shop.ini", "[relay]\nname = shop\n\n[store]\nplugin = postgres\nconninfo = %s user=outboxd\n\n"
            "[publisher out]\n%s\n[router]\nfallback = out\n" % (SHOP, publisher))

    def begin_shop(self):
        """The relay begins without a table, and waits for it."""
        apt("install", *debs("new", "outboxd-store-postgres", "outboxd-pub-amqp"))
        put("/etc/outboxd/mq.password", "secret\n")
        self.shop_file(AMQP)
        run("systemctl", "enable", "--now", SHOP_UNIT)
        check(active(SHOP_UNIT), "the relay does not wait for its table:\n" + journal(SHOP_UNIT))
        run("outboxd", "init", "-c", "/etc/outboxd/shop.ini", user="outboxd")
        run("psql", "-d", "shop", "-c", "GRANT SELECT, INSERT ON outbox_messages TO shop", user="postgres")
        self.amqp, self.mqtt = AmqpConsumer("amqp://shop:secret@127.0.0.1"), MqttConsumer()
        self.flow()
        self.arrives(self.amqp)

    def flow(self):
        """From now on messages are written all the time; what arrived before does not count."""
        self.amqp.got, self.mqtt.got = [], []
        run("truncate", "-s", "0", MAIL)
        self.producers = [produce_postgres(), produce_sqlite()]

    def arrives(self, consumer):
        """Something that was written after this call."""
        seen = len(consumer.got)
        until(lambda: len(consumer.got) > seen + 50, lambda: "messages\n" + journal(SHOP_UNIT) + journal(SQLITE))

    def both_arrive(self, broker):
        self.arrives(broker)
        self.arrives(self.mail)

    def not_installed(self):
        """A broker whose package is missing: the reload fails and says which, and the relay goes on as it was."""
        pid, since = process(SHOP_UNIT), machine.cursor()
        self.shop_file(MQTT)
        run("systemctl", "reload", SHOP_UNIT, fails=True)
        check("outboxd-pub-mqtt" in journal(SHOP_UNIT, since), "the package is not named:\n" + journal(SHOP_UNIT, since))
        self.arrives(self.amqp)
        check(process(SHOP_UNIT) == pid, "the relay is another process")
        check(not self.mqtt.got, "there are messages at the new broker")

    def swap(self):
        """One edit, which is made already, and a reload; then back, and forth again."""
        apt("install", *debs("new", "outboxd-pub-mqtt"))
        pid = process(SHOP_UNIT)
        for section, consumer in (MQTT, self.mqtt), (AMQP, self.amqp), (MQTT, self.mqtt):
            self.shop_file(section)
            run("systemctl", "reload", SHOP_UNIT)
            self.arrives(consumer)
            time.sleep(FLOW)
        check(process(SHOP_UNIT) == pid, "the relay is another process")

    def settle(self):
        """Ends the producers and counts: each message is at one place, once, and what was rolled back nowhere."""
        for producer in self.producers:
            producer.end()
        left = "SELECT count(*) FROM outbox_messages WHERE status <> 'processed'"
        until(lambda: run("psql", "-d", "shop", "-Atc", left, user="postgres").strip() == "0",
              lambda: "PostgreSQL's messages\n" + journal(SHOP_UNIT))
        until(lambda: run("sqlite3", STATE + "/shop.db", left).strip() == "0", lambda: "SQLite's messages\n" + journal(SQLITE))
        at_amqp, at_mqtt = set(self.amqp.got), set(self.mqtt.got)
        until(lambda: set(self.producers[0].committed) <= set(self.amqp.got) | set(self.mqtt.got), "the last messages")
        self.count("PostgreSQL to brokers", self.producers[0], self.amqp.got + self.mqtt.got)
        self.count("SQLite to a program", self.producers[1], self.mail.got)
        check(not at_amqp & at_mqtt, "%d messages are at both brokers" % len(at_amqp & at_mqtt))

    def count(self, what, producer, got):
        lost, more = set(producer.committed) - set(got), len(got) - len(set(got))
        ghosts = set(got) - set(producer.committed)
        print("   %s: committed %d, rolled back %d, arrived %d, at neither %d, never committed %d, more than once %d"
              % (what, len(producer.committed), len(producer.rolled_back), len(set(got)), len(lost), len(ghosts), more), flush=True)
        check(not lost and not ghosts and not more, "the counts are not right")
        check(len(producer.committed) > 100, "there were hardly any messages")

    def others(self):
        """Each broker that is left, by its client library from within the sandbox of the unit. They go again."""
        names = ["outboxd-pub-" + name for name in OTHERS]
        apt("install", *debs("new", *names))
        sys.path.append("tests/lib")  # whose modules look for programs that are installed by now
        there = {name: importlib.import_module(module).Broker("/srv/broker-" + name) for name, module in OTHERS.items()}
        sections = ""
        for name, broker in there.items():
            broker.start()
            sections += broker.section(name, more="bearer_token = t\n" if name == "http" else "")
            sections += "[route %s]\ntopic = %s\npublisher = %s\n" % (name, name, name)
        put("/etc/outboxd/others.ini", "[relay]\nname = others\n\n[store]\nplugin = sqlite\npath = %s/others.db\n\n%s"
            % (STATE, sections))
        run("systemctl", "start", OTHERS_UNIT)
        run("outboxd", "init", "-c", "/etc/outboxd/others.ini", user="outboxd")
        for name in there:
            run("outboxd", "send", "-c", "/etc/outboxd/others.ini", "--topic", name, "{}", user="outboxd")
        until(lambda: all(broker.ids() for broker in there.values()), lambda: "all of them\n" + journal(OTHERS_UNIT))
        run("systemctl", "stop", OTHERS_UNIT)
        for broker in there.values():
            broker.stop()
        apt("purge", *names)
        run("sh", "-c", "rm /etc/outboxd/others.ini %s/others.db*" % STATE)

    # ---- other versions

    def change_all(self, folder, *options):
        """apt replaces every package while messages flow: both relays end as they do at any stop, and begin again."""
        self.flow()
        self.both_arrive(self.mqtt)
        pids, since = {unit: process(unit) for unit in (SQLITE, SHOP_UNIT)}, machine.cursor()
        apt("install", *options, *debs(folder, *versions()))
        for unit, pid in pids.items():
            until(lambda u=unit, p=pid: active(u) and process(u) not in (0, p), lambda u=unit: "the restart of " + u)
            check(prop(unit, "NRestarts") == "0", "%s ended by itself:\n%s" % (unit, journal(unit, since)))
            check("(deleted)" not in machine.mapped(process(unit)), "%s runs what is no longer installed" % unit)
        self.both_arrive(self.mqtt)
        time.sleep(FLOW)
        self.settle()

    def downgrade(self):
        self.change_all("old", "--allow-downgrades")
        check(len(set(versions().values())) == 1 and versions()["outboxd"] != self.new, "versions: %s" % versions())

    def upgrade(self):
        self.change_all("new")
        check(set(versions().values()) == {self.new}, "versions: %s" % versions())

    def upgrade_one(self):
        """A backend alone, since it depends on the ABI and not on the version of outboxd."""
        self.flow()
        self.both_arrive(self.mqtt)
        apt("install", *debs("next", "outboxd-pub-mqtt"))
        until(lambda: "(deleted)" not in machine.mapped(process(SHOP_UNIT)), "a relay that runs the new plugin")
        self.both_arrive(self.mqtt)
        check(versions()["outboxd"] == self.new != versions()["outboxd-pub-mqtt"], "versions: %s" % versions())
        time.sleep(FLOW)
        self.settle()

    # ---- removal

    def remove_one(self):
        """A backend that is configured: the relay goes on with what it has, and the user is told."""
        self.flow()
        self.both_arrive(self.mqtt)
        pid, since = process(SHOP_UNIT), machine.cursor()
        said = apt("remove", "outboxd-pub-mqtt")
        self.both_arrive(self.mqtt)
        check(process(SHOP_UNIT) == pid, "the relay is another process")
        told = [line for line in said.split("\n") if "shop.ini" in line and "outboxd-pub-mqtt" in line]
        check(told, "apt's user is not told that shop.ini needs it:\n%s" % said)
        print("   it says: " + told[0].strip(), flush=True)
        run("systemctl", "restart", SHOP_UNIT, fails=True)
        check("outboxd-pub-mqtt" in journal(SHOP_UNIT, since), "the package is not named:\n" + journal(SHOP_UNIT, since))
        apt("install", *debs("new", "outboxd-pub-mqtt"))
        run("systemctl", "restart", SHOP_UNIT)
        self.both_arrive(self.mqtt)
        self.settle()

    def remove(self):
        apt("remove", *versions())
        for unit in SQLITE, SHOP_UNIT:
            check(not active(unit) and process(unit) == 0, "%s is still running" % unit)
        for path in "/etc/outboxd/outboxd.ini", "/etc/outboxd/shop.ini", STATE + "/shop.db":
            check(os.path.exists(path), "%s is gone" % path)
        check(not os.path.exists("/usr/bin/outboxd"), "the program is still there")

    def again(self):
        """The packages come back, and what was configured is as it was."""
        apt("install", *debs("new", "outboxd", "outboxd-store-sqlite", "outboxd-pub-exec", "outboxd-store-postgres", "outboxd-pub-mqtt"))
        for unit in SQLITE, SHOP_UNIT:
            if not active(unit):
                run("systemctl", "start", unit)
        self.flow()
        self.both_arrive(self.mqtt)
        self.settle()

    def purge(self):
        """Both relays run and are enabled. Nothing is left but the drop-in, which the user takes away."""
        for unit in SQLITE, SHOP_UNIT:
            check(active(unit) and prop(unit, "UnitFileState") == "enabled", "%s is not active and enabled" % unit)
        apt("purge", *versions())
        run("rm", "-r", "/etc/systemd/system/outboxd.service.d")
        apt("autoremove", "--purge")
        run("systemctl", "daemon-reload")
        left = machine.differences(self.before, machine.snapshot())
        check(not left, "%d traces:\n%s" % (len(left), "\n".join(left)))


STEPS = [
    ("PostgreSQL, RabbitMQ and Mosquitto are there", Walk.servers),
    ("install: nothing is started or enabled; a user; a folder for secrets", Walk.install),
    ("the commands of README.md: a service, and the first message arrives", Walk.first_message),
    ("PostgreSQL to RabbitMQ, an instance of the unit", Walk.begin_shop),
    ("a broker whose package is missing: the reload refuses, the relay goes on", Walk.not_installed),
    ("its package, and three swaps under load by reload", Walk.swap),
    ("nothing lost, nothing twice", Walk.settle),
    ("HTTP, Kafka, NATS and Redis from within the sandbox of the unit", Walk.others),
    ("downgrade under load", Walk.downgrade),
    ("upgrade under load", Walk.upgrade),
    ("upgrade of one backend alone, under load", Walk.upgrade_one),
    ("removal of a configured backend, under load; back again", Walk.remove_one),
    ("remove keeps the configuration and the data", Walk.remove),
    ("install again: everything is as it was", Walk.again),
    ("purge of relays that run leaves no trace", Walk.purge),
]


def main():
    walk, began = Walk(), time.monotonic()
    for name, function in STEPS:
        try:
            walk.step(name, lambda f=function: f(walk))
        except Exception as e:  # whatever it was, the step has failed
            print("FAILED %s: %s" % (name, e), flush=True)
            if not isinstance(e, machine.Failed):
                traceback.print_exc(file=sys.stdout)
            for unit in SQLITE, SHOP_UNIT, OTHERS_UNIT:
                print("---- the end of the log of %s\n%s" % (unit, "\n".join(journal(unit).split("\n")[-30:])))
            sys.exit(1)
    print("ok all %d steps (%.0f s), with the packages in %s" % (len(STEPS), time.monotonic() - began, PACKAGES))


if __name__ == "__main__":
    main()
