# SPDX-License-Identifier: Apache-2.0
"""A mosquitto of a test's own, which may be stopped, and a subscriber that writes down what arrives.

As a program, for commands of configurations: mosquitto.py start|stop|ids FOLDER"""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

PATH = os.environ.get("PATH", "") + ":/usr/sbin"
PROGRAM = shutil.which("mosquitto", path=PATH)
CLIENT = shutil.which("mosquitto_sub", path=PATH)
MISSING = None if PROGRAM and CLIENT else "mosquitto, or mosquitto_sub, is missing (Debian: mosquitto, mosquitto-clients)"
PATIENCE = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """Its files are in `folder`. A session of the subscriber outlives both, so that nothing is missed."""

    def __init__(self, folder, options="allow_anonymous true\n", login=()):
        self.folder = folder
        self.login = list(login)
        try:
            with open(self.path("port"), encoding="ascii") as f:
                self.port = int(f.read())
        except FileNotFoundError:
            self.port = free_port()
            os.makedirs(folder, exist_ok=True)
            self.write("port", str(self.port))
            self.write("mosquitto.conf", "listener %d 127.0.0.1\nuser %s\npersistence true\npersistence_location %s/\n"
                       "max_queued_messages 0\n%s" % (self.port, getpass.getuser(), folder, options))

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(name), 0o600)
        return self.path(name)

    def run(self, name, command):
        with open(self.path(name + ".out"), "ab") as out, open(self.path(name + ".log"), "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True)
        self.write(name + ".pid", str(process.pid))

    def signal(self, name, sig):
        with open(self.path(name + ".pid"), encoding="ascii") as f:
            os.kill(int(f.read()), sig)

    def end(self, name, sig):
        """Ends a process, which may be the child of another one, and waits until it has ended."""
        try:
            with open(self.path(name + ".pid"), encoding="ascii") as f:
                pid = int(f.read())
            os.remove(self.path(name + ".pid"))
            os.kill(pid, sig)
        except (FileNotFoundError, ProcessLookupError):
            return
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.01)
        raise TimeoutError("%s does not end" % name)

    def start(self):
        """Returns when it answers, and the subscriber has its session."""
        self.run("mosquitto", [PROGRAM, "-c", self.path("mosquitto.conf")])
        self.wait(lambda: self.answers(), "the broker")
        self.run("sub", [CLIENT, "-V", "5", "-p", str(self.port), "-i", "test", "-c", "-x", "3600", "-q", "1", "-t", "#", *self.login,
                         "-F", "%j"])
        self.wait(lambda: " as test " in self.log(), "the subscriber")

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def log(self):
        """What the broker has written since it was started last."""
        with open(self.path("mosquitto.log"), encoding="utf-8", errors="replace") as f:
            return f.read().rsplit(" starting\n", 1)[-1]

    def wait(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("waited for %s: %s" % (what, self.log()))
            time.sleep(0.01)

    def stop(self):
        """As an init system does, so that it saves what it has acknowledged: it does that before."""
        self.end("mosquitto", signal.SIGTERM)
        self.end("sub", signal.SIGTERM)

    def arrived(self):
        """What has arrived: objects with topic, payload, qos, retain, properties."""
        try:
            with open(self.path("sub.out"), encoding="utf-8") as f:
                return [json.loads(line) for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def ids(self):
        return [m["properties"]["user-properties"]["message-id"] for m in self.arrived()]


if __name__ == "__main__":
    broker = Broker(sys.argv[2])
    if sys.argv[1] == "ids":
        print("\n".join(broker.ids()))
    else:
        {"start": broker.start, "stop": broker.stop}[sys.argv[1]]()
