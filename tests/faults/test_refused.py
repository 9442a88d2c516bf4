# SPDX-License-Identifier: Apache-2.0
"""The database refuses what a relay wants to write: one row of many, for a while, or altogether. Its neighbours go on,
the row ends as a dead letter or is left alone, nobody repeats for ever, and the log says why."""

import collections
import re
import time
import uuid

import combination
import fire
import outbox_test
from fire import FULL, SHORT

setUpModule = fire.set_up_module
tearDownModule = fire.tear_down_module
ALL = [(store, "exec") for store in ("sqlite", "postgres", "postgres_leases")]
POSTGRES = ALL[1:]
SAID = "not this one"  # the database's words


class Refused(fire.Watched):
    """Two relays with two workers each, whose messages go to a program."""
    BATCH, WORKERS, RELAYS = 20, 2, 2
    GOOD = 60
    # How often a message that the database refuses may go out before it has ended or is left alone: once for each of
    # its tries, or once from each worker.
    OFTEN = 6
    # With locks also for each refusal after which another worker claims it before it is locked again: most often
    # none or two, but now and then several in a row on a machine that is busy.
    STOLEN = {"postgres": 8}
    SETTINGS = ("batch_size = %d\nworkers = %d\nlease = 5s\nmax_retries = 3\nretry_min = 10ms\nretry_max = 100ms\n"
                "poll_interval = 200ms\n" % (BATCH, WORKERS))

    def begin(self, store=""):
        self.shop(self.SETTINGS, store=store)
        self.relays = [self.start("run", log="relay-%d.log" % number) for number in range(self.RELAYS)]
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages_relays WHERE NOT clean") == self.RELAYS,
                   "the relays")

    def configure(self, settings="", store=""):
        self.SETTINGS += settings
        self.shop(self.SETTINGS, store=store)

    def logs(self):
        return "".join(self.read("relay-%d.log" % number) for number in range(self.RELAYS))

    def trigger(self, when, then="raise", event="UPDATE"):
        """Refuses a change of a row, or skips it. `then`: raise or skip."""
        if self.store_name == "sqlite":
            do = "raise(ABORT, '%s')" % SAID if then == "raise" else "raise(IGNORE)"
            self.query("CREATE TRIGGER guard BEFORE %s ON outbox_messages WHEN %s BEGIN SELECT %s; END"
                       % (event, when, do))
            return
        do = "RAISE EXCEPTION '%s'" % SAID if then == "raise" else "RETURN NULL"
        self.query("CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN %s; RETURN NULL; END$$" % do)
        self.query("CREATE TRIGGER guard BEFORE %s ON outbox_messages FOR EACH ROW WHEN (%s) EXECUTE FUNCTION guard()"
                   % (event, when))

    def mixed(self, bad=2):
        """Bad ones among good ones, in one transaction; returns both."""
        rows = ["bad" if n % (self.GOOD // bad) == 7 else "t" for n in range(self.GOOD)]
        ids = {topic: [] for topic in ("bad", "t")}
        db = self.connect()
        self.store.execute(db, "BEGIN")
        for topic in rows:
            i = str(uuid.uuid4())
            self.store.execute(db, "INSERT INTO outbox_messages (id, topic, payload) VALUES (?, ?, 'x')", [i, topic])
            ids[topic].append(i)
        self.store.execute(db, "COMMIT")
        return ids["t"], ids["bad"]

    def until_processed(self, ids, patience=outbox_test.PATIENCE):
        def left():
            done = {str(i) for i, in self.query("SELECT id FROM outbox_messages WHERE status = 'processed'")}
            return not set(ids) - done
        self.until(left, "the good ones to be processed", patience)

    def status_of(self, i):
        return self.row(i)["status"]

    def end(self):
        for relay in self.relays:
            self.stop(relay)

    def copies(self):
        return collections.Counter(a[0] for a in self.arrived())

    def end_soon(self, ids):
        often = self.OFTEN + self.STOLEN.get(self.store_name, 0)
        self.assertLessEqual(max([self.copies()[i] for i in ids], default=0), often)

    def are_sent_once(self, ids, refusals):
        """With locks a refusal ends the transaction that holds the batch: another worker may get it then."""
        twice = sum(n - 1 for i, n in self.copies().items() if i in set(ids))
        self.assertLessEqual(twice, refusals * 3 * self.BATCH if self.store_name == "postgres" else 0)

    def neighbours_go_on(self, bad_ends_as):
        """Good ones arrive, each once, now and later; bad ones not for ever."""
        good, bad = self.mixed()
        self.until_processed(good)
        later, alone = self.insert(count=10), self.insert(topic="bad")  # also a bad one that has no neighbour
        self.until_processed(later)
        self.until(lambda: all(self.status_of(i) in bad_ends_as for i in bad + [alone]),
                   "the bad ones to be %s" % " or ".join(bad_ends_as))
        time.sleep(3)  # in which nothing may go round and round
        more = self.insert(count=10)
        self.until_processed(more)
        self.end()
        self.are_sent_once(good + later + more, len(bad) + 1)
        self.end_soon(bad + [alone])
        self.assertLess(self.logs().count("\n"), 200)
        return bad + [alone]

    def says(self, pattern, patience=20):
        """The logs say so within this time."""
        self.until(lambda: re.search(pattern, self.logs(), re.I), "the logs to say " + pattern, patience)


@combination.combinations(ALL)
class Row(Refused):
    """One row is refused."""

    def test_a_trigger_refuses_the_settle_of_one(self):
        self.begin()
        self.trigger("NEW.status = 'processed' AND OLD.topic = 'bad'")
        for i in self.neighbours_go_on(("failed",)):
            row = self.row(i)
            self.assertEqual(row["retries"], 3)
            self.assertIn(SAID, row["last_error"])

    def test_any_change_of_one_is_refused(self):
        self.begin()
        self.trigger("OLD.topic = 'bad'")
        self.neighbours_go_on(("pending", "processing"))
        self.assertIn(SAID, self.logs())

    def test_a_trigger_skips_one(self):
        self.begin()
        self.trigger("OLD.topic = 'bad'", "skip")
        self.neighbours_go_on(("pending", "processing"))
        self.assertRegex(self.logs(), "level=(warning|error)")

    def test_a_delivered_one_cannot_be_deleted(self):
        """As with a foreign key: it is kept as processed, and the others are purged."""
        self.configure("retention = 1s\n")
        if self.store_name == "sqlite":
            self.trigger("OLD.topic = 'bad'", event="DELETE")
        else:
            self.query("CREATE TABLE orders (message uuid REFERENCES outbox_messages (id))")
        db = self.connect()
        self.store.execute(db, "BEGIN")
        bad = str(uuid.uuid4())
        self.store.execute(db, "INSERT INTO outbox_messages (id, topic) VALUES (?, 'bad')", [bad])
        if self.store_name != "sqlite":
            self.store.execute(db, "INSERT INTO orders VALUES (?)", [bad])
        self.store.execute(db, "COMMIT")
        good = self.insert(count=50)
        self.begin()
        self.until_processed(good + [bad])
        self.end()
        time.sleep(1)
        self.begin()  # a relay purges when it begins, and each minute
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages") == 1, "the others to be purged")
        self.assertEqual(self.status_of(bad), "processed")
        self.end()
        self.assertEqual(set(self.copies().values()), {1})
        self.assertEqual(set(self.copies()), set(good + [bad]))
        self.assertRegex(self.logs(), "level=(warning|error)")

    def test_a_delivered_one_cannot_be_deleted_at_once(self):
        """retention = 0: it is kept as processed instead of being sent again."""
        self.configure("retention = 0\n")
        self.trigger("OLD.topic = 'bad'", event="DELETE")
        good, bad = self.mixed()
        self.begin()
        self.until(lambda: self.number("SELECT count(*) FROM outbox_messages") == len(bad), "the good ones")
        self.until(lambda: all(self.status_of(i) in ("processed", "failed") for i in bad), "the bad ones to have ended")
        self.end()
        self.are_sent_once(good, len(bad))
        self.end_soon(bad)


@combination.combinations(POSTGRES)
class Check(Refused):
    def test_a_check_that_an_old_row_breaks(self):
        """A claim that writes is refused for it, and so is each settle."""
        self.shop(self.SETTINGS)
        bad = self.insert("x" * 2000)
        self.query("ALTER TABLE outbox_messages ADD CONSTRAINT small CHECK (octet_length(payload) < 1000) NOT VALID")
        good = self.insert(count=9)
        self.begin()
        self.until_processed(good)
        self.says("small")
        later = self.insert(count=9)
        self.until_processed(later)
        self.end()
        self.are_sent_once(good + later, 1)
        self.end_soon([bad])

    def test_a_row_of_a_child_table_is_not_taken_for_one_of_the_parent(self):
        """The child is made while relays run, and its rows have the places that the parent's have."""
        self.begin()
        first = self.insert(count=30)
        self.until_processed(first)
        self.query("CREATE TABLE child () INHERITS (outbox_messages)")
        children = [str(uuid.uuid4()) for _ in range(600)]
        db = self.connect()
        for n, i in enumerate(children):
            self.store.execute(db, "INSERT INTO child (seq, id, topic, payload, available_at)"
                               " VALUES (?, ?, 't', 'x', now() + interval '1 hour')", [10000 + n, i])
        parents = [i for _ in range(4) for i in self.insert(count=15)]
        self.until_processed(parents)
        time.sleep(1)
        self.end()
        arrived = self.copies()
        self.assertEqual(set(first + parents) - set(arrived), set())
        self.assertEqual(self.number("SELECT count(*) FROM child WHERE status = 'pending'"), len(children))


@combination.combinations(POSTGRES[:1] if SHORT else POSTGRES)
class Rights(Refused):
    """The relay has a role of its own, whom rights and policies restrict."""

    def setUp(self):
        super().setUp()
        self.shop(self.SETTINGS)
        self.owner, self.role = self.store.conninfo, "relay_" + self.store.schema
        self.query("CREATE ROLE %s LOGIN PASSWORD 'outbox'" % self.role)
        self.addCleanup(self.drop_role)
        self.grant("USAGE", "SCHEMA " + self.store.schema)
        self.grant("SELECT, INSERT, UPDATE, DELETE", "ALL TABLES IN SCHEMA " + self.store.schema)
        self.grant("USAGE", "ALL SEQUENCES IN SCHEMA " + self.store.schema)

    def grant(self, what, on):
        self.query("GRANT %s ON %s TO %s" % (what, on, self.role))

    def drop_role(self):
        self.query("DROP OWNED BY " + self.role)
        self.query("DROP ROLE " + self.role)

    def begin(self, store=""):
        config = self.store.config
        self.store.config = lambda more="": config(more).replace("user=outbox", "user=" + self.role)
        self.shop(self.SETTINGS, init=False)
        self.relays = [self.start("run", log="relay-%d.log" % number) for number in range(self.RELAYS)]

    def policies(self, *policies):
        self.query("ALTER TABLE outbox_messages ENABLE ROW LEVEL SECURITY")
        for number, policy in enumerate(policies):
            self.query("CREATE POLICY p%d ON outbox_messages %s" % (number, policy))

    def test_row_security_breaks_one(self):
        self.policies("FOR SELECT USING (true)", "FOR INSERT WITH CHECK (true)", "FOR DELETE USING (true)",
                      "FOR UPDATE USING (true) WITH CHECK (topic <> 'bad' OR status <> 'processed')")
        self.begin()
        self.neighbours_go_on(("failed",))
        self.assertIn("row-level security", self.logs())

    def test_row_security_that_hides_all_is_told(self):
        self.policies("FOR INSERT WITH CHECK (true)")
        self.insert(count=10)
        self.begin()
        self.says("row.?(level)?.?security")
        checked = self.outboxd("check", "--connect", code=None)
        self.assertRegex(checked.stdout + checked.stderr, "row.?(level)?.?security")
        self.query("CREATE POLICY everything ON outbox_messages USING (true)")
        self.until_counted(10, "processed")
        self.end()

    def test_a_right_is_taken_away_and_given_back(self):
        self.begin()
        first = self.insert(count=20)
        self.until_processed(first)
        for right in ("UPDATE", "SELECT"):
            self.query("REVOKE %s ON outbox_messages FROM %s" % (right, self.role))
            ids = self.insert(count=20)
            self.says("permission denied")
            time.sleep(2)
            self.grant(right, "outbox_messages")
            self.until_processed(ids)
        self.end()
        copies = self.copies()
        self.assertEqual(len(copies), 60)
        # With locks a claim needs no right that a settle needs: each worker may find that out with a batch.
        self.assertLessEqual(sum(copies.values()) - 60, self.BATCH * self.WORKERS * self.RELAYS)
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)
        self.assertLess(self.logs().count("\n"), 200)


@combination.combinations(POSTGRES[:1] if SHORT else POSTGRES)
class Settles(Refused):
    """Every settle is refused, and claims are not: what was sent is not sent again and again."""
    HELD = 180 if FULL else 25  # seconds; a settle gives up after ten

    def until_over(self, ids):
        self.until_processed(ids, 120)
        self.end()
        self.assertLessEqual(sum(self.copies().values()), len(ids) + self.BATCH * self.WORKERS * self.RELAYS)
        self.assertEqual(self.number("SELECT sum(retries) FROM outbox_messages"), 0)
        self.figures("%d messages arrived %d times" % (len(ids), sum(self.copies().values())))

    def test_a_lock_lets_claims_pass(self):
        self.shop(self.SETTINGS)
        ids, db = self.insert(count=10), self.connect()
        self.store.execute(db, "BEGIN")
        self.store.execute(db, "LOCK TABLE outbox_messages IN SHARE MODE")
        self.relays = [self.start("run", log="relay-%d.log" % number) for number in range(self.RELAYS)]
        time.sleep(self.HELD)
        self.store.execute(db, "COMMIT")
        self.until_over(ids)

    def test_a_publication_wants_an_identity(self):
        self.begin()
        first = self.insert(count=10)
        self.until_processed(first)
        name = "publication_" + self.store.schema
        self.query("CREATE PUBLICATION %s FOR TABLE outbox_messages" % name)
        self.query("ALTER TABLE outbox_messages REPLICA IDENTITY NOTHING")
        ids = self.insert(count=10)
        self.says("replica identity")
        time.sleep(5)
        self.query("ALTER TABLE outbox_messages REPLICA IDENTITY DEFAULT")
        self.until_over(first + ids)


if __name__ == "__main__":
    outbox_test.main()
