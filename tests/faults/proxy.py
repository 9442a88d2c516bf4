#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that does to connections what networks do: it delays, stalls, resets, half-closes, and cuts after so
many bytes of one direction, so that confirms alone, or the answer to a COMMIT, can be lost.

As a program:  proxy.py TARGET_HOST:PORT [LISTEN_PORT]   prints its port, then takes one command a line:

    latency MS        each direction is delayed by so much
    stall [up|down]   nothing goes through any more, in one direction or both; connections stay
    go                as usual again: no latency, no stall, no refusal, no cuts to come
    reset             all connections end with a reset
    close [up|down]   all connections are half-closed: the end of that direction is announced, the other goes on
    cut N up|down     each connection is reset when so many more bytes went through in that direction
    lose HEX up|down  each connection is reset when these bytes come in that direction; they do not arrive
    refuse            new connections are reset at once
    count             prints how many connections there are and how many there were

up is from the client to the server, down from the server to the client. In a test: Proxy(host, port) with methods of
the same names."""

import collections
import selectors
import socket
import struct
import sys
import threading
import time

CHUNK = 65536
# What may wait for a slow or stalled receiver; beyond this the proxy reads no more.
BUFFER = 1 << 20


class Stream:
    """One direction of a connection."""

    def __init__(self, source, sink):
        self.source, self.sink = source, sink
        self.waiting = collections.deque()  # (due, bytes)
        self.size = 0
        self.ended = False  # the source has said that no more comes
        self.told = False  # and the sink was told
        self.cut_after = None
        self.losing, self.tail = None, b""  # what is looked for, and the end of what came, which may begin it

    def push(self, due, data):
        self.find(data)
        self.waiting.append((due, data))
        self.size += len(data)

    def find(self, data):
        if not self.losing or self.cut_after is not None:
            return
        seen = self.tail + data
        at = seen.find(self.losing)
        if at >= 0:
            self.cut_after = self.size + max(at - len(self.tail), 0)
        self.tail = seen[max(len(seen) - len(self.losing) + 1, 0):]


class Connection:
    def __init__(self, client, server):
        self.client, self.server = client, server
        self.up, self.down = Stream(client, server), Stream(server, client)
        self.connected = False

    def streams(self):
        return {"up": self.up, "down": self.down}

    def close(self, reset=False):
        for s in (self.client, self.server):
            if reset:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()


class Proxy:
    def __init__(self, host, port, listen_port=0):
        self.target = (host, port)
        self.listener = socket.create_server(("127.0.0.1", listen_port), backlog=128)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.delay, self.stalled, self.refusing = 0.0, set(), False
        self.connections, self.total = [], 0
        self.cuts = []  # (direction, bytes) for connections to come
        self.ended = False
        self.lock = threading.RLock()
        self.wake_r, self.wake_w = socket.socketpair()
        self.wake_r.setblocking(False)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    # ---- commands; any thread

    def latency(self, ms):
        with self._change():
            self.delay = ms / 1000

    def stall(self, *directions):
        with self._change():
            self.stalled |= set(directions or ("up", "down"))

    def go(self):
        with self._change():
            self.delay, self.stalled, self.refusing, self.cuts = 0.0, set(), False, []
            for c in self.connections:
                for stream in c.streams().values():
                    stream.cut_after = stream.losing = None

    def refuse(self):
        with self._change():
            self.refusing = True

    def reset(self):
        """Returns how many connections there were."""
        with self._change():
            n = len(self.connections)
            for c in self.connections:
                c.close(reset=True)
            self.connections = []
            return n

    def close(self, *directions):
        with self._change():
            for c in self.connections:
                for direction in directions or ("up", "down"):
                    c.streams()[direction].ended = True

    def cut(self, n, direction, future=False):
        """With `future` also connections that are made later, until go()."""
        with self._change():
            for c in self.connections:
                c.streams()[direction].cut_after = n
            if future:
                self.cuts.append((direction, n))

    def lose(self, what, direction):
        """Of the connections that there are now."""
        with self._change():
            for c in self.connections:
                stream = c.streams()[direction]
                stream.losing, stream.tail = what, b""

    def count(self):
        with self.lock:
            return len(self.connections), self.total

    def stop(self):
        with self._change():
            self.ended = True
        self.thread.join()

    # ---- inside

    def _change(self):
        proxy = self

        class Change:
            def __enter__(self):
                proxy.lock.acquire()

            def __exit__(self, *_):
                proxy.wake_w.send(b"x")  # under the lock: a proxy that has ended closes it
                proxy.lock.release()
        return Change()

    def _run(self):
        while True:
            with self.lock:
                if self.ended:
                    break
                selector, timeout = self._watch()
            events = selector.select(timeout)
            selector.close()
            with self.lock:
                for key, _ in events:
                    if key.data == "wake":
                        self.wake_r.recv(4096)
                    elif key.data == "listen":
                        self._accept()
                self._serve()
        self.reset()
        for s in (self.listener, self.wake_r, self.wake_w):
            s.close()

    def _watch(self):
        selector = selectors.DefaultSelector()
        selector.register(self.wake_r, selectors.EVENT_READ, "wake")
        selector.register(self.listener, selectors.EVENT_READ, "listen")
        wanted = collections.defaultdict(int)
        now, timeout = time.monotonic(), 5.0
        for c in self.connections:
            for direction, s in c.streams().items():
                if not s.ended and s.size < BUFFER and direction not in self.stalled:
                    wanted[s.source] |= selectors.EVENT_READ
                if s.waiting and direction not in self.stalled:
                    if s.waiting[0][0] <= now:
                        wanted[s.sink] |= selectors.EVENT_WRITE
                    else:
                        timeout = min(timeout, s.waiting[0][0] - now)
                if not c.connected:
                    wanted[c.server] |= selectors.EVENT_WRITE
        for sock, mask in wanted.items():
            selector.register(sock, mask, "data")
        return selector, timeout

    def _accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        self.total += 1
        server = socket.socket()
        for s in (client, server):
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        c = Connection(client, server)
        if self.refusing:
            c.close(reset=True)
            return
        server.connect_ex(self.target)
        for direction, n in self.cuts:
            c.streams()[direction].cut_after = n
        self.connections.append(c)

    def _serve(self):
        for c in list(self.connections):
            try:
                alive = self._serve_one(c)
            except OSError:
                alive = False
            if not alive and c in self.connections:
                c.close(reset=True)
                self.connections.remove(c)

    def _serve_one(self, c):
        """False: it has ended."""
        if not c.connected:
            error = c.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                return False
            try:
                c.server.getpeername()
                c.connected = True
            except OSError:
                return True
        now = time.monotonic()
        for direction, s in c.streams().items():
            if direction in self.stalled:
                continue
            self._read(s, now)
            if not self._write(s, now):
                return False
            if s.ended and not s.waiting and not s.told:
                s.told = True
                s.sink.shutdown(socket.SHUT_WR)
        return not (c.up.told and c.down.told)

    def _read(self, s, now):
        while not s.ended and s.size < BUFFER:
            try:
                data = s.source.recv(CHUNK)
            except BlockingIOError:
                return
            if not data:
                s.ended = True
                return
            s.push(now + self.delay, data)

    @staticmethod
    def _write(s, now):
        """False: it is to be cut here."""
        while s.waiting and s.waiting[0][0] <= now:
            due, data = s.waiting[0]
            if s.cut_after is not None:
                data = data[:s.cut_after]
            try:
                n = s.sink.send(data) if data else 0
            except BlockingIOError:
                return True
            if s.cut_after is not None:
                s.cut_after -= n
                if s.cut_after == 0:
                    return False
            _, whole = s.waiting.popleft()
            if n < len(whole):
                s.waiting.appendleft((due, whole[n:]))
            s.size -= n
        return True


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    host, _, port = sys.argv[1].rpartition(":")
    proxy = Proxy(host, int(port), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(proxy.port, flush=True)
    for line in sys.stdin:
        command, *words = line.split() or [""]
        if command in ("latency", "cut"):
            getattr(proxy, command)(int(words[0]), *words[1:])
        elif command == "lose":
            proxy.lose(bytes.fromhex(words[0]), words[1])
        elif command in ("stall", "go", "reset", "close", "refuse"):
            getattr(proxy, command)(*words)
        elif command == "count":
            print(*proxy.count(), flush=True)
        else:
            print("no such command", flush=True)
    proxy.stop()


if __name__ == "__main__":
    main()
