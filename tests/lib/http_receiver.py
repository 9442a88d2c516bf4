# SPDX-License-Identifier: Apache-2.0
"""A receiver of webhooks of a test's own, which does as files in its folder say, and writes down what arrives; a program,
too, as server.py says. Before it there may be an nginx, which speaks HTTP/2, or answers everything itself, fast."""

import base64
import http.server
import json
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import server

NGINX = server.program("nginx")
MISSING = None
FAST_MISSING = None if NGINX else "nginx is missing (Debian: nginx)"

NGINX_CONF = """daemon off; master_process off; pid %(folder)s/nginx.pid.own; error_log %(folder)s/nginx.errors;
events { worker_connections 4096; }
http {
  log_format own '$connection $connection_requests $server_protocol $status $http_webhook_id';
  access_log %(folder)s/access.log own;
  client_body_temp_path %(folder)s/body; proxy_temp_path %(folder)s/proxy; fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi; scgi_temp_path %(folder)s/scgi;
  keepalive_requests 10000000; client_max_body_size 0; http2_max_concurrent_streams 128;
  server {
    listen 127.0.0.1:%(port)d %(listen)s;
    %(tls)s
    location / { %(location)s }
  }
  upstream behind { server 127.0.0.1:%(inner)d; keepalive 100; }
  %(behind)s
}
"""


class Broker(server.Server):
    """What it has accepted is in a file before it answers. `tls`: the folder has cert.pem and key.pem, and clients.pem, an
    authority, if clients need certificates. `http2`: nginx stands before it. `fast`: there is nothing but nginx, for
    measurements; it writes down ids after it has answered."""

    PROCESS = "receiver"
    SECRETS = ("relays-s3cret", )  # a token that is not looked at unless say() says so
    DURABLE = True

    def __init__(self, folder, tls=False, http2=False, fast=False):
        super().__init__(folder)
        if self.is_new:
            self.write("token", self.SECRETS[0])
            self.write("options", json.dumps({"tls": tls, "http2": http2, "fast": fast, "inner": server.free_port()}))
        self.options = json.loads(self.read("options"))

    # ---- its life

    def start(self):
        options = self.options
        if not options["fast"]:
            self.run("receiver", [sys.executable, os.path.abspath(__file__), "serve", self.folder])
        if options["fast"] or options["http2"]:
            tls = "ssl_certificate %(f)s/cert.pem; ssl_certificate_key %(f)s/key.pem;" % {"f": self.folder} if options["tls"] else ""
            # With HTTP/2 it must read a body before it answers: libcurl before 8.1 wants that.
            location = "return 204;" if options["fast"] and not options["http2"] else \
                'proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_read_timeout 600s;'
            behind = "server { listen 127.0.0.1:%d; access_log off; location / { return 204; } }" % options["inner"]
            listen = ("ssl " if options["tls"] else "") + ("http2" if options["http2"] else "")
            self.write("nginx.conf", NGINX_CONF % {"folder": self.folder, "port": self.port, "tls": tls, "location": location,
                                                   "inner": options["inner"], "behind": behind if options["fast"] else "",
                                                   "listen": listen})
            self.run("nginx", [NGINX, "-c", self.path("nginx.conf"), "-e", self.path("nginx.errors")])
            if not options["fast"]:
                self.wait(lambda: self.answers_at(options["inner"]), "the receiver")
        self.wait(self.answers, "the receiver")

    @staticmethod
    def answers_at(port):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.end("receiver")
        self.end("nginx")

    def kill(self):
        self.end("receiver", signal.SIGKILL)
        self.end("nginx", signal.SIGKILL)

    def log(self):
        return "".join(self.read(name)[-1500:] for name in ("receiver.log", "nginx.errors") if os.path.exists(self.path(name)))

    # ---- what it does

    def say(self, *rules):
        """Rules are objects; the first one that matches a request (`path`, `body`: regular expressions; `times`: so many
        requests) says what it gets: `status`, `headers`, `text`, `delay` s; `cut`: the connection ends without an answer.
        `authorization`: the header that it must have, else 401; "token": the last token. No rule: 204."""
        self.write("rules.new", json.dumps(rules))
        os.rename(self.path("rules.new"), self.path("rules"))

    def fill(self):
        self.say({"status": 507, "text": "no room"})

    def make_room(self):
        self.say()

    def refuse(self):
        self.say({"status": 401})

    def admit(self):
        self.say()

    def section(self, name="out", port=None, more=""):
        origin = "https://localhost" if self.options["tls"] else "http://127.0.0.1"
        login = "" if "bearer_token" in more or "oauth2" in more else "bearer_token_file = %s\n" % self.path("token")
        return ("[publisher %s]\nplugin = http\nurl = %s:%d/hooks\nallow_private = yes\n%s%s\n"
                % (name, origin, port or self.port, login, more))

    # ---- what has arrived

    def lines(self, name):
        try:
            return [line[:-1] for line in self.read(name).splitlines(True) if line.endswith("\n")]
        except FileNotFoundError:
            return []

    def requests(self):
        """All that came, in order: objects with method, path, headers (names in lower case), body (bytes), status,
        connection (a number), ids."""
        found = [json.loads(line) for line in self.lines("requests")]
        for request in found:
            request["body"] = base64.b64decode(request["body"])
        return found

    def accepted(self):
        return [request for request in self.requests() if request["status"] < 300 and request["ids"]]

    def ids(self):
        if self.options["fast"]:
            return [line.split(" ", 4)[4] for line in self.lines("access.log") if line.split(" ", 4)[4] != "-"]
        return self.lines("ids")


# ---- the receiver itself

def ids_of(headers, body):
    """The ids of the messages in a request."""
    kind = headers.get("content-type", "")
    try:
        if kind.startswith("application/cloudevents-batch+json"):
            return [event["id"] for event in json.loads(body)]
        if kind.startswith("application/cloudevents+json"):
            return [json.loads(body)["id"]]
    except (ValueError, KeyError, TypeError):
        return []
    found = headers.get("webhook-id") or headers.get("ce-id")
    return [found] if found else []


class State:
    def __init__(self, broker):
        self.broker = broker
        self.lock = threading.Lock()
        self.rules, self.mtime, self.connections = [], None, 0
        self.files = {name: open(broker.path(name), "ab", buffering=0) for name in ("requests", "ids", "tokens")}

    def append(self, name, lines):
        self.files[name].write("".join(line + "\n" for line in lines).encode())

    def rule(self, path, body):
        """The first rule that matches, and one of its times is used up."""
        try:
            mtime = os.stat(self.broker.path("rules")).st_mtime_ns
        except FileNotFoundError:
            return {}
        if mtime != self.mtime:
            self.rules, self.mtime = json.loads(self.broker.read("rules")), mtime
        for rule in self.rules:
            if re.search(rule.get("path", ""), path) and re.search(rule.get("body", "").encode(), body, re.S) and \
                    rule.get("times", 1) > 0:
                rule["times"] = rule.get("times", 1 << 60) - 1
                return rule
        return {}


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state = None

    def setup(self):
        super().setup()
        with self.state.lock:
            self.state.connections += 1
            self.number = self.state.connections

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with self.state.lock:
            rule = self.state.rule(self.path, body)
        if rule.get("delay"):
            time.sleep(rule["delay"])
        if self.path == "/token":
            self.token(rule, headers, body)
            return
        status = rule.get("status", 204)
        wanted = rule.get("authorization")
        if wanted == "token":
            wanted = "Bearer " + (self.state.broker.lines("tokens") or ["none"])[-1]
        if wanted and headers.get("authorization") != wanted:
            status = 401
        ids = ids_of(headers, body)
        with self.state.lock:
            if status < 300 and not rule.get("cut"):
                self.state.append("ids", ids)
            self.state.append("requests", [json.dumps(
                {"method": self.command, "path": self.path, "headers": headers, "body": base64.b64encode(body).decode(),
                 "status": 999 if rule.get("cut") else status, "connection": self.number, "ids": ids})])
        if rule.get("cut"):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
            self.close_connection = True
            return
        self.reply(status, rule.get("headers", {}), rule.get("text", ""))

    do_PUT = do_GET = do_POST

    def token(self, rule, headers, body):
        """Of an OAuth2 client `relay` with the secret in the file `client_secret`."""
        login = base64.b64encode(("relay:" + self.state.broker.read("client_secret")).encode()).decode()
        with self.state.lock:
            self.state.append("requests", [json.dumps(
                {"method": self.command, "path": self.path, "headers": headers, "body": base64.b64encode(body).decode(),
                 "status": 200, "connection": self.number, "ids": []})])
        if rule.get("status"):
            self.reply(rule["status"], rule.get("headers", {}), rule.get("text", ""))
        elif headers.get("authorization") != "Basic " + login:
            self.reply(401, {}, '{"error": "invalid_client"}')
        else:
            token = base64.b64encode(os.urandom(24)).decode()
            with self.state.lock:
                self.state.append("tokens", [token])
            self.reply(200, {"Content-Type": "application/json"}, json.dumps(
                {"access_token": token, "token_type": "Bearer", "expires_in": rule.get("expires_in", 3600)}))

    def reply(self, status, headers, text):
        lines = ["HTTP/1.1 %d said" % status]
        lines += ["%s: %s" % item for item in headers.items()]
        if status != 204:
            lines.append("Content-Length: %d" % len(text.encode()))
        self.wfile.write(("\r\n".join(lines) + "\r\n\r\n" + (text if status != 204 else "")).encode())


class Threads(http.server.ThreadingHTTPServer):
    request_queue_size = 512
    daemon_threads = True

    def __init__(self, address, handler, context=None):
        super().__init__(address, handler)
        self.context = context

    def finish_request(self, request, address):
        if self.context:  # in the connection's own thread
            request = self.context.wrap_socket(request, server_side=True)
        self.RequestHandlerClass(request, address, self)

    def handle_error(self, request, address):
        pass


def serve(folder):
    broker = Broker(folder)
    behind = broker.options["http2"]
    context = None
    if broker.options["tls"] and not behind:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(broker.path("cert.pem"), broker.path("key.pem"))
        if os.path.exists(broker.path("clients.pem")):
            context.load_verify_locations(broker.path("clients.pem"))
            context.verify_mode = ssl.CERT_REQUIRED
    Receiver.state = State(broker)
    Threads(("127.0.0.1", broker.options["inner"] if behind else broker.port), Receiver, context).serve_forever(0.1)


# ---- a proxy

class Proxy:
    """An HTTP proxy of the test's own process, for CONNECT and for whole urls. `seen`: (method, target, login or None)."""

    def __init__(self, login=None):
        self.seen = []
        self.login = login and "Basic " + base64.b64encode(login.encode()).decode()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_CONNECT(self):
                proxy.handle(self)

            do_POST = do_PUT = do_CONNECT

        self.threads = Threads(("127.0.0.1", 0), Handler)
        self.port = self.threads.server_address[1]
        threading.Thread(target=self.threads.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.threads.shutdown()
        self.threads.server_close()

    def handle(self, handler):
        login = handler.headers.get("proxy-authorization")
        self.seen.append((handler.command, handler.path, login))
        handler.close_connection = True
        if self.login and login != self.login:
            handler.wfile.write(b"HTTP/1.1 407 no\r\nContent-Length: 0\r\n\r\n")
            return
        whole = re.match(r"http://([^/:]+):(\d+)(/.*)", handler.path)
        host, port = whole.groups()[:2] if whole else handler.path.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as other:
            if whole:
                body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
                lines = ["%s %s HTTP/1.1" % (handler.command, whole[3])]
                lines += ["%s: %s" % item for item in handler.headers.items() if not item[0].lower().startswith("proxy-")]
                other.sendall("\r\n".join(lines + ["Connection: close", "", ""]).encode() + body)
            else:
                handler.wfile.write(b"HTTP/1.1 200 go on\r\n\r\n")
            self.pump(handler.connection, other)

    @staticmethod
    def pump(one, other):
        while True:
            for ready in select.select([one, other], [], [], 60)[0]:
                data = ready.recv(65536)
                if not data:
                    return
                (other if ready is one else one).sendall(data)


def openssl(folder, *args):
    subprocess.run(["openssl", *args], check=True, capture_output=True, cwd=folder)


def make_certificate(folder, name="localhost", cert="cert.pem", key="key.pem"):
    """One that is its own authority."""
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-x509", "-days", "2", "-subj", "/CN=" + name, "-addext",
            "subjectAltName=DNS:" + name, "-keyout", key, "-out", cert)
    os.chmod(os.path.join(folder, key), 0o600)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        server.main(Broker)
