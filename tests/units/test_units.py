# SPDX-License-Identifier: Apache-2.0
"""The units that `make install` installs, under a real systemd: scripts/check-units.sh runs this in a root of its own, in
which systemd is process 1, as root. Nothing here is for a machine that somebody uses."""

import glob
import os
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import unittest
import uuid

PATIENCE = 60
SCORE = 2.0
ETC, STATE, DROP_INS = "/etc/outboxd", "/var/lib/outboxd", "/etc/systemd/system"
EXEC_PUBLISHER = "/usr/share/outboxd/exec-publisher.conf"
SINK = "[publisher out]\nplugin = unruly\n%s\n[router]\nfallback = out\n"
EXEC = "[publisher out]\nplugin = exec\ncommand = %s\nconcurrency = 4\n[router]\nfallback = out\n"


def run(*command, code=0, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, **kwargs)
    if code is not None and done.returncode != code:
        raise AssertionError("%s: %d\n%s%s" % (" ".join(command), done.returncode, done.stdout, done.stderr))
    return done


def until(condition, what, patience=PATIENCE):
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %d s for %s\n%s" % (patience, what, run("journalctl", "-n", "40", "-o", "cat").stdout))
        time.sleep(0.1)


def write(path, text, mode=0o644, group=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(path, mode)
    if group:
        shutil.chown(path, group=group)
    return path


class Units(unittest.TestCase):
    unit = "outboxd.service"

    def setUp(self):
        self.clean()
        self.addCleanup(self.clean)
        run("journalctl", "--rotate")
        self.cursor = re.search("cursor: (.*)", run("journalctl", "-n", "0", "--show-cursor").stdout)

    def clean(self):
        run("systemctl", "stop", "outboxd.service", "outboxd@*.service")
        run("systemctl", "reset-failed", code=None)
        for pattern in (ETC + "/*", STATE + "/*", DROP_INS + "/outboxd*"):
            for path in glob.glob(pattern):
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        run("systemctl", "daemon-reload")

    def configure(self, publishers, relay="", store="plugin = sqlite\npath = %s/%s.db", name="outboxd", init=True):
        """The file of a relay, as root writes it; and the table, as the relay's user makes it."""
        self.db = "%s/%s.db" % (STATE, name)
        path = write("%s/%s.ini" % (ETC, name), "[relay]\n%s\n[store]\n%s\n%s" % (
            relay, store % (STATE, name) if "%s" in store else store, publishers), 0o640, "outboxd")
        if init:
            os.makedirs(STATE, exist_ok=True)
            shutil.chown(STATE, "outboxd", "outboxd")
            run("runuser", "-u", "outboxd", "--", "outboxd", "-c", path, "init")
        return path

    def drop_in(self, text, unit=None):
        write("%s/%s.d/test.conf" % (DROP_INS, unit or self.unit), text)
        run("systemctl", "daemon-reload")

    def start(self, unit=None):
        run("systemctl", "start", unit or self.unit)

    def show(self, name, unit=None):
        return run("systemctl", "show", "-P", name, unit or self.unit).stdout.strip()

    def pid(self):
        return int(self.show("MainPID"))

    def journal(self):
        return run("journalctl", "-o", "cat", *(["--after-cursor", self.cursor[1]] if self.cursor else [])).stdout

    def until_status(self, *words, unit=None):
        until(lambda: all(word in self.show("StatusText", unit) for word in words), "a status with %s" % (words, ))

    def insert(self, count=1, db=None):
        ids = [str(uuid.uuid4()) for _ in range(count)]
        with sqlite3.connect(db or self.db, timeout=30) as connection:
            connection.executemany("INSERT INTO outbox_messages (id, topic, payload, headers) VALUES (?, 't', 'x', '{}')",
                                   [(i, ) for i in ids])
        return ids

    def number(self, status, db=None):
        with sqlite3.connect(db or self.db, timeout=30) as connection:
            return connection.execute("SELECT count(*) FROM outbox_messages WHERE status = ?", (status, )).fetchone()[0]

    def until_processed(self, n, db=None):
        until(lambda: self.number("processed", db) == n, "%d messages to be processed" % n)


class Life(Units):
    def test_what_is_not_configured_is_not_started_and_nothing_fails(self):
        run("systemctl", "start", "outboxd.service", "outboxd@shop.service")
        for unit in ("outboxd.service", "outboxd@shop.service"):
            self.assertEqual([self.show(name, unit) for name in ("ActiveState", "ConditionResult", "Result")],
                             ["inactive", "no", "success"])

    def test_a_relay_runs_says_how_it_is_and_stops(self):
        path = self.configure(SINK % "", init=False)
        run("systemctl", "enable", "--now", self.unit)
        self.addCleanup(run, "systemctl", "disable", self.unit)
        # Without a table it waits, and its folder is there to make one.
        self.until_status("the store is unavailable: ")
        run("runuser", "-u", "outboxd", "--", "outboxd", "init")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o640)
        self.insert(5)
        self.until_processed(5)
        self.until_status("published 5, failed 0")
        self.assertIn('Status: "published 5, failed 0"', run("systemctl", "status", self.unit).stdout)
        self.assertEqual(os.stat(STATE).st_mode & 0o777, 0o750)
        self.assertEqual(run("ps", "-o", "user=", "-p", str(self.pid())).stdout.strip(), "outboxd")
        run("systemctl", "stop", self.unit)
        self.assertEqual([self.show("ActiveState"), self.show("Result")], ["inactive", "success"])

    def test_reload_tells_whether_it_worked(self):
        self.configure(SINK % "", "workers = 2")
        self.start()
        pid = self.pid()
        self.configure(SINK % "", "workers = 3", init=False)
        run("systemctl", "reload", self.unit)
        self.assertIn("[relay] workers: 2 -> 3", self.journal())
        path = self.configure(SINK % "", "workers = many", init=False)
        run("systemctl", "reload", self.unit, code=1)
        until(lambda: "%s:2: " % path in self.journal(), "FILE:LINE in the journal")
        self.until_status("published 0, failed 0; the last reload failed: %s:2: " % path)
        self.assertEqual([self.show("ActiveState"), self.pid()], ["active", pid])
        self.configure(SINK % "", "workers = 1", init=False)
        said = run("outboxd", "reload").stdout  # by root, from outside
        self.assertIn("process %d of user" % pid, said)
        self.assertIn("workers: 3 -> 1", said)
        run("runuser", "-u", "outboxd", "--", "outboxd", "reload")
        os.kill(pid, 1)
        until(lambda: self.journal().count("reloaded") >= 4, "SIGHUP to reload")
        until(lambda: self.show("ActiveState") == "active", "the unit to be active again")

    def test_a_wrong_file_fails_once_and_the_journal_says_where(self):
        path = self.configure("nonsense = 1\n", init=False)
        run("systemctl", "start", self.unit, code=1)
        self.assertEqual([self.show(name) for name in ("ActiveState", "NRestarts", "ExecMainStatus")], ["failed", "0", "2"])
        self.assertIn("%s:6: " % path, self.journal())

    def test_a_relay_that_is_killed_comes_back_as_often_as_it_must(self):
        self.configure(SINK % "")
        self.start()
        for n in range(1, 8):
            pid = self.pid()
            os.kill(pid, 9)
            until(lambda: self.pid() not in (0, pid), "restart %d" % n)
        until(lambda: self.show("ActiveState") == "active", "the relay to be active")
        self.insert(3)
        self.until_processed(3)

    def test_the_watchdog_ends_a_relay_that_hangs_and_it_comes_back(self):
        flag = write(STATE + "/while", "")
        self.configure(SINK % ("publish = hang 3600000\nbatch_timeout = 1s\nwhile = " + flag))
        self.drop_in("[Service]\nWatchdogSec=4s\n")
        self.start()
        pid = self.pid()
        self.insert()
        until(lambda: "a thread hangs" in self.journal(), "the relay to say so")
        os.unlink(flag)
        until(lambda: self.pid() not in (0, pid), "the restart")
        self.assertIn("Watchdog timeout", self.journal())
        self.until_processed(1)

    def test_an_outage_longer_than_the_watchdog_ends_nobody(self):
        self.configure("[publisher out]\nplugin = mqtt\nurl = mqtt://127.0.0.1:1\nbatch_timeout = 3s\npublish_timeout = 1s\n[router]\nfallback = out\n")
        self.drop_in("[Service]\nWatchdogSec=2s\n")
        self.start()
        pid = self.pid()
        self.insert()
        self.until_status("publisher out is unavailable: ")
        since = time.monotonic()
        until(lambda: time.monotonic() - since > 10, "five times the watchdog's time")
        self.assertEqual([self.pid(), self.show("NRestarts")], [pid, "0"])
        run("systemctl", "stop", self.unit)

    def test_a_limit_of_where_it_may_connect_to_can_be_set(self):
        self.configure("[publisher out]\nplugin = mqtt\nurl = mqtt://127.0.0.1:1\n[router]\nfallback = out\n")
        self.drop_in("[Service]\nIPAddressDeny=any\nIPAddressAllow=localhost 10.1.0.0/16\n")
        self.start()
        self.insert()
        self.until_status("127.0.0.1:1: Connection refused")

    def test_units_beside_each_other(self):
        for name in ("a", "b"):
            self.configure(SINK % "", "name = " + name, name=name)
            self.start("outboxd@%s.service" % name)
        self.insert(2, STATE + "/a.db")
        self.insert(3, STATE + "/b.db")
        self.until_status("published 2,", unit="outboxd@a.service")
        self.until_status("published 3,", unit="outboxd@b.service")
        b = self.show("MainPID", "outboxd@b.service")
        self.configure(SINK % "", "name = a\nworkers = 5", name="a", init=False)
        run("systemctl", "reload", "outboxd@a.service")
        self.assertIn("workers: 2 -> 5", self.journal())
        run("systemctl", "stop", "outboxd@a.service")
        self.assertEqual([self.show("ActiveState", "outboxd@b.service"), self.show("MainPID", "outboxd@b.service")],
                         ["active", b])

    def test_a_longer_shutdown_timeout_than_the_units_is_waited_for(self):
        write("/opt/slow", "#!/bin/sh\necho >/var/lib/outboxd/began\nsleep 9\n", 0o755)
        self.configure(EXEC % "/opt/slow", "shutdown_timeout = 60s")
        self.drop_in("[Service]\nNoExecPaths=\nTimeoutStopSec=2s\n")
        self.start()
        self.insert()
        until(lambda: os.path.exists(STATE + "/began"), "the program")
        run("systemctl", "stop", self.unit)
        self.assertEqual(self.show("Result"), "success", self.journal())
        self.assertEqual(self.number("processed"), 1)


class Programs(Units):
    def exec_publisher(self):
        """A program that notes the ids that it gets."""
        write("/opt/note", "#!/bin/sh\nsleep 0.05\necho \"$OUTBOX_ID\" >>/var/lib/outboxd/arrived\n", 0o755)
        self.configure(EXEC % "/opt/note")

    def test_without_the_drop_in_none_runs_and_the_status_says_why(self):
        self.exec_publisher()
        self.insert()
        self.start()
        self.until_status("publisher out is unavailable: ", "/opt/note", "noexec", "exec-publisher.conf")
        self.assertFalse(os.path.exists(STATE + "/arrived"))
        # And the relay goes on when it is there.
        shutil.copytree(os.path.dirname(self.install()), DROP_INS + "/outboxd@.service.d")
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", self.unit)
        self.until_processed(1)

    def install(self):
        """As its text says."""
        folder = "%s/%s.d" % (DROP_INS, self.unit)
        os.makedirs(folder)
        shutil.copy(EXEC_PUBLISHER, folder)
        run("systemctl", "daemon-reload")
        return folder + "/exec-publisher.conf"

    def test_it_stops_in_time_under_load_and_nothing_is_lost(self):
        self.exec_publisher()
        self.install()
        self.start()
        ids = []
        for n in range(4):
            ids += self.insert(150)
            until(lambda: self.number("processed") > n * 100 + 5, "messages to flow")
            began = time.monotonic()
            run("systemctl", "restart" if n < 3 else "stop", self.unit)
            self.assertLess(time.monotonic() - began, 20)
        self.assertEqual(self.show("Result"), "success")
        self.assertEqual(self.number("processing"), 0)
        self.start()
        self.until_processed(len(ids))
        with open(STATE + "/arrived", encoding="ascii") as f:
            arrived = f.read().split()
        self.assertEqual(sorted(arrived), sorted(ids), "none lost, none twice: it was never killed")


class Secrets(Units):
    def test_a_credential_is_a_password(self):
        """Of a broker that wants one; and the commands of a person, who has no credentials folder."""
        write("/opt/mosquitto/passwords", "")
        run("mosquitto_passwd", "-b", "/opt/mosquitto/passwords", "shop", "s3cret")
        shutil.chown("/opt/mosquitto/passwords", "mosquitto")
        write("/opt/mosquitto/mosquitto.conf", "listener 1883 127.0.0.1\nallow_anonymous false\npassword_file /opt/mosquitto/passwords\n")
        with subprocess.Popen(["mosquitto", "-c", "/opt/mosquitto/mosquitto.conf"], stderr=subprocess.DEVNULL) as broker:
            self.addCleanup(broker.wait)
            self.addCleanup(broker.kill)
            os.makedirs(ETC + "/secrets", 0o700)
            write(ETC + "/secrets/mqtt-password", "s3cret\n", 0o600)
            self.configure("[publisher out]\nplugin = mqtt\nurl = mqtt://shop@127.0.0.1\n"
                           "password_file = ${CREDENTIALS_DIRECTORY}/mqtt-password\n"
                           "[router]\nfallback = out\n", init=False)
            env = dict(os.environ, CREDENTIALS_DIRECTORY=ETC + "/secrets")
            os.makedirs(STATE, exist_ok=True)
            run("outboxd", "init", env=env)
            run("chown", "-R", "outboxd:", STATE)
            self.assertIn("CREDENTIALS_DIRECTORY", run("outboxd", "check", code=2).stderr)
            run("outboxd", "check", "--connect", env=env)
            self.drop_in("[Service]\nLoadCredential=mqtt-password:%s/secrets/mqtt-password\n" % ETC)
            self.start()
            self.insert(3)
            self.until_processed(3)
            run("systemctl", "reload", self.unit)
            run("outboxd", "reload")
            run("outboxd", "status", env=env)
            self.assertNotIn("s3cret", self.journal() + self.show("StatusText"))


class Reach(Units):
    """What the sandbox leaves open."""

    def postgres(self, conninfo):
        run("systemctl", "start", "postgresql")
        until(lambda: "accepting" in run("runuser", "-u", "postgres", "--", "pg_isready", code=None).stdout, "PostgreSQL")
        psql = ("runuser", "-u", "postgres", "--", "psql", "-v", "ON_ERROR_STOP=1", "-qAt", "-d")
        run(*psql, "postgres", "-c", "DROP DATABASE IF EXISTS shop")
        run(*psql, "postgres", "-c", "DROP ROLE IF EXISTS outboxd")
        run(*psql, "postgres", "-c", "CREATE ROLE outboxd LOGIN PASSWORD 'pw'")
        run(*psql, "postgres", "-c", "CREATE DATABASE shop OWNER outboxd")
        self.configure(SINK % "", store="plugin = postgres\nconninfo = dbname=shop %s" % conninfo)
        self.start()
        run(*psql, "shop", "-c", "INSERT INTO outbox_messages (id, topic, payload, headers) "
            "VALUES (gen_random_uuid(), 't', 'x', '{}')")
        until(lambda: run(*psql, "shop", "-c", "SELECT status FROM outbox_messages").stdout.strip() == "processed",
              "the message to be processed")

    def test_postgres_by_its_unix_socket_with_the_users_name(self):
        self.postgres("host=/var/run/postgresql")

    def test_postgres_by_tcp_and_a_name_of_dns(self):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 53))

        def answer():  # every A is 127.0.0.1, and there is nothing else
            while True:
                try:
                    query, peer = server.recvfrom(512)
                except OSError:
                    return
                end = query.index(b"\0", 12) + 5
                is_a = query[end - 4:end - 2] == b"\0\1"
                reply = query[:2] + struct.pack(">HHHHH", 0x8180, 1, is_a, 0, 0) + query[12:end]
                if is_a:
                    reply += struct.pack(">HHHIH4s", 0xC00C, 1, 1, 60, 4, socket.inet_aton("127.0.0.1"))
                asked.append(query[12:end])
                server.sendto(reply, peer)
        asked = []
        threading.Thread(target=answer, daemon=True).start()
        self.addCleanup(server.close)
        write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        self.postgres("host=db.shop.test password=pw")
        self.assertTrue([q for q in asked if b"\2db\4shop\4test" in q], "the resolver asked DNS")


class Sandbox(Units):
    def test_systemd_finds_the_units_sound_and_safe(self):
        for unit in ("outboxd.service", "outboxd@shop.service"):
            done = run("systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/" + unit.replace("@shop", "@"))
            self.assertEqual([line for line in done.stderr.splitlines() if "outboxd" in line], [])
            run("systemctl", "start", unit)
            score = re.search(r"exposure level for .*: ([0-9.]+)", run("systemd-analyze", "security", "--no-pager", unit).stdout)
            print("# systemd-analyze security: %s %s" % (unit, score[1]), flush=True)
            self.assertLess(float(score[1]), SCORE)

    def test_the_user_is_made_by_the_file_for_it(self):
        entry = run("getent", "passwd", "outboxd").stdout.strip().split(":")
        self.assertEqual(entry[4:], ["Transactional outbox relay", STATE, "/usr/sbin/nologin"])
        self.assertEqual(run("id", "-gn", "outboxd").stdout.strip(), "outboxd")


class Tap(unittest.TestResult):
    def report(self, word, test, err=None):
        if err:
            said = run("journalctl", "-n", "25", "-o", "cat", code=None).stdout
            print("\n".join("# " + line for line in (self._exc_info_to_string(err, test) + said).splitlines()))
        print("%s - %s" % (word, test.id().replace("__main__.", "")), flush=True)

    def addSuccess(self, test):
        self.report("ok", test)

    def addError(self, test, err):
        super().addError(test, err)
        self.report("not ok", test, err)

    addFailure = addError


if __name__ == "__main__":
    result = Tap()
    loader, module = unittest.defaultTestLoader, sys.modules["__main__"]
    (loader.loadTestsFromNames(sys.argv[1:], module) if sys.argv[1:] else loader.loadTestsFromModule(module)).run(result)
    print("1..%d" % result.testsRun, flush=True)
    sys.exit(0 if result.wasSuccessful() else 1)
