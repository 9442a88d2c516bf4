# SPDX-License-Identifier: Apache-2.0
"""A PostgreSQL of a test's own with an inbox in it; a program, too, as server.py says."""

import contextlib
import glob
import os
import pwd
import re
import signal
import subprocess
import time

import server

try:
    import psycopg2
except ImportError:
    psycopg2 = None

# As scripts/services.sh finds them: the newest.
BIN = max(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: int(re.search(r"/(\d+)/bin$", path)[1]), default="")
INBOX_SQL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "plugins", "pub-postgres", "inbox.sql")
MISSING = None
if not os.access(os.path.join(BIN, "postgres"), os.X_OK):
    MISSING = "the server of PostgreSQL is missing (Debian: postgresql)"
elif not psycopg2:
    MISSING = "psycopg2 is missing (Debian: python3-psycopg2)"
PASSWORD = "inbox-passw0rd"
PROCESS = "postgres"
# It does not run as root.
AS_USER = []
if os.getuid() == 0:
    NOBODY = pwd.getpwnam("nobody")
    AS_USER = ["setpriv", "--reuid=%d" % NOBODY.pw_uid, "--regid=%d" % NOBODY.pw_gid, "--clear-groups", "--"]

FULL = """
CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON outbox_inbox FOR EACH ROW EXECUTE FUNCTION full_disk();
"""


class Broker(server.Server):
    """The database `inbox`, with the roles `relay` and `shop` of inbox.sql; both have PASSWORD."""

    # What is committed outlives its processes, also without fsync.
    DURABLE = True
    PROCESS = PROCESS

    def __init__(self, folder, options="", hba=""):
        super().__init__(folder)
        if self.is_new:
            self.write("options", options)
            self.write("hba", hba)

    # ---- its processes

    def program(self, name, *args, **options):
        return subprocess.run([*AS_USER, os.path.join(BIN, name), *args], check=True, capture_output=True, cwd="/", **options)

    def init(self):
        data = self.path("data")
        os.mkdir(data, 0o700)
        if AS_USER:
            os.chown(data, NOBODY.pw_uid, NOBODY.pw_gid)
            path = self.folder
            while path != "/":  # the server's user has to get through
                if os.stat(path).st_uid == os.getuid():
                    os.chmod(path, os.stat(path).st_mode | 0o011)
                path = os.path.dirname(path)
        password = self.write("initdb.password", PASSWORD)
        os.chmod(password, 0o644)
        self.program("initdb", "-D", data, "-U", "outbox", "-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256",
                     "--pwfile", password, "--no-sync")
        self.append("postgresql.conf", "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\n"
                    "max_connections = 40\nlc_messages = 'C'\nlog_min_messages = warning\n%s" % self.read("options"))
        with open(os.path.join(data, "pg_hba.conf"), "w", encoding="ascii") as f:
            f.write("%s\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n" % self.read("hba"))

    def append(self, name, text):
        with open(self.path("data", name), "a", encoding="utf-8") as f:
            f.write(text)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def start(self):
        """Returns when it answers, and has the inbox."""
        is_made = os.path.exists(self.path("made"))
        if not os.path.exists(self.path("data")):
            self.init()
        command = [*AS_USER, os.path.join(BIN, "postgres"), "-D", self.path("data"), "-p", str(self.port)]
        if not self.is_running():
            self.run(PROCESS, command, cwd="/")
        self.wait(lambda: self.is_up(command), "the server")
        if not is_made:
            self.sql("CREATE ROLE relay LOGIN PASSWORD '%s'; CREATE ROLE shop LOGIN PASSWORD '%s'" % (PASSWORD, PASSWORD), "postgres")
            self.sql("CREATE DATABASE inbox OWNER shop", "postgres")
            self.script(INBOX_SQL)
            self.sql("CREATE DATABASE clean TEMPLATE inbox", "postgres")
            self.write("made", "")

    def renew(self):
        """Everything as it was after the first start, which takes longer."""
        self.sql("DROP DATABASE IF EXISTS inbox WITH (FORCE)", "postgres")
        self.sql("CREATE DATABASE inbox TEMPLATE clean OWNER shop", "postgres")
        self.sql("ALTER ROLE relay PASSWORD '%s' CONNECTION LIMIT -1" % PASSWORD, "postgres")
        self.sql("ALTER ROLE relay RESET ALL", "postgres")

    def is_running(self):
        try:
            pid = int(self.read(PROCESS + ".pid"))
        except FileNotFoundError:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        return os.path.exists("/proc/%d" % pid)

    def is_up(self, command):
        """Does it answer? Sessions of one that was killed may last a moment longer, and then the next one ends at once."""
        if not self.is_running():
            self.run(PROCESS, command, cwd="/")
            time.sleep(0.1)
        try:
            self.sql("SELECT 1", "postgres")
            return True
        except psycopg2.OperationalError:
            return False

    def stop(self):
        """As Debian's unit does it: it ends all sessions."""
        self.end(PROCESS, signal.SIGINT)

    def kill(self):
        self.end(PROCESS, signal.SIGKILL)

    def signal(self, name, sig):
        """To its sessions, too, so that all of it stops."""
        pid = int(self.read(name + ".pid"))
        os.kill(pid, sig)
        for path in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                with open(path, encoding="ascii", errors="replace") as f:
                    if int(f.read().rsplit(")", 1)[1].split()[1]) == pid:
                        os.kill(int(path.split("/")[2]), sig)

    def log(self):
        with contextlib.suppress(FileNotFoundError):
            return self.read(PROCESS + ".log")[-2000:]
        return ""

    # ---- the database

    def conninfo(self, user, database="inbox", port=None):
        return "host=127.0.0.1 port=%d user=%s dbname=%s sslmode=disable" % (port or self.port, user, database)

    def connect(self, user="outbox", database="inbox"):
        return psycopg2.connect(self.conninfo(user, database) + " connect_timeout=5 password=" + PASSWORD)

    def sql(self, text, database="inbox", *args):
        """The owner's; each statement by itself. Returns the rows, if there are some."""
        db = self.connect(database=database)
        try:
            db.autocommit = True
            with db.cursor() as cursor:
                cursor.execute(text, args or None)
                return cursor.fetchall() if cursor.description else None
        finally:
            db.close()

    def script(self, path, user="outbox"):
        """By psql, with the variables of inbox.sql."""
        subprocess.run([os.path.join(BIN, "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-v", "relay=relay", "-v", "receiver=shop",
                        "-f", path, self.conninfo(user)], check=True, capture_output=True, env=dict(os.environ, PGPASSWORD=PASSWORD))

    def ids(self):
        return [i for (i,) in self.sql("SELECT message_id FROM outbox_inbox ORDER BY position")]

    def section(self, name="out", port=None, more=""):
        return ("[publisher %s]\nplugin = postgres\nconninfo = %s\npassword = %s\n%s\n"
                % (name, self.conninfo("relay", port=port), PASSWORD, more))

    # ---- what may happen to it

    def fill(self):
        self.sql(FULL)

    def make_room(self):
        self.sql("DROP TRIGGER full_disk ON outbox_inbox")

    def refuse(self):
        """Another password, and nobody stays logged in."""
        self.sql("ALTER ROLE relay PASSWORD 'another'")
        self.disconnect()

    def admit(self):
        self.sql("ALTER ROLE relay PASSWORD '%s'" % PASSWORD)

    def disconnect(self):
        """Ends the relay's sessions."""
        return len(self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'relay'"))


if __name__ == "__main__":
    server.main(Broker)
