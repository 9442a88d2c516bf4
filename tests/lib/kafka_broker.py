# SPDX-License-Identifier: Apache-2.0
"""A broker that speaks as much of Kafka's protocol as a producer needs, since no distribution has one: one node, which
writes each record to a file before it acknowledges it, and so keeps it when it is killed. Like a real one it refuses a
batch as a whole, and knows batches that come twice.   kafka_broker.py FOLDER

In FOLDER: `port`; `settings.json`, which is looked at again at each request; `topics`, a name a line; `records`, an
object a line. Settings: password (a user has to log in, as `relay`), mechanism, cert and key (TLS), ca (it asks for
certificates), partitions, auto_create, max_bytes (of a batch), error (a code, for all batches), pid_error, topic_errors
(codes by topic, in metadata and for batches), replicas, silent (no answer to batches), cut (it hangs up instead of answering that it has a
batch, so many times), configs (of topics). A record with a header `refuse` is refused with that code."""

import base64
import hashlib
import hmac
import json
import os
import secrets
import socketserver
import ssl
import struct
import sys
import threading

APIS = {0: (0, 7), 1: (0, 4), 3: (0, 4), 17: (0, 1), 18: (0, 2), 22: (0, 1), 32: (0, 1), 36: (0, 0)}
OUT_OF_ORDER, UNKNOWN_TOPIC, TOO_LARGE, WRONG_LOGIN, UNSUPPORTED_VERSION = 45, 3, 10, 58, 35


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, code):
        value = struct.unpack_from(">" + code, self.data, self.at)[0]
        self.at += struct.calcsize(code)
        return value

    def raw(self, n):
        self.at += n
        return self.data[self.at - n:self.at]

    def string(self):
        n = self.take("h")
        return None if n < 0 else self.raw(n).decode()

    def bytes(self):
        n = self.take("i")
        return None if n < 0 else self.raw(n)

    def array(self, read):
        return [read() for _ in range(max(self.take("i"), 0))]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return (value >> 1) ^ -(value & 1)
            shift += 7

    def varbytes(self):
        n = self.varint()
        return None if n < 0 else self.raw(n)


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text.encode())) + text.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def text_of(data):
    return None if data is None else data.decode("utf-8", "backslashreplace")


class Batch:
    """One record batch, of the format 2."""

    def __init__(self, data):
        r = Reader(data)
        self.size = len(data)
        r.at = 16
        if r.take("b") != 2:
            raise ValueError("an old format")
        r.at += 4
        if r.take("h") & 7:
            raise ValueError("compressed")
        r.at += 4
        self.time = r.take("q")
        r.at += 8
        self.pid, self.epoch, self.seq, self.n = r.take("q"), r.take("h"), r.take("i"), r.take("i")
        self.records = [self.record(r) for _ in range(self.n)]

    def record(self, r):
        r.varint()
        r.at += 1
        time = self.time + r.varint()
        r.varint()
        key, value = r.varbytes(), r.varbytes()
        headers = [(r.varbytes().decode(), text_of(r.varbytes())) for _ in range(r.varint())]
        return {"key": text_of(key), "value": text_of(value), "time": time, "headers": headers}

    def refusal(self):
        return next((int(v) for record in self.records for k, v in record["headers"] if k == "refuse"), 0)


class Log:
    """What the broker has: topics, and records with the state of the producers that wrote them."""

    def __init__(self, folder):
        self.folder, self.lock = folder, threading.Lock()
        self.ends, self.producers, self.next_pid, self.mtime, self.set = {}, {}, 1, 0, {}
        self.settings()
        records = os.path.join(folder, "records")
        if os.path.exists(records):
            with open(records, "rb") as f:
                whole = f.read()
            whole = whole[:whole.rfind(b"\n") + 1]
            with open(records, "wb") as f:
                f.write(whole)
            for line in whole.splitlines():
                self.reload(json.loads(line))
        self.file = open(records, "ab", buffering=0)

    def reload(self, r):
        self.ends[r["topic"], r["partition"]] = r["offset"] + 1
        if r["pid"] >= 0:
            self.next_pid = max(self.next_pid, r["pid"] + 1)
            kept = self.producers.setdefault((r["topic"], r["partition"], r["pid"]), [])
            if kept and kept[-1][0] == r["seq"]:
                kept[-1] = (r["seq"], kept[-1][1] + 1, kept[-1][2])
            else:
                kept.append((r["seq"], 1, r["offset"]))

    def settings(self):
        path = os.path.join(self.folder, "settings.json")
        mtime = os.stat(path).st_mtime_ns
        if mtime != self.mtime:
            with open(path, encoding="utf-8") as f:
                self.set, self.mtime = json.load(f), mtime
        return self.set

    def topics(self):
        try:
            with open(os.path.join(self.folder, "topics"), encoding="utf-8") as f:
                return f.read().split()
        except FileNotFoundError:
            return []

    def has(self, topic, create):
        if topic in self.topics():
            return True
        if create and self.settings().get("auto_create", True):
            with open(os.path.join(self.folder, "topics"), "a", encoding="utf-8") as f:
                f.write(topic + "\n")
            return True
        return False

    def new_pid(self):
        with self.lock:
            self.next_pid += 1
            return self.next_pid - 1

    def append(self, topic, partition, batch):
        """Error and offset."""
        settings = self.settings()
        error = settings.get("error") or settings.get("topic_errors", {}).get(topic) or batch.refusal()
        if not error and topic not in self.topics():
            error = UNKNOWN_TOPIC
        if not error and batch.size > settings.get("max_bytes", 1 << 30):
            error = TOO_LARGE
        if error:
            return error, -1
        with self.lock:
            kept = self.producers.setdefault((topic, partition, batch.pid), []) if batch.pid >= 0 else []
            for seq, n, offset in kept[-5:]:
                if (seq, n) == (batch.seq, batch.n):
                    return 0, offset
            if kept and batch.seq != (kept[-1][0] + kept[-1][1]) & 0x7FFFFFFF:
                return OUT_OF_ORDER, -1
            first = self.ends.get((topic, partition), 0)
            state = {"topic": topic, "partition": partition, "pid": batch.pid, "seq": batch.seq, "n": batch.n}
            self.file.write("".join(json.dumps({**record, **state, "offset": first + i}) + "\n"
                                    for i, record in enumerate(batch.records)).encode())
            self.ends[topic, partition] = first + batch.n
            kept.append((batch.seq, batch.n, first))
            return 0, first


class Scram:
    """The server's side; `password` is plain."""

    def __init__(self, algorithm, password):
        self.algorithm, self.password, self.first = algorithm, password, None

    def mac(self, key, data):
        return hmac.new(key, data, self.algorithm).digest()

    def step(self, data):
        """Answer, and whether that was the right one; None: not yet."""
        if not self.first:
            self.first = data.split(b",", 2)[2]
            client = self.first.rsplit(b"r=", 1)[1]
            self.salt, self.nonce = secrets.token_bytes(16), client + secrets.token_hex(8).encode()
            self.second = b"r=%s,s=%s,i=4096" % (self.nonce, base64.b64encode(self.salt))
            return self.second, None
        bare, proof = data.rsplit(b",p=", 1)
        salted = hashlib.pbkdf2_hmac(self.algorithm, self.password.encode(), self.salt, 4096)
        client_key = self.mac(salted, b"Client Key")
        text = b",".join((self.first, self.second, bare))
        signature = self.mac(hashlib.new(self.algorithm, client_key).digest(), text)
        right = bytes(a ^ b for a, b in zip(client_key, signature)) == base64.b64decode(proof)
        return b"v=" + base64.b64encode(self.mac(self.mac(salted, b"Server Key"), text)), \
            right and self.first.startswith(b"n=relay,")


class Connection(socketserver.BaseRequestHandler):
    def setup(self):
        self.log = self.server.log
        self.user = None if self.log.settings().get("password") else "anonymous"
        self.mechanism = self.scram = None

    def read(self, n):
        data = b""
        while len(data) < n:
            more = self.request.recv(n - len(data))
            if not more:
                raise ConnectionError
            data += more
        return data

    def handle(self):
        try:
            settings = self.log.settings()
            if settings.get("cert"):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(settings["cert"], settings["key"])
                if settings.get("ca"):
                    context.verify_mode = ssl.CERT_REQUIRED
                    context.load_verify_locations(settings["ca"])
                self.request = context.wrap_socket(self.request, server_side=True)
            while self.answer(Reader(self.read(struct.unpack(">i", self.read(4))[0]))):
                pass
        except (ConnectionError, ssl.SSLError, OSError):
            pass
        finally:
            self.request.close()

    def answer(self, r):
        api, version, number = r.take("h"), r.take("h"), r.take("i")
        r.string()
        if api == 18 and version > APIS[18][1]:
            body = self.versions(0, UNSUPPORTED_VERSION)
        elif api == 18:
            body = self.versions(version, 0)
        elif api == 17:
            body = self.handshake(r)
        elif api == 36:
            body = self.authenticate(r)
        elif not self.user:
            return False
        else:
            body = {0: self.produce, 3: self.metadata, 22: self.producer_id, 32: self.describe}[api](r, version)
        if body is None:
            return api == 0 and not self.cut
        self.request.sendall(struct.pack(">ii", len(body) + 4, number) + body)
        return True

    def versions(self, version, error):
        body = struct.pack(">h", error) + array([struct.pack(">hhh", k, *v) for k, v in APIS.items()])
        return body + (struct.pack(">i", 0) if version > 0 else b"")

    def handshake(self, r):
        self.mechanism, has = r.string(), self.log.settings().get("mechanism", "PLAIN")
        return struct.pack(">h", 0 if self.mechanism == has else 33) + array([string(has)])

    def authenticate(self, r):
        data, password, answer = r.bytes(), self.log.settings()["password"], b""
        if self.mechanism == "PLAIN":
            right = data.split(b"\0")[1:] == [b"relay", password.encode()]
        else:
            self.scram = self.scram or Scram("sha" + self.mechanism[-3:], password)
            answer, right = self.scram.step(data)
        if right:
            self.user = "relay"
        if right is False:
            return struct.pack(">h", WRONG_LOGIN) + string("Authentication failed") + struct.pack(">i", 0)
        return struct.pack(">h", 0) + string(None) + struct.pack(">i", len(answer)) + answer

    def metadata(self, r, version):
        n = r.take("i")
        names = self.log.topics() if n < 0 or (n == 0 and version == 0) else [r.string() for _ in range(n)]
        create = r.take("b") if version >= 4 else 1
        settings, topics = self.log.settings(), []
        one = array([struct.pack(">i", i + 1) for i in range(settings.get("replicas", 1))])
        for name in names:
            error = settings.get("topic_errors", {}).get(name) or (0 if self.log.has(name, create) else UNKNOWN_TOPIC)
            parts = [struct.pack(">hii", 0, i, 1) + one + one for i in range(0 if error else settings.get("partitions", 3))]
            topics.append(struct.pack(">h", error) + string(name) + (b"\0" if version > 0 else b"") + array(parts))
        host, port = self.request.getsockname()[:2]
        host = settings.get("host", host)
        body = struct.pack(">i", 0) if version >= 3 else b""
        body += array([struct.pack(">i", 1) + string(host) + struct.pack(">i", settings.get("port", port))
                       + (string(None) if version > 0 else b"")])
        body += string("outbox-test") if version >= 2 else b""
        body += struct.pack(">i", 1) if version >= 1 else b""
        return body + array(topics)

    def producer_id(self, _r, _version):
        error = self.log.settings().get("pid_error", 0)
        return struct.pack(">ihqh", 0, error, -1 if error else self.log.new_pid(), -1 if error else 0)

    def produce(self, r, version):
        if version >= 3:
            r.string()
        r.at += 6
        self.cut = False
        if self.log.settings().get("silent"):
            return None

        def partition(topic):
            index, data = r.take("i"), r.bytes()
            error, offset = self.log.append(topic, index, Batch(data))
            body = struct.pack(">ihq", index, error, offset)
            return body + struct.pack(">q", -1) * ((version >= 2) + (version >= 5))

        def topic():
            name = r.string()
            return string(name) + array(r.array(lambda: partition(name)))
        body = array(r.array(topic)) + (struct.pack(">i", 0) if version > 0 else b"")
        with self.log.lock:
            if self.server.cuts < self.log.settings().get("cut", 0):
                self.server.cuts += 1
                self.cut = True
        return None if self.cut else body

    def describe(self, r, version):
        r.take("i")
        kind, name = r.take("b"), r.string()
        entries = [string(k) + string(v) + b"\0" + struct.pack(">b", 1) + b"\0" + (array([]) if version > 0 else b"")
                   for k, v in self.log.settings().get("configs", {}).items()]
        return struct.pack(">i", 0) + array([struct.pack(">h", 0) + string(None) + struct.pack(">b", kind) + string(name)
                                             + array(entries)])


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

    def __init__(self, folder):
        self.log, self.cuts = Log(folder), 0
        with open(os.path.join(folder, "port"), encoding="ascii") as f:
            super().__init__(("127.0.0.1", int(f.read())), Connection)


if __name__ == "__main__":
    Server(sys.argv[1]).serve_forever()
