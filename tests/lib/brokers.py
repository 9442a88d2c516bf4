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

# Of an id that comes twice: these keep one message, these (None) one of some; the others both.
KEEPS_TWO = {"nats": False, "postgres": False, "kafka": None}
# So many messages a broker may itself hand out twice, when it is stopped, to who counts the ids.
ITS_OWN = {"mqtt": 20}  # max_inflight_messages


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


def watches_threads():
    """A build with the thread sanitizer: it does not know thrd_create, and librdkafka's threads crash in it."""
    try:
        with open(outbox_test.PROGRAM, "rb") as f:
            return b"__tsan_init" in f.read()
    except FileNotFoundError:
        return False


# Names of plugins.
THERE = [name for name in OWN if is_built(name) and module(name) and not (name == "kafka" and watches_threads())]


def make(test, name):
    """A broker with a folder below the test's, which is not started; skips the test where its server is missing."""
    missing = module(name).MISSING
    if missing:
        test.skipTest(missing)
    return module(name).Broker(test.path("broker-" + name))


def secrets(name):
    """What no log may show."""
    it = module(name)
    return it.Broker.SECRETS or [getattr(it, secret) for secret in ("PASSWORD", "SECRET", "TOKEN") if hasattr(it, secret)]


def environment(names):
    """For outboxd with these plugins."""
    preload = module("kafka").preload() if "kafka" in names else None
    return dict(os.environ, **({"LD_PRELOAD": preload} if preload else {}))
