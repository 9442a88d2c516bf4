# SPDX-License-Identifier: Apache-2.0
"""A mosquitto of a test's own, and a subscriber that writes down what arrives; a program, too, as server.py says."""

import getpass
import json
import signal
import subprocess

import server

PROGRAM, CLIENT, PASSWD = server.program("mosquitto"), server.program("mosquitto_sub"), server.program("mosquitto_passwd")
MISSING = None if PROGRAM and CLIENT else "mosquitto, or mosquitto_sub, is missing (Debian: mosquitto, mosquitto-clients)"
free_port = server.free_port


class Broker(server.Server):
    """A session of the subscriber outlives both, so that nothing is missed. Without options of a test's own it knows the user
    relay."""

    PROCESS = "mosquitto"
    DURABLE = False
    SECRETS = ("relays-s3cret", )

    def __init__(self, folder, options=None, login=()):
        super().__init__(folder)
        self.login = list(login)
        if options is None:
            options = "allow_anonymous true\npassword_file %s\n" % self.path("users")
            self.login = ["-u", "test", "-P", "tests-s3cret"]
            if self.is_new:
                self.write("users", "")
                self.user("test", "tests-s3cret")
                self.user("relay", *self.SECRETS)
        if self.is_new:
            self.write("mosquitto.conf", "listener %d 127.0.0.1\nuser %s\npersistence true\npersistence_location %s/\n"
                       "max_queued_messages 0\n%s" % (self.port, getpass.getuser(), folder, options))

    def start(self):
        """Returns when it answers, and the subscriber has its session."""
        self.run("mosquitto", [PROGRAM, "-c", self.path("mosquitto.conf")])
        self.wait(self.answers, "the broker")
        self.run("sub", [CLIENT, "-V", "5", "-p", str(self.port), "-i", "test", "-c", "-x", "3600", "-q", "1", "-t", "#", *self.login,
                         "-F", "%j"])
        self.wait(lambda: " as test " in self.log(), "the subscriber")

    def log(self):
        """What the broker has written since it was started last."""
        return self.read("mosquitto.log").rsplit(" starting\n", 1)[-1]

    def stop(self):
        """So that it saves what it has acknowledged: it does that before."""
        self.end("mosquitto")
        self.end("sub")

    def kill(self):
        """What it has acknowledged since it wrote its file last is lost."""
        self.end("mosquitto", signal.SIGKILL)
        self.end("sub")

    def user(self, name, password):
        subprocess.run([PASSWD, "-b", self.path("users"), name, password], check=True, capture_output=True)

    def refuse(self):
        self.user("relay", "another-s3cret")
        self.signal("mosquitto", signal.SIGHUP)

    def admit(self):
        self.user("relay", *self.SECRETS)
        self.signal("mosquitto", signal.SIGHUP)

    def section(self, name="out", port=None, more=""):
        password = self.write("password", self.SECRETS[0])
        return ("[publisher %s]\nplugin = mqtt\nurl = mqtt://relay@127.0.0.1:%d\npassword_file = %s\n%s\n"
                % (name, port or self.port, password, more))

    def arrived(self):
        """What has arrived: objects with topic, payload, qos, retain, properties."""
        try:
            return [json.loads(line) for line in self.read("sub.out").splitlines(True) if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def ids(self):
        return [m["properties"]["user-properties"]["message-id"] for m in self.arrived()]


if __name__ == "__main__":
    server.main(Broker)
