/* SPDX-License-Identifier: Apache-2.0 */
#include "postgres_gate.h"

#include <stdio.h>
#include <stdlib.h>

int notifications(PGconn *db)
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

PGconn *a_listener(void)
{
    PGconn *db = open_pg();
    char sql[64];
    snprintf(sql, sizeof sql, "LISTEN outboxd_%lld",
             (long long)number("SELECT '" T "'::regclass::oid::bigint"));
    run_pg(db, sql);
    return db;
}

int wait_for(struct store *s, uint32_t ms)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = within(ms);
    int r = store_wait(s, &call, &err);
    if (r != OUTBOX_OK && r != OUTBOX_E_TIMEOUT)
        ck_abort_msg("wait: %d %s", r, err.text);
    return r;
}

static bool gate_is_shut(void)
{
    return number("SELECT count(*) FROM pg_locks WHERE " GATE_IS_SHUT) > 0;
}

void fall_asleep(struct store *s)
{
    /* On a slow machine the time may be over before it is connected, or has come to the gate. */
    struct outbox_err err = {.size = sizeof err};
    for (int64_t end = now_ms() + 20000;;) {
        bool shut = gate_is_shut();
        struct outbox_call call = within(150);
        int r = store_wait(s, &call, &err);
        if (r == OUTBOX_E_TIMEOUT && shut)
            return;
        if (r == OUTBOX_E_RETRY)
            sleep_ms(20);
        ck_assert_msg(now_ms() < end, "wait: %d %s", r, err.text);
    }
}

void rest(struct store *s)
{
    struct outbox_err err = {.size = sizeof err};
    assert_class(store_wait_stop(s, CALL, &err), OUTBOX_OK, &err);
}

int drain(struct store *s)
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

static void *wait_beside(void *arg)
{
    struct waiter *w = arg;
    int64_t end = now_ms() + 20000;
    /* It may come back early, to be asked again. */
    for (int64_t left = 20000; left > 0; left = w->r == OUTBOX_E_TIMEOUT ? end - now_ms() : 0)
        w->r = wait_for(w->s, (uint32_t)left);
    w->returned = true;
    return NULL;
}

struct waiter *begin_to_wait(struct store *s)
{
    struct waiter *w = calloc(1, sizeof *w);
    ck_assert_ptr_nonnull(w);
    w->s = s;
    pthread_create(&w->thread, NULL, wait_beside, w);
    return w;
}

void assert_waits(struct waiter *w)
{
    sleep_ms(200);
    ck_assert(!w->returned);
}

int64_t await_waiter(struct waiter *w)
{
    int64_t begun = now_ms();
    pthread_join(w->thread, NULL);
    ck_assert_int_eq(w->r, OUTBOX_OK);
    free(w);
    return now_ms() - begun;
}

void assert_seen(struct store *s, int n, int64_t within_ms)
{
    int64_t begun = now_ms();
    for (int seen = drain(s); seen < n;) {
        ck_assert_msg(now_ms() - begun < within_ms, "%d of %d after %lld ms", seen, n,
                      (long long)(now_ms() - begun));
        if (wait_for(s, 5000) == OUTBOX_OK)
            seen += drain(s);
    }
}
