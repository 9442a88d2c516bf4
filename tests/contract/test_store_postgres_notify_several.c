/* SPDX-License-Identifier: Apache-2.0 */
/* The gate of notify = on (see notify.c) with several relays, and with whatever comes at random. */
#include "postgres_gate.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

START_TEST(all_relays_are_woken_whoever_shut_the_gate)
{
    struct store *a = the_store(), *b = an_instance();
    PGconn *p = open_pg();
    fall_asleep(a);
    ck_assert_int_eq(wait_for(b, 20000), OUTBOX_OK); /* one look after it began to listen */
    struct waiter *wa = begin_to_wait(a), *wb = begin_to_wait(b);
    assert_waits(wa);
    assert_waits(wb);
    run_pg(p, INSERT);
    ck_assert_int_lt(await_waiter(wa), 15000);
    ck_assert_int_lt(await_waiter(wb), 15000);
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
    ck_assert_int_eq(wait_for(b, 20000), OUTBOX_OK); /* connects first */
    while (wait_for(b, 200) == OUTBOX_OK)
        continue;
    struct waiter *w = begin_to_wait(b);
    sleep_ms(100);
    if (_i == 0)
        rest(a);
    else if (_i == 1)
        store_close(a);
    else
        run_pg(p, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE " GATE_IS_SHUT);
    run_pg(p, INSERT); /* perhaps before b knows */
    pthread_join(w->thread, NULL);
    free(w);
    assert_seen(b, 1, 2500);
    fall_asleep(b);
    w = begin_to_wait(b);
    assert_waits(w);
    run_pg(p, INSERT);
    ck_assert_int_lt(await_waiter(w), 15000);
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
        if (wait_for(r->s, 60000) == OUTBOX_OK)
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
            ck_assert_msg(now_ms() - begun < 30000, "round %d: %d of %d", round, relayed,
                          committed);
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
    Suite *suite = suite_create("store-postgres: notify several");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "several");
    tcase_add_test(tc, all_relays_are_woken_whoever_shut_the_gate);
    tcase_add_loop_test(tc, the_other_takes_the_gate_over, 0, 3);
    tcase_add_loop_test(tc, no_commit_is_ever_missed, 0, 2);
    return unit_main(suite);
}
