# SPDX-License-Identifier: Apache-2.0
"""A server of a test's own, in a folder that outlives the object, which may be stopped, killed and started again.

A module for a broker has a class that derives from Server, and ends with main(its class): then it is a program, too,
for commands of configurations:  MODULE.py start|stop|kill|ids FOLDER"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

PATH = os.environ.get("PATH", "") + ":/usr/sbin"
PATIENCE = 60


def program(name):
    return shutil.which(name, path=PATH)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """Its files are in `folder`. Processes have names, and NAME.pid, NAME.out and NAME.log there.

    What a broker may have besides, for those who look with hasattr: fill() and make_room(), after which it refuses messages as
    full, and takes them again; refuse() and admit(), after which it refuses the relay's login, and takes it again."""

    PROCESS = None  # its name, for signal()
    DURABLE = True  # whether what it has acknowledged outlives kill()
    SECRETS = ()  # what no log may show

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.is_new = not os.path.exists(self.path("port"))
        if self.is_new:
            self.write("port", str(free_port()))
        with open(self.path("port"), encoding="ascii") as f:
            self.port = int(f.read())

    # ---- what a broker has

    def start(self):
        """Returns when it answers."""
        raise NotImplementedError

    def stop(self):
        """As an init system does."""
        raise NotImplementedError

    def kill(self):
        """SIGKILL, of the server alone; start() follows."""
        raise NotImplementedError

    def ids(self):
        """Of the messages that have arrived, one for each arrival."""
        raise NotImplementedError

    def section(self, name="out", port=None, more=""):
        """A [publisher NAME] that publishes to it, by way of another port if there is one."""
        raise NotImplementedError

    # ---- files

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(self.path(name), 0o600)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8", errors="replace") as f:
            return f.read()

    # ---- processes

    def run(self, name, command, **options):
        with open(self.path(name + ".out"), "ab") as out, open(self.path(name + ".log"), "ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True,
                                       **options)
        self.write(name + ".pid", str(process.pid))

    def end(self, name, sig=signal.SIGTERM):
        """Ends a process, which may be the child of another one, and waits until it has ended."""
        try:
            pid = int(self.read(name + ".pid"))
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

    def signal(self, name, sig):
        os.kill(int(self.read(name + ".pid")), sig)

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def wait(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("waited for %s: %s" % (what, self.log()))
            time.sleep(0.01)

    def log(self):
        return ""


def main(make):
    """make(folder): of a server that is made already."""
    server = make(sys.argv[2])
    if sys.argv[1] == "ids":
        print("\n".join(server.ids()))
    else:
        {"start": server.start, "stop": server.stop, "kill": server.kill}[sys.argv[1]]()
