#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the relay beside its limits, three interleaved runs, and prints the medians.

run.py BUILD_TREE STAGE [MESSAGES]: BUILD_TREE has bench/, STAGE an installation. Every run has a
fresh database with MESSAGES messages of 256 bytes (message mode: a fiftieth of them).
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = 3
CONCURRENCY = 2


def find(folder, name):
    return next(os.path.join(top, name) for top, _, files in os.walk(folder) if name in files)


def usage(pid):
    """CPU seconds of the process alone, and its peak memory in KiB; None when it is gone."""
    try:
        with open("/proc/%d/stat" % pid, encoding="ascii") as f:
            ticks = f.read().rsplit(")", 1)[1].split()[11:13]
        with open("/proc/%d/status" % pid, encoding="ascii") as f:
            peak = [int(line.split()[1]) for line in f if line.startswith("VmHWM")]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"), peak[0] if peak else 0
    except OSError:
        return None


class Bench:
    def __init__(self, build, stage, messages):
        self.build, self.messages = build, messages
        self.program = find(stage, "outboxd")
        self.plugins = os.path.dirname(find(stage, "store-sqlite.so"))
        self.work = tempfile.mkdtemp(prefix="outbox-bench-")
        self.db = os.path.join(self.work, "bench.db")

    def config(self, publisher):
        path = os.path.join(self.work, "outboxd.ini")
        with open(path, "w", encoding="utf-8") as f:
            f.write("[relay]\nplugin_dir = %s\nworkers = 1\nretention = 0\n[log]\nlevel = warning\n"
                    "[store]\nplugin = sqlite\npath = %s\n[publisher out]\nplugin = exec\n%s\n"
                    "[router]\nfallback = out\n" % (self.plugins, self.db, publisher))
        return path

    def fill(self, config, n):
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self.db + suffix):
                os.unlink(self.db + suffix)
        subprocess.run([self.program, "init", "-c", config], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["sqlite3", self.db,
                        "INSERT INTO outbox_messages (topic, payload) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
                        " SELECT i + 1 FROM n WHERE i < %d) SELECT 'bench', printf('%%256d', i) FROM n;"
                        "PRAGMA wal_checkpoint(TRUNCATE)" % n], check=True, stdout=subprocess.DEVNULL)

    def measure(self, command, n):
        """Messages a second, CPU seconds a million (of the process alone), peak KiB."""
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        last = (0, 0)
        while process.poll() is None:
            last = usage(process.pid) or last
            time.sleep(0.005)
        seconds = time.monotonic() - began
        if process.returncode != 0:
            sys.exit("%s: exit code %d" % (command, process.returncode))
        return n / seconds, last[0] / n * 1e6, last[1]

    def relay(self, publisher, n):
        config = self.config(publisher)
        self.fill(config, n)
        return self.measure([self.program, "run", "-c", config, "--once"], n)

    def bare(self):
        self.fill(self.config("command = /bin/true"), self.messages)
        return self.measure([os.path.join(self.build, "bench", "bare"), self.db], self.messages)

    def stream(self):
        return self.relay("mode = stream\nwindow = 1000\ncommand = %s" % os.path.join(self.build, "bench", "coprocess"),
                          self.messages)

    def embedded(self):
        self.fill(self.config("command = /bin/true"), self.messages)
        return self.measure([os.path.join(self.build, "bench", "embedded"), self.db, self.plugins, str(self.messages)],
                            self.messages)

    def spawn(self):
        n = self.messages // 50
        return self.measure([os.path.join(self.build, "bench", "spawn"), str(n), str(CONCURRENCY), "/bin/true"], n)

    def message(self):
        return self.relay("command = /bin/true\nconcurrency = %d" % CONCURRENCY, self.messages // 50)

    def idle(self):
        """CPU of an idle relay in per cent, over ten seconds."""
        config = self.config("command = /bin/true")
        self.fill(config, 1)
        process = subprocess.Popen([self.program, "run", "-c", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(2)
        before = usage(process.pid)[0]
        time.sleep(10)
        spent = usage(process.pid)[0] - before
        process.terminate()
        process.wait()
        return spent / 10 * 100


def main():
    bench = Bench(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 100000)
    cases = ["bare", "stream", "embedded", "spawn", "message"]
    results = {case: [] for case in cases}
    for _ in range(RUNS):
        for case in cases:
            results[case].append(getattr(bench, case)())
    idle = bench.idle()
    shutil.rmtree(bench.work)
    median = {case: [statistics.median(run[i] for run in results[case]) for i in range(3)] for case in cases}
    print("%-10s %12s %18s %10s   %s" % ("", "messages/s", "CPU s a million", "peak RSS", "of its limit"))
    for case in cases:
        limit = {"stream": "bare", "embedded": "bare", "message": "spawn"}.get(case)
        share = "%.0f %% of %s" % (100 * median[case][0] / median[limit][0], limit) if limit else ""
        print("%-10s %12.0f %18.1f %7.1f MiB   %s" % (case, *median[case][:2], median[case][2] / 1024, share))
    print("idle CPU   %.2f %%" % idle)


if __name__ == "__main__":
    main()
