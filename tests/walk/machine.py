# SPDX-License-Identifier: Apache-2.0
"""What the walk through the packages does with the machine that it is on: packages, units, files, producers, consumers."""

import glob
import hashlib
import os
import pwd
import sqlite3
import stat
import subprocess
import threading
import time
import uuid

import pika
import psycopg2

PATIENCE = 120
PACKAGES = "/srv/debs"
STATE = "/var/lib/outboxd"
SHOP = "host=/run/postgresql dbname=shop"


class Failed(Exception):
    """A step that did not go as it should."""


def check(condition, what):
    if not condition:
        raise Failed(what)


def run(*command, fails=False, user=None):
    """What the command prints. It must succeed, or, with fails, fail."""
    if user:
        command = ("runuser", "-u", user, "--") + command
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=300, check=False, cwd="/", env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))
    check((done.returncode != 0) == fails, "%s: exit code %d\n%s" % (" ".join(command), done.returncode, done.stdout))
    return done.stdout


def until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        check(time.monotonic() < end, "waited %d s for %s" % (PATIENCE, what() if callable(what) else what))
        time.sleep(0.05)


# ---- packages

def debs(folder, *names):
    """Paths of packages as a user gives them to apt; all of the folder without names."""
    found = [path for name in names or ["*"] for path in glob.glob("%s/%s/%s_*.deb" % (PACKAGES, folder, name))]
    check(len(found) >= len(names), "of %s in %s there is %s" % (names, folder, found))
    return sorted(found)


def apt(*arguments):
    return run("apt-get", "-y", "-q", *arguments)


def versions():
    """Of each package of outboxd that is installed, its version; what is only configured is "removed"."""
    lines = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status} ${Version}\n", "*outbox*").split("\n")
    words = [line.split() for line in lines if line]
    return {w[0]: w[2] if w[1] == "installed" else "removed" for w in words if w[1] != "not-installed"}


# ---- units

def active(unit):
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def prop(unit, name):
    return run("systemctl", "show", "-P", name, unit).strip()


def process(unit):
    return int(prop(unit, "MainPID"))


def journal(unit, since=None):
    """What the unit logged, all or after a cursor."""
    return run("journalctl", "--no-pager", "-o", "cat", "-u", unit, *(["--after-cursor", since] if since else []))


def cursor():
    return run("journalctl", "--no-pager", "-n", "0", "--show-cursor").split("cursor: ")[1].strip()


def mapped(pid):
    with open("/proc/%d/maps" % pid, encoding="utf-8") as f:
        return f.read()


def put(path, text, mode=0o640, group="outboxd"):
    """Replaces a file at once, as editors do it, with the owner that the guide names."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path + ".new", mode)
    os.chown(path + ".new", 0, pwd.getpwnam(group).pw_gid if group else 0)
    os.rename(path + ".new", path)


# ---- what is on the machine

# Not the system's, or written by others all the time.
PASSED_OVER = ("/proc /sys /dev /run /tmp /var/tmp /root /srv /var/cache /var/log /var/lib/apt /var/lib/dpkg /var/lib/postgresql "
               "/var/lib/rabbitmq /var/lib/mosquitto /var/lib/redis /var/lib/nats "
               "/etc/passwd- /etc/group- /etc/shadow- /etc/gshadow- /etc/ld.so.cache /var/lib/systemd/random-seed "
               "/var/lib/systemd/timers /etc/.pwd.lock").split()


def describe(path):
    s = os.lstat(path)
    what = "%s %d:%d" % (stat.filemode(s.st_mode), s.st_uid, s.st_gid)
    if stat.S_ISLNK(s.st_mode):
        return "%s -> %s" % (what, os.readlink(path))
    if stat.S_ISREG(s.st_mode):
        with open(path, "rb") as f:
            return "%s %s" % (what, hashlib.sha256(f.read()).hexdigest() if path.startswith("/etc/") else s.st_size)
    return what


def snapshot():
    """Every file with its owner, mode and size or content: in /etc also that of accounts; and what dpkg and systemd remember."""
    seen = {}
    for folder, folders, files in os.walk("/"):
        for name in files + folders:
            path = os.path.join(folder, name)
            if path not in PASSED_OVER and "__pycache__" not in path:
                seen[path] = describe(path)
        folders[:] = [name for name in folders if os.path.join(folder, name) not in PASSED_OVER and name != "__pycache__"]
    for path in glob.glob("/var/lib/dpkg/**/*outbox*", recursive=True) + glob.glob("/var/log/*outbox*"):
        seen[path] = "left"
    seen["dpkg's triggers"] = run("sh", "-c", "grep -rl outbox /var/lib/dpkg/triggers /var/lib/dpkg/statoverride || :")
    seen["dpkg's list"] = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n")
    seen["systemd's units"] = run("sh", "-c", "systemctl list-units --all --plain --no-legend '*outbox*'")
    return seen


def differences(before, after):
    return ["%s: %s, before %s" % (path, after.get(path, "gone"), before.get(path, "not there"))
            for path in sorted(set(before) | set(after)) if before.get(path) != after.get(path)]


# ---- producers and consumers

class Producer(threading.Thread):
    """Writes messages whose payload is their id, some in each transaction; every tenth transaction is rolled back."""

    def __init__(self, connect, statement, rate=200, each=5):
        super().__init__(daemon=True)
        self.connect, self.statement, self.pause, self.each = connect, statement, each / rate, each
        self.committed, self.rolled_back, self.stopped, self.error = [], [], threading.Event(), None
        self.start()

    def run(self):
        try:
            db, n = self.connect(), 0
            while not self.stopped.wait(self.pause):
                n, ids = n + 1, [str(uuid.uuid4()) for _ in range(self.each)]
                cursor_of = db.cursor()
                for i in ids:
                    cursor_of.execute(self.statement, (i, i))
                if n % 10:
                    db.commit()
                    self.committed += ids
                else:
                    db.rollback()
                    self.rolled_back += ids
            db.close()
        except Exception as e:  # the walk has to hear of it, whatever it is
            self.error = e

    def end(self):
        self.stopped.set()
        self.join(PATIENCE)
        check(self.error is None, "the producer: %r" % self.error)


def produce_sqlite():
    return Producer(lambda: sqlite3.connect(STATE + "/shop.db", timeout=PATIENCE),
                    "INSERT INTO outbox_messages (id, topic, payload) VALUES (?, 'order', ? || char(10))")


def produce_postgres():
    return Producer(lambda: psycopg2.connect(SHOP + " user=shop"),
                    "INSERT INTO outbox_messages (id, topic, payload) VALUES (%s, 'order', convert_to(%s, 'UTF8'))")


class AmqpConsumer(threading.Thread):
    """Keeps the bodies of what arrives in a queue of its own."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.got = []
        self.connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = self.connection.channel()
        channel.exchange_declare("shop", exchange_type="topic", durable=True)
        channel.queue_declare("walk", durable=True)
        channel.queue_bind("walk", "shop", "#")
        channel.basic_consume("walk", self.arrived)
        self.channel = channel
        self.start()

    def arrived(self, channel, method, _properties, body):
        self.got.append(body.decode())
        channel.basic_ack(method.delivery_tag)

    def run(self):
        self.channel.start_consuming()


class MqttConsumer(threading.Thread):
    """Keeps the payloads that mosquitto_sub prints."""

    def __init__(self):
        super().__init__(daemon=True)
        self.got = []
        self.client = subprocess.Popen(["stdbuf", "-oL", "mosquitto_sub", "-d", "-q", "1", "-c", "-i", "walk", "-t", "shop/#"],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.subscribed = threading.Event()
        self.start()
        check(self.subscribed.wait(PATIENCE), "mosquitto_sub has not subscribed")

    def run(self):
        for line in self.client.stdout:
            if line.startswith("Subscribed"):
                self.subscribed.set()
            elif len(line) == 37 and line.count("-") == 4:
                self.got.append(line.strip())


class FileConsumer:
    """What a program appended to a file, a line each."""

    def __init__(self, path):
        self.path = path

    @property
    def got(self):
        try:
            with open(self.path, encoding="utf-8") as f:
                return f.read().split()
        except FileNotFoundError:
            return []
