# SPDX-License-Identifier: Apache-2.0
"""A nats-server of a test's own, with JetStream and a stream in files; a program, too, as server.py says."""

import base64
import json
import os
import signal
import socket

import server

PROGRAM = server.program("nats-server")
MISSING = None if PROGRAM else "nats-server is missing (Debian: nats-server)"
free_port = server.free_port
PASSWORD = "relay-passw0rd"
USERS = """authorization {
  users = [{user: admin, password: admin}, {user: relay, password: "%s"}]
}
"""


# ---- keys: a seed is a prefix and 32 bytes of Ed25519, in base32 with a checksum

def _crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc.to_bytes(2, "little")


def _base32(data):
    return base64.b32encode(data + _crc16(data)).decode().rstrip("=")


class Key:
    """kind: `O`perator, `A`ccount or `U`ser. Needs the module cryptography (Debian: python3-cryptography)."""

    def __init__(self, kind):
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
        prefix = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(kind) << 3
        self.private = ed25519.Ed25519PrivateKey.generate()
        raw, seed = serialization.Encoding.Raw, 18 << 3
        secret = self.private.private_bytes(raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
        self.public = _base32(bytes([prefix]) + self.private.public_key().public_bytes(raw, serialization.PublicFormat.Raw))
        self.seed = _base32(bytes([seed | prefix >> 5, (prefix & 31) << 3]) + secret)

    @staticmethod
    def _url64(data):
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    def sign(self, data):
        return self._url64(self.private.sign(data))

    def token(self, subject, name, nats):
        """A JWT that this key has signed about the key `subject`."""
        claims = {"jti": name, "iat": 1600000000, "iss": self.public, "name": name, "sub": subject.public,
                  "nats": {"version": 2, **nats}}
        parts = [self._url64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)]
        return ".".join(parts + [self.sign(".".join(parts).encode())])


class Operator:
    """An operator with one account and its users: `config` is for the server."""

    def __init__(self):
        self.operator, self.account, self.system = Key("O"), Key("A"), Key("A")
        unlimited = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
        jetstream = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        account = self.operator.token(self.account, "shop", {"type": "account", "limits": {**unlimited, **jetstream}})
        system = self.operator.token(self.system, "SYS", {"type": "account", "limits": unlimited})
        self.config = "operator: %s\nresolver: MEMORY\nsystem_account: %s\nresolver_preload: {\n %s: %s\n %s: %s\n}\n" % (
            self.operator.token(self.operator, "op", {"type": "operator"}), self.system.public,
            self.account.public, account, self.system.public, system)

    def user(self, name):
        """The key and the token of a user."""
        key = Key("U")
        return key, self.account.token(key, name, {"type": "user", "subs": -1, "data": -1, "payload": -1})

    @staticmethod
    def credentials(key, token):
        """The text of a credentials file."""
        return "".join("-----BEGIN %s-----\n%s\n------END %s------\n\n" % (name, text, name)
                       for name, text in (("NATS USER JWT", token), ("USER NKEY SEED", key.seed)))


# ---- a client

class Client:
    """login: (user, password), (token, None), (key, JWT) or (key, None). tls: an ssl.SSLContext, for a server that demands it."""

    def __init__(self, port, login, tls=None):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.file = self.socket.makefile("rb", 0)
        info = json.loads(self.file.readline()[5:])
        if info.get("tls_required"):
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.file = self.socket.makefile("rb")
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "lang": "python", "version": "1"}
        if isinstance(login[0], Key):
            options.update({"nkey": login[0].public, "sig": login[0].sign(info["nonce"].encode())})
            options.update({"jwt": login[1]} if login[1] else {})
        else:
            options.update({"user": login[0], "pass": login[1]} if login[1] else {"auth_token": login[0]})
        self.send(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        self.expect_pong()
        self.inbox = "_INBOX.test." + os.urandom(8).hex()  # others ask at the same time
        self.send(("SUB %s 1\r\n" % self.inbox).encode())

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def expect_pong(self):
        line = self.file.readline()
        if line != b"PONG\r\n":
            raise ConnectionError("the server says %r" % line)

    def publish(self, subject, payload=b"", reply=None):
        self.send(("PUB %s %s %d\r\n" % (subject, reply or self.inbox, len(payload))).encode() + payload + b"\r\n")

    def message(self):
        """The next one that arrives: its headers, with the status as "", and its payload."""
        while True:
            words = self.file.readline().split()
            if not words or words[0] == b"-ERR":
                raise ConnectionError("the server says %r" % words)
            if words[0] == b"PING":
                self.send(b"PONG\r\n")
            if words[0] not in (b"MSG", b"HMSG"):
                continue
            data = self.file.read(int(words[-1]) + 2)[:-2]
            n = int(words[-2]) if words[0] == b"HMSG" else 0
            lines = data[:n].decode("utf-8", "replace").split("\r\n")
            headers = {"": lines[0]}
            headers.update(line.split(":", 1) for line in lines[1:] if ":" in line)
            return {name: value.strip(" ") for name, value in headers.items()}, data[n:]

    def request(self, subject, **payload):
        """Of JetStream's API."""
        self.publish("$JS.API." + subject, json.dumps(payload).encode() if payload else b"")
        headers, data = self.message()
        if not data:
            raise ConnectionError("JetStream says %s" % headers)
        answer = json.loads(data)
        if "error" in answer:
            raise ValueError("JetStream says %s" % answer["error"])
        return answer


# ---- the server

class Broker(server.Server):
    """With a stream `out`. The messages of a section go to it as out.TOPIC."""

    PROCESS = "nats-server"
    DURABLE = True  # of a kill of the process: what it acknowledged is in the page cache

    def __init__(self, folder, options=None, login=("admin", "admin"), stream=None, tls=None):
        """options: more of its configuration, instead of two users."""
        super().__init__(folder)
        self.login, self.tls = login, tls
        self.stream = {"name": "out", "subjects": ["out", "out.>"], "storage": "file", "allow_direct": True, **(stream or {})}
        self.found = []
        if self.is_new:
            self.configure(USERS % PASSWORD if options is None else options)

    def configure(self, options):
        self.write("nats.conf", "listen: 127.0.0.1:%d\nserver_name: test\njetstream { store_dir: \"%s\" }\n%s"
                   % (self.port, self.path("store"), options))

    def reload(self, options):
        """Takes other options without an end; returns when it has them."""
        said = "Reloaded server configuration"
        before = self.log().count(said)
        self.configure(options)
        self.signal(self.PROCESS, signal.SIGHUP)
        self.wait(lambda: self.log().count(said) > before, "the reload")

    def start(self):
        """Returns when it answers, and has its stream."""
        self.run(self.PROCESS, [PROGRAM, "-c", self.path("nats.conf")])
        self.wait(self.is_ready, "the server")

    def is_ready(self):
        try:
            with self.client() as client:
                if self.stream["name"] in (client.request("STREAM.NAMES").get("streams") or []):
                    return True
                client.request("STREAM.CREATE." + self.stream["name"], **self.stream)
                return False
        except (OSError, ValueError):
            return False

    def log(self):
        return self.read(self.PROCESS + ".log")

    def stop(self):
        self.end(self.PROCESS)

    def kill(self):
        self.end(self.PROCESS, signal.SIGKILL)

    # ---- what is in it

    def client(self):
        return Client(self.port, self.login, self.tls)

    def update(self, **config):
        """Of the stream, from here on."""
        self.stream.update(config)
        with self.client() as client:
            client.request("STREAM.UPDATE." + self.stream["name"], **self.stream)

    def delete(self):
        with self.client() as client:
            client.request("STREAM.DELETE." + self.stream["name"])

    def state(self):
        with self.client() as client:
            return client.request("STREAM.INFO." + self.stream["name"])["state"]

    def arrived(self):
        """The messages of the stream: subject, payload, headers."""
        with self.client() as client:
            name = self.stream["name"]
            state = client.request("STREAM.INFO." + name)["state"]
            first, last = state["first_seq"], state["last_seq"]
            if state["messages"] < len(self.found) or (self.found and self.found[0]["seq"] != first):
                self.found = []
            begin = self.found[-1]["seq"] + 1 if self.found else first
            for seq in range(begin, last + 1):
                client.publish("$JS.API.DIRECT.GET." + name, b'{"seq":%d}' % seq)
            for _ in range(begin, last + 1):
                headers, payload = client.message()
                if headers[""].startswith("NATS/1.0 4"):  # deleted
                    continue
                names = {key: headers.pop(key) for key in ("", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Stream")}
                self.found.append({"subject": names["Nats-Subject"], "seq": int(names["Nats-Sequence"]), "headers": headers,
                                   "payload": payload.decode("utf-8", "replace")})
            return list(self.found)

    def ids(self):
        return [m["headers"]["Nats-Msg-Id"] for m in self.arrived()]

    # ---- for scenarios

    def section(self, name="out", port=None, more=""):
        return "[publisher %s]\nplugin = nats\nurl = nats://relay:%s@127.0.0.1:%d\nsubject = out.{topic}\n%s\n" % (
            name, PASSWORD, port or self.port, more)

    def fill(self):
        """It refuses what comes, after the next message if there is none."""
        self.update(max_msgs=max(1, self.state()["messages"]), discard="new")

    def make_room(self):
        self.update(max_msgs=-1, discard="old")

    def refuse(self):
        """Also ends the connections of the relay."""
        self.reload(USERS % "another")

    def admit(self):
        self.reload(USERS % PASSWORD)


if __name__ == "__main__":
    server.main(Broker)
