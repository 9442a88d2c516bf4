/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate of notify = on (see notify.c), step by step: whatever producers and relays do in which
 * order, a claim after wait() returned sees what was committed, or wait() returns again. While the
 * gate is open nobody notifies.
 */
#include "postgres_rig.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INSERT "INSERT INTO " T " (topic) VALUES ('t')"

/* ---- actors ---- */

/* Somebody who listens and holds nothing: how often the table was notified of since the last time.
 */
static int notifications(PGconn *db)
{
    PGnotify *one;
    int n = 0;
    run_pg(db, "SELECT 1"); /* brings them along */
    while ((one = PQnotifies(db))) {
        PQfreemem(one);
        n++;
    }
    return n;
}

static PGconn *a_listener(void)
{
    PGconn *db = open_pg();
    char sql[64];
    snprintf(sql, sizeof sql, "LISTEN outboxd_%lld",
             (long long)number("SELECT '" T "'::regclass::oid::bigint"));
    run_pg(db, sql);
    return db;
}

static int wait_for(struct store *s, uint32_t ms)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = within(ms);
    int r = store_wait(s, &call, &err);
    if (r != OUTBOX_OK && r != OUTBOX_E_TIMEOUT)
        ck_abort_msg("wait: %d %s", r, err.text);
    return r;
}

/* Until it sleeps: the gate is shut, by it or by another. */
static void fall_asleep(struct store *s)
{
    for (int i = 0; wait_for(s, 150) == OUTBOX_OK; i++)
        ck_assert_int_lt(i, 50);
}

static void rest(struct store *s)
{
    struct outbox_err err = {.size = sizeof err};
    assert_class(store_rest(s, CALL, &err), OUTBOX_OK, &err);
}

/* Claims and settles all there is; how many. */
static int drain(struct store *s)
{
    for (int n = 0;;) {
        struct outbox_batch *batch = claim(s, 100, LEASE_MS);
        uint32_t got = batch->n;
        if (got > 0)
            settle_all(s, batch, DONE_DELETED);
        release(s, batch);
        n += (int)got;
        if (got == 0)
            return n;
    }
}

/* A wait in a thread of its own. */
struct waiter {
    struct store *s;
    pthread_t thread;
    atomic_bool returned;
    int r;
};

static void *wait_beside(void *arg)
{
    struct waiter *w = arg;
    w->r = wait_for(w->s, 20000);
    w->returned = true;
    return NULL;
}

static struct waiter *begin_to_wait(struct store *s)
{
    struct waiter *w = calloc(1, sizeof *w);
    ck_assert_ptr_nonnull(w);
    w->s = s;
    pthread_create(&w->thread, NULL, wait_beside, w);
    return w;
}

static void assert_waits(struct waiter *w)
{
    sleep_ms(200);
    ck_assert(!w->returned);
}

/* How long it still took, ms. */
static int64_t await_waiter(struct waiter *w)
{
    int64_t begun = now_ms();
    pthread_join(w->thread, NULL);
    ck_assert_int_eq(w->r, OUTBOX_OK);
    free(w);
    return now_ms() - begun;
}

/* What follows an event that nobody may miss: claims after wait() returned, until this many rows
 * were seen. wait() may also end with its time, as long as it returns again. */
static void assert_seen(struct store *s, int n, int64_t within_ms)
{
    int64_t begun = now_ms();
    for (int seen = drain(s); seen < n;) {
        ck_assert_msg(now_ms() - begun < within_ms, "%d of %d after %lld ms", seen, n,
                      (long long)(now_ms() - begun));
        if (wait_for(s, 5000) == OUTBOX_OK)
            seen += drain(s);
    }
}

/* ---- one relay ---- */

START_TEST(a_commit_wakes_who_sleeps)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *listener = a_listener();
    fall_asleep(s);
    struct waiter *w = begin_to_wait(s);
    assert_waits(w);
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    run_pg(p, INSERT);
    assert_waits(w);
    run_pg(p, "COMMIT");
    ck_assert_int_lt(await_waiter(w), 1000);
    ck_assert_int_eq(drain(s), 2);
    ck_assert_int_eq(notifications(listener), 1); /* of one transaction */
    PQfinish(p);
    PQfinish(listener);
}
END_TEST

START_TEST(while_the_gate_is_open_nobody_notifies)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *listener = a_listener();
    run_pg(p, INSERT);
    ck_assert_int_eq(notifications(listener), 0);
    fall_asleep(s);
    run_pg(p, INSERT);
    ck_assert_int_eq(notifications(listener), 1);
    rest(s);
    run_pg(p, INSERT);
    ck_assert_int_eq(notifications(listener), 0);
    assert_seen(s, 3, 100);
    PQfinish(p);
    PQfinish(listener);
}
END_TEST

START_TEST(a_transaction_that_began_before_the_gate_was_shut_is_waited_for)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *listener = a_listener();
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    int looks = 0;
    for (int64_t end = now_ms() + 1000; now_ms() < end; looks++) {
        ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK); /* it may come any time: look */
        ck_assert_int_eq(drain(s), 0);
    }
    ck_assert_int_le(looks, 12);
    run_pg(p, "COMMIT");
    assert_seen(s, 1, 1000);
    ck_assert_int_eq(notifications(listener), 0);
    fall_asleep(s);
    PQfinish(p);
    PQfinish(listener);
}
END_TEST

START_TEST(a_commit_while_the_gate_is_pushed_is_seen)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *q = open_pg();
    for (int i = 0; i < 10; i++) {
        fall_asleep(s);
        rest(s);
        run_pg(p, "BEGIN");
        run_pg(p, INSERT);
        struct waiter *w = begin_to_wait(s); /* waits for p, with the lock asked for */
        sleep_ms(i * 12);
        run_pg(q, INSERT); /* knows that somebody waits */
        run_pg(p, "COMMIT");
        await_waiter(w);
        assert_seen(s, 2, 1000);
    }
    PQfinish(p);
    PQfinish(q);
}
END_TEST

START_TEST(what_is_rolled_back_wakes_nobody)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *listener = a_listener();
    fall_asleep(s);
    struct waiter *w = begin_to_wait(s);
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    run_pg(p, "ROLLBACK");
    run_pg(p, "BEGIN");
    run_pg(p, "SAVEPOINT a");
    run_pg(p, INSERT);
    run_pg(p, "ROLLBACK TO a");
    run_pg(p, "COMMIT");
    assert_waits(w);
    ck_assert_int_eq(notifications(listener), 0);
    run_pg(p, INSERT);
    await_waiter(w);
    ck_assert_int_eq(drain(s), 1);
    PQfinish(p);
    PQfinish(listener);
}
END_TEST

START_TEST(subtransactions_keep_the_gate_and_let_it_go)
{
    struct store *s = the_store();
    PGconn *p = open_pg();
    /* undone: the relay may sleep, and is woken by what comes after */
    run_pg(p, "BEGIN; SAVEPOINT a");
    run_pg(p, INSERT);
    run_pg(p, "ROLLBACK TO a");
    fall_asleep(s);
    struct waiter *w = begin_to_wait(s);
    run_pg(p, "SAVEPOINT b");
    run_pg(p, INSERT);
    run_pg(p, "RELEASE b");
    assert_waits(w);
    run_pg(p, "COMMIT");
    ck_assert_int_lt(await_waiter(w), 1000);
    ck_assert_int_eq(drain(s), 1);
    /* undone, but there was one before */
    rest(s);
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    run_pg(p, "SAVEPOINT a");
    run_pg(p, INSERT);
    run_pg(p, "ROLLBACK TO a");
    ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
    ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
    run_pg(p, "COMMIT");
    assert_seen(s, 1, 1000);
    /* it notified in what was undone, and found the gate open after */
    fall_asleep(s);
    run_pg(p, "BEGIN; SAVEPOINT a");
    run_pg(p, INSERT);
    run_pg(p, "ROLLBACK TO a");
    rest(s);
    run_pg(p, INSERT);
    ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
    ck_assert_int_eq(drain(s), 0);
    run_pg(p, "COMMIT");
    assert_seen(s, 1, 1000);
    PQfinish(p);
}
END_TEST

START_TEST(all_producers_that_have_the_gate_open_are_waited_for)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *q = open_pg();
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    run_pg(q, "BEGIN");
    run_pg(q, INSERT);
    ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
    run_pg(p, "COMMIT");
    assert_seen(s, 1, 1000);
    ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
    run_pg(q, "COMMIT");
    assert_seen(s, 1, 1000);
    fall_asleep(s);
    PQfinish(p);
    PQfinish(q);
}
END_TEST

START_TEST(what_was_committed_during_a_rest_is_seen_after_it)
{
    struct store *s = the_store();
    PGconn *p = open_pg();
    for (int i = 0; i < 3; i++) {
        fall_asleep(s);
        rest(s);
        rest(s); /* twice is not too much */
        run_pg(p, INSERT);
        ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
        ck_assert_int_eq(drain(s), 1);
    }
    PQfinish(p);
}
END_TEST

START_TEST(a_lost_connection_is_made_again_and_nothing_is_missed)
{
    struct outbox_err err = {.size = sizeof err};
    char conninfo[300];
    snprintf(conninfo, sizeof conninfo, "%s application_name=%s", getenv("OUTBOX_TEST_PG"),
             own_name("watch"));
    use_option("notify_conninfo", conninfo);
    struct store *s = an_instance();
    PGconn *p = open_pg();
    for (int i = 0; i < 2; i++) {
        fall_asleep(s);
        terminate("watch");
        run_pg(p, INSERT);
        struct outbox_call call = within(5000);
        int r = store_wait(s, &call, &err);
        while (r == OUTBOX_E_RETRY)
            r = store_wait(s, &call, &err);
        ck_assert_int_eq(r, OUTBOX_OK);
        ck_assert_int_eq(drain(s), 1);
    }
    PQfinish(p);
}
END_TEST

/* ---- several relays ---- */

START_TEST(all_relays_are_woken_whoever_shut_the_gate)
{
    struct store *a = the_store(), *b = an_instance();
    PGconn *p = open_pg();
    fall_asleep(a);
    ck_assert_int_eq(wait_for(b, 5000), OUTBOX_OK); /* one look after it began to listen */
    struct waiter *wa = begin_to_wait(a), *wb = begin_to_wait(b);
    assert_waits(wa);
    assert_waits(wb);
    run_pg(p, INSERT);
    ck_assert_int_lt(await_waiter(wa), 200);
    ck_assert_int_lt(await_waiter(wb), 200);
    ck_assert_int_eq(drain(a) + drain(b), 1);
    PQfinish(p);
}
END_TEST

/* 0: it rests, 1: it is closed, 2: it is killed. */
START_TEST(the_other_takes_the_gate_over)
{
    struct store *a = the_store(), *b = an_instance();
    PGconn *p = open_pg();
    fall_asleep(a);
    while (wait_for(b, 200) == OUTBOX_OK)
        continue;
    struct waiter *w = begin_to_wait(b);
    sleep_ms(100);
    if (_i == 0)
        rest(a);
    else if (_i == 1)
        store_close(a);
    else
        run_pg(p, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND"
                  " mode = 'ExclusiveLock' AND classid = 1869968482 AND"
                  " objid = '" T "'::regclass");
    run_pg(p, INSERT); /* perhaps before b knows */
    pthread_join(w->thread, NULL);
    free(w);
    assert_seen(b, 1, 2500);
    fall_asleep(b);
    w = begin_to_wait(b);
    assert_waits(w);
    run_pg(p, INSERT);
    ck_assert_int_lt(await_waiter(w), 200);
    PQfinish(p);
}
END_TEST

/* ---- at random ---- */

#define PRODUCERS 4
#define ROUNDS 60

struct producer {
    pthread_t thread;
    PGconn *db;
    unsigned seed;
    int committed;
};

static int any(struct producer *p, int n)
{
    return (int)((unsigned)rand_r(&p->seed) % (unsigned)n);
}

/* A few transactions as they come. */
static void *produce_at_random(void *arg)
{
    struct producer *p = arg;
    for (int i = any(p, 3); i >= 0; i--) {
        int rows = 0;
        run_pg(p->db, "BEGIN");
        for (int k = any(p, 3); k >= 0; k--) {
            bool undone = any(p, 3) == 0;
            run_pg(p->db, "SAVEPOINT a");
            run_pg(p->db, INSERT);
            rows += !undone;
            run_pg(p->db, undone ? "ROLLBACK TO a" : "RELEASE a");
            if (any(p, 4) == 0)
                sleep_ms(any(p, 5));
        }
        bool commits = any(p, 5) > 0;
        run_pg(p->db, commits ? "COMMIT" : "ROLLBACK");
        p->committed += commits ? rows : 0;
    }
    return NULL;
}

/* Nothing but wait() makes it look. */
struct sleeper {
    struct store *s;
    pthread_t thread;
    unsigned seed;
};
static atomic_bool ends;
static atomic_int relayed;

static void *relay_at_random(void *arg)
{
    struct sleeper *r = arg;
    while (!ends) {
        if (wait_for(r->s, 5000) == OUTBOX_OK)
            relayed += drain(r->s);
        if (rand_r(&r->seed) % 8 == 0)
            rest(r->s);
        if (rand_r(&r->seed) % 8 == 0)
            sleep_ms(rand_r(&r->seed) % 8);
    }
    return NULL;
}

/* After each burst of commits all must have been seen soon, by one relay or by two. */
START_TEST(no_commit_is_ever_missed)
{
    struct producer producers[PRODUCERS] = {{0}};
    struct sleeper relays[2] = {{.s = the_store(), .seed = 1}, {.s = an_instance(), .seed = 2}};
    int64_t longest = 0;
    for (int i = 0; i < PRODUCERS; i++)
        producers[i] = (struct producer){.db = open_pg(), .seed = (unsigned)(7 * i + _i)};
    for (int i = 0; i <= _i; i++)
        pthread_create(&relays[i].thread, NULL, relay_at_random, &relays[i]);
    for (int round = 0; round < ROUNDS; round++) {
        int committed = 0;
        for (int i = 0; i < PRODUCERS; i++)
            pthread_create(&producers[i].thread, NULL, produce_at_random, &producers[i]);
        for (int i = 0; i < PRODUCERS; i++) {
            pthread_join(producers[i].thread, NULL);
            committed += producers[i].committed;
        }
        int64_t begun = now_ms();
        while (relayed < committed) {
            ck_assert_msg(now_ms() - begun < 3000, "round %d: %d of %d", round, relayed, committed);
            sleep_ms(1);
        }
        longest = now_ms() - begun > longest ? now_ms() - begun : longest;
    }
    printf("# figures: notify, %d relays: the last of %d bursts was seen after %lld ms at most\n",
           _i + 1, ROUNDS, (long long)longest);
    ends = true;
    run_pg(producers[0].db, INSERT);
    for (int i = 0; i <= _i; i++)
        pthread_join(relays[i].thread, NULL);
    for (int i = 0; i < PRODUCERS; i++)
        PQfinish(producers[i].db);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    way.notify = "on";
    Suite *suite = suite_create("store-postgres: notify");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "notify");
    tcase_add_test(tc, a_commit_wakes_who_sleeps);
    tcase_add_test(tc, while_the_gate_is_open_nobody_notifies);
    tcase_add_test(tc, a_transaction_that_began_before_the_gate_was_shut_is_waited_for);
    tcase_add_test(tc, a_commit_while_the_gate_is_pushed_is_seen);
    tcase_add_test(tc, what_is_rolled_back_wakes_nobody);
    tcase_add_test(tc, subtransactions_keep_the_gate_and_let_it_go);
    tcase_add_test(tc, all_producers_that_have_the_gate_open_are_waited_for);
    tcase_add_test(tc, what_was_committed_during_a_rest_is_seen_after_it);
    tcase_add_test(tc, a_lost_connection_is_made_again_and_nothing_is_missed);
    tcase_add_test(tc, all_relays_are_woken_whoever_shut_the_gate);
    tcase_add_loop_test(tc, the_other_takes_the_gate_over, 0, 3);
    tcase_add_loop_test(tc, no_commit_is_ever_missed, 0, 2);
    return unit_main(suite);
}
