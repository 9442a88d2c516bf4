# SPDX-License-Identifier: Apache-2.0
"""A Redis of a test's own, and a small client of it; a program, too, as server.py says."""

import socket

import server

PROGRAM = server.program("redis-server") or server.program("valkey-server")
MISSING = None if PROGRAM else "redis-server is missing (Debian: redis-server)"
PASSWORD = "relay-passw0rd"
# The rights that the relay needs.
RIGHTS = "resetkeys ~* -@all +xadd +wait +info +type +ping +select +config|get"


class Error(Exception):
    """What the server said instead."""


class Client:
    """Says commands, and returns replies: bytes, numbers, None, lists."""

    def __init__(self, port, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), 20)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, *words):
        words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))

    def __call__(self, *words):
        self.send(*words)
        reply = self.reply()
        if isinstance(reply, Error):
            raise reply
        return reply

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            return Error(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        return rest


class Broker(server.Server):
    """It writes each command to its disk before it replies."""

    PROCESS = "redis"
    DURABLE = True
    STREAM = "outbox"

    def __init__(self, folder, options="", sentinel=False):
        super().__init__(folder)
        if self.is_new:
            self.write("redis.conf", 'port %d\nbind 127.0.0.1\ndir "%s"\nloglevel notice\ndaemonize no\n'
                       % (self.port, folder) + ("" if sentinel else "appendonly yes\nappendfsync always\nsave \"\"\n"
                       "repl-diskless-sync-delay 0\nuser relay on >%s %s\n" % (PASSWORD, RIGHTS)) + options)

    def start(self):
        """Returns when it has loaded its data."""
        self.launch()
        self.wait(self.answers, "Redis")

    def launch(self):
        self.run("redis", [PROGRAM, self.path("redis.conf")])

    def answers(self):
        try:
            with self.client() as say:
                say("PING")
            return True
        except Error as e:
            return str(e).startswith(("NOAUTH", "MASTERDOWN"))
        except OSError:
            return False

    def stop(self):
        self.end("redis")

    def kill(self):
        self.end("redis", 9)

    def log(self):
        return self.read("redis.out")

    def client(self):
        return Client(self.port)

    def say(self, *words):
        with self.client() as say:
            return say(*words)

    def is_master(self):
        """When it becomes one, it closes its connections."""
        try:
            return self.say("ROLE")[0] == b"master"
        except OSError:
            return False

    def section(self, name="out", port=None, more=""):
        return ("[publisher %s]\nplugin = redis\nurl = redis://relay:%s@127.0.0.1:%d\nstream = %s\n%s\n"
                % (name, PASSWORD, port or self.port, self.STREAM, more))

    def entries(self, stream=None):
        """What has arrived: an object of fields for each entry, as bytes."""
        entries, start = [], "-"
        with self.client() as say:
            while True:
                some = say("XRANGE", stream or self.STREAM, start, "+", "COUNT", 5000)
                entries += [dict(zip(fields[::2], fields[1::2])) for _, fields in some]
                if len(some) < 5000:
                    return entries
                start = b"(" + some[-1][0]

    def ids(self):
        return [entry[b"message-id"].decode() for entry in self.entries()]

    def fill(self):
        """It refuses to take more."""
        self.say("CONFIG", "SET", "maxmemory", 1)

    def make_room(self):
        self.say("CONFIG", "SET", "maxmemory", 0)

    def refuse(self):
        """The relay may not log in any more, and is not any longer."""
        self.say("ACL", "SETUSER", "relay", "resetpass", ">another")
        self.say("CLIENT", "KILL", "USER", "relay")

    def admit(self):
        self.say("ACL", "SETUSER", "relay", "resetpass", ">" + PASSWORD)


class Sentinel(Broker):
    """One that decides alone, and soon, about a master that it calls `main`."""

    def __init__(self, folder, port, options=""):
        super().__init__(folder, "sentinel monitor main 127.0.0.1 %d 1\nsentinel down-after-milliseconds main 2000\n"
                         "sentinel failover-timeout main 5000\n%s" % (port, options), sentinel=True)
        self.password = options.split()[1] if options.startswith("requirepass") else None

    def launch(self):
        self.run("redis", [PROGRAM, self.path("redis.conf"), "--sentinel"])

    def until_sees(self, replica):
        def seen():
            with self.client() as say:
                if self.password:
                    say("AUTH", self.password)
                return [r for r in say("SENTINEL", "replicas", "main") if b"%d" % replica.port in r and b"slave" in r]
        self.wait(seen, "the sentinel to see the replica")


if __name__ == "__main__":
    server.main(Broker)
