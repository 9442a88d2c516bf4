# SPDX-License-Identifier: Apache-2.0
"""Every publisher plugin whose broker a test can start by itself: what repeats a test for each of them.

A broker is a class of a module here, made as server.Server says. Only what this build and this tree have is there."""

import importlib
import os

import outbox_test

OWN = {
    "mqtt": "mosquitto",
    "kafka": "kafka_server",
    "nats": "nats_server",
    "redis": "redis_server",
    "http": "http_receiver",
    "postgres": "inbox",
}
# And one that may not be stopped.
MODULES = dict(OWN, amqp="rabbitmq")


def module(name):
    """Of a plugin's name: the module of its broker; None: there is none."""
    try:
        return importlib.import_module(MODULES[name])
    except ModuleNotFoundError as e:
        if e.name != MODULES[name]:
            raise
        return None


def is_built(name):
    return os.path.exists(os.path.join(outbox_test.PLUGIN_DIR, "pub-%s.so" % name))


# Names of plugins.
THERE = [name for name in OWN if is_built(name) and module(name)]


def make(test, name):
    """A broker with a folder below the test's, which is not started; skips the test where its server is missing."""
    missing = module(name).MISSING
    if missing:
        test.skipTest(missing)
    return module(name).Broker(test.path("broker-" + name))
