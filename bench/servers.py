#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures the relay between PostgreSQL and RabbitMQ, beside the limits of both in the same run.

servers.py BUILD_TREE STAGE WHAT [MESSAGES], with the variables of `scripts/services.sh env`. WHAT:

    throughput   MESSAGES (200000) of 256 bytes to a quorum and to a classic queue; every id must be in the queue. The
                 limit is a bare loop of librabbitmq, the best of several windows.
    latency      from commit to consumer while idle, 100 messages a second: with notify on, off, and a bare loop of
                 LISTEN, select, publish.
    producers    what notify costs those who insert: pgbench with eight clients, without a trigger, with ours while the
                 relay is busy and while it sleeps, and with one that always notifies.

Three interleaved runs each, medians."""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import psycopg2

RUNS = 3
WINDOWS = [200, 500, 1000, 2000]
QUEUE = "outbox-bench"
PG, AMQP = os.environ["OUTBOX_TEST_PG"], os.environ["OUTBOX_TEST_AMQP"]
SERVICES = os.environ["OUTBOX_SERVICES_DIR"]


def find(folder, name):
    return next(os.path.join(top, name) for top, _, files in os.walk(folder) if name in files)


def cpu_of(pids):
    """CPU seconds of these processes and of those of their children that have ended."""
    ticks = 0
    for pid in pids:
        try:
            with open("/proc/%d/stat" % pid, encoding="ascii") as f:
                ticks += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:15]))
        except OSError:
            pass
    return ticks / os.sysconf("SC_CLK_TCK")


def family(pid):
    """The process and all that descend from it."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % entry, encoding="ascii", errors="replace") as f:
                parents[int(entry)] = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass
    found = [pid]
    for p in found:
        found += [child for child, parent in parents.items() if parent == p]
    return found


def server_cpu(name):
    with open(os.path.join(SERVICES, name + ".pid"), encoding="ascii") as f:
        return cpu_of(family(int(f.read())))


def peak_kib(pid):
    try:
        with open("/proc/%d/status" % pid, encoding="ascii") as f:
            return [int(line.split()[1]) for line in f if line.startswith("VmHWM")][0]
    except (OSError, IndexError):
        return 0


class Bench:
    def __init__(self, build, stage):
        self.build, self.program = build, find(stage, "outboxd")
        self.plugins = os.path.dirname(find(stage, "store-postgres.so"))
        self.work = tempfile.mkdtemp(prefix="outbox-bench-")
        self.schema = "bench_%d" % os.getpid()
        self.sql("CREATE SCHEMA " + self.schema)
        self.table = self.schema + ".outbox_messages"

    def tool(self, name):
        return os.path.join(self.build, "bench", name)

    def sql(self, *statements):
        db = psycopg2.connect(PG)
        db.autocommit = True
        cursor = db.cursor()
        for statement in statements:
            cursor.execute(statement)
        rows = cursor.fetchall() if cursor.description else []
        db.close()
        return rows

    def config(self, relay="", store=""):
        path = os.path.join(self.work, "outboxd.ini")
        with open(path, "w", encoding="utf-8") as f:
            f.write("[relay]\nplugin_dir = %s\nretention = 0\n%s\n[log]\nlevel = warning\n[store]\nplugin = postgres\n"
                    "conninfo = %s\ntable = %s\n%s\n[publisher out]\nplugin = amqp\nurl = %s\nmode = queue\nqueue = %s\n"
                    "[router]\nfallback = out\n" % (self.plugins, relay, PG, self.table, store, AMQP, QUEUE))
        os.chmod(path, 0o600)
        return path

    def fresh_table(self, config):
        self.sql("DROP SCHEMA %s CASCADE" % self.schema, "CREATE SCHEMA " + self.schema)
        subprocess.run([self.program, "init", "-c", config], check=True, stdout=subprocess.DEVNULL)

    def declare(self, kind):
        subprocess.run([self.tool("declare"), AMQP, QUEUE, kind], check=True)

    def close(self):
        self.sql("DROP SCHEMA %s CASCADE" % self.schema)
        shutil.rmtree(self.work)

    # ---- throughput

    def limit(self, kind, messages):
        best = (0, 0)
        for window in WINDOWS:
            self.declare(kind)
            out = subprocess.run([self.tool("publish"), AMQP, QUEUE, str(messages), str(window)], check=True,
                                 capture_output=True, text=True).stdout.split()
            best = max(best, (float(out[0]), float(out[1])))
        return best

    def relay(self, kind, messages, verify):
        config = self.config("workers = 4\nbatch_size = 500")
        self.declare(kind)
        self.fresh_table(config)
        self.sql("INSERT INTO %s (topic, payload) SELECT 'bench', convert_to(lpad(i::text, 256), 'UTF8')"
                 " FROM generate_series(1, %d) i" % (self.table, messages), "ANALYZE " + self.table, "CHECKPOINT")
        ids = {str(r[0]) for r in self.sql("SELECT id FROM " + self.table)} if verify else set()
        before = server_cpu("postgres"), server_cpu("rabbitmq")
        began = time.monotonic()
        process = subprocess.Popen([self.program, "run", "-c", config, "--once"], stdout=subprocess.DEVNULL)
        spent, peak = 0, 0
        while process.poll() is None:
            spent, peak = cpu_of([process.pid]) or spent, peak_kib(process.pid) or peak
            time.sleep(0.005)
        seconds = time.monotonic() - began
        if process.returncode != 0:
            sys.exit("the relay ended with %d" % process.returncode)
        after = server_cpu("postgres"), server_cpu("rabbitmq")
        if verify:
            self.verify(ids)
        million = messages / 1e6
        return (messages / seconds, spent / million, (after[0] - before[0]) / million, (after[1] - before[1]) / million,
                peak / 1024)

    @staticmethod
    def verify(ids):
        """Every id is in the queue, once, and nothing else."""
        import pika
        channel = pika.BlockingConnection(pika.URLParameters(AMQP)).channel()
        channel.basic_qos(prefetch_count=1000)
        seen = []
        for method, properties, _ in channel.consume(QUEUE, auto_ack=True, inactivity_timeout=10):
            if method is None:
                break
            seen.append(properties.message_id)
            if len(seen) == len(ids):
                break
        channel.connection.close()
        if len(seen) != len(ids) or set(seen) != ids:
            sys.exit("in the queue: %d, of them different %d, committed %d" % (len(seen), len(set(seen)), len(ids)))

    def throughput(self, messages):
        results = {kind: {"limit": [], "relay": []} for kind in ("quorum", "classic")}
        for run in range(RUNS):
            for kind, result in results.items():
                result["limit"].append(self.limit(kind, messages))
                result["relay"].append(self.relay(kind, messages, run == 0))
        print("%-8s %12s %12s %8s   CPU s a million: %7s %9s %7s  peak RSS" % (
            "queue", "limit/s", "relay/s", "share", "relay", "database", "broker"))
        for kind, result in results.items():
            limit = statistics.median(r[0] for r in result["limit"])
            relay = [statistics.median(r[i] for r in result["relay"]) for i in range(5)]
            print("# figures: %-8s limit %.0f/s, relay %.0f/s, %.0f %%; CPU s a million: relay %.1f, database %.1f, broker %.1f;"
                  " peak RSS %.1f MiB" % (kind, limit, relay[0], 100 * relay[0] / limit, *relay[1:]))

    # ---- latency

    def measure_latency(self, messages):
        out = subprocess.run([self.tool("latency"), PG, self.table, AMQP, QUEUE, str(messages), "100"], check=True,
                             capture_output=True, text=True).stdout.split()
        return [float(v) for v in out]

    def relayed(self, notify, messages):
        config = self.config("workers = 2", "notify = " + notify)
        self.declare("classic")
        self.fresh_table(config)
        process = subprocess.Popen([self.program, "run", "-c", config])
        time.sleep(1.5)
        try:
            return self.measure_latency(messages)
        finally:
            process.terminate()
            process.wait()

    def bare(self, messages):
        config = self.config()
        self.declare("classic")
        self.fresh_table(config)
        self.sql("CREATE FUNCTION %s.tell() RETURNS trigger LANGUAGE plpgsql AS"
                 " $$ BEGIN PERFORM pg_notify('%s', ''); RETURN NULL; END $$" % (self.schema, self.schema),
                 "CREATE TRIGGER tell AFTER INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION %s.tell()"
                 % (self.table, self.schema))
        process = subprocess.Popen([self.tool("listen"), PG, self.table, self.schema, AMQP, QUEUE], stdin=subprocess.PIPE)
        time.sleep(0.5)
        try:
            return self.measure_latency(messages)
        finally:
            process.stdin.close()
            process.wait()

    def latency(self, messages):
        cases = {"bare": [], "notify on": [], "notify off": []}
        for _ in range(RUNS):
            cases["bare"].append(self.bare(messages))
            cases["notify on"].append(self.relayed("on", messages))
            cases["notify off"].append(self.relayed("off", min(messages, 300)))
        for case, runs in cases.items():
            print("# figures: commit to consumer, %-10s median %.2f ms, 99th percentile %.2f ms, maximum %.2f ms"
                  % (case, *[statistics.median(r[i] for r in runs) for i in range(3)]))

    # ---- producers

    def pgbench(self, seconds):
        script = os.path.join(self.work, "insert.sql")
        with open(script, "w", encoding="ascii") as f:
            f.write("INSERT INTO %s (topic, payload) VALUES ('bench', '%s');\n" % (self.table, "x" * 256))
        out = subprocess.run(["pgbench", "-n", "-c", "8", "-j", "2", "-T", str(seconds), "-f", script, PG], check=True,
                             capture_output=True, text=True).stdout
        return float(next(line for line in out.splitlines() if line.startswith("tps")).split()[2])

    def producers(self, seconds):
        seconds = min(seconds, 20)
        cases = {"no trigger": [], "gate open": [], "gate shut": [], "always": []}
        for _ in range(RUNS):
            config = self.config("", "notify = on")
            for case, results in cases.items():
                self.fresh_table(self.config() if case in ("no trigger", "always") else config)
                holder = psycopg2.connect(PG)
                holder.autocommit = True
                listener = holder.cursor()
                if case == "always":
                    self.sql("CREATE FUNCTION %s.tell() RETURNS trigger LANGUAGE plpgsql AS"
                             " $$ BEGIN PERFORM pg_notify('%s', ''); RETURN NULL; END $$" % (self.schema, self.schema),
                             "CREATE TRIGGER tell AFTER INSERT ON %s FOR EACH STATEMENT EXECUTE FUNCTION %s.tell()"
                             % (self.table, self.schema))
                    listener.execute("LISTEN " + self.schema)
                if case == "gate shut":
                    oid = self.sql("SELECT '%s'::regclass::oid::int8" % self.table)[0][0]
                    listener.execute("SELECT pg_advisory_lock(1869968482, %d::oid::int4)" % oid)
                    listener.execute("LISTEN outboxd_%d" % oid)
                results.append(self.pgbench(seconds))
                holder.close()
        base = statistics.median(cases["no trigger"])
        for case, results in cases.items():
            tps = statistics.median(results)
            print("# figures: producers, 8 clients, %-10s %.0f commits/s, %.0f %%" % (case, tps, 100 * tps / base))


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    bench = Bench(sys.argv[1], sys.argv[2])
    what = sys.argv[3]
    amount = int(sys.argv[4]) if len(sys.argv) > 4 else {"throughput": 200000, "latency": 1000, "producers": 10}[what]
    try:
        {"throughput": bench.throughput, "latency": bench.latency, "producers": bench.producers}[what](amount)
    finally:
        bench.close()


main()
