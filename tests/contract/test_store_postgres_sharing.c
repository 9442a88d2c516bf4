/* SPDX-License-Identifier: Apache-2.0 */
/* One table, relayed at the same time by locks, by leases, through a pooler, and by the relay of
 * the Go package `outbox`. */
#include "go_table.h"
#include "postgres_rig.h"
#include "unit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES 10000
#define THERE 8000

struct relay {
    struct store *store; /* NULL: that package's */
    pthread_t thread;
    uint8_t seen[MESSAGES + 1]; /* by key */
};

static atomic_int produced, relayed;

/* Most of them are there, the others come meanwhile, delayed or rolled back at first. */
static void *keep_producing(void *arg)
{
    PGconn *db = arg;
    for (int i = THERE + 1; i <= MESSAGES; i++) {
        char sql[256];
        snprintf(sql, sizeof sql,
                 "%s; INSERT INTO " T " (topic, key, available_at) VALUES ('t', '%d', %s); COMMIT",
                 i % 50 ? "BEGIN"
                        : "BEGIN; INSERT INTO " T " (topic, key) VALUES ('t', '0');"
                          " ROLLBACK; BEGIN",
                 i, i % 10 ? "NULL" : "now() + interval '100 ms'");
        run_pg(db, sql);
    }
    produced = 1;
    return NULL;
}

static int relay_once(struct relay *w, PGconn *db)
{
    if (!w->store)
        return go_relay(db, GO_CLAIM(T), GO_SETTLE(T), w->seen);
    struct outbox_batch *batch = claim(w->store, 50, LEASE_MS);
    int n = (int)batch->n;
    for (int i = 0; i < n; i++)
        w->seen[strtol(batch->messages[i]->key.p, NULL, 10)]++;
    if (n > 0)
        ck_assert_uint_eq(settle_all(w->store, batch, DONE), 0);
    release(w->store, batch);
    return n;
}

static void *keep_relaying(void *arg)
{
    struct relay *w = arg;
    PGconn *db = w->store ? NULL : open_pg();
    int64_t end = now_ms() + 150000;
    while (relayed < MESSAGES && now_ms() < end) {
        int n = relay_once(w, db);
        relayed += n;
        if (n == 0)
            sleep_ms(2);
    }
    PQfinish(db);
    return NULL;
}

START_TEST(relays_of_every_kind_share_a_table_and_none_takes_anothers)
{
    enum { CROWD = 6 };
    struct relay *relays = calloc(CROWD, sizeof *relays);
    pthread_t producer;
    ck_assert_ptr_nonnull(relays);
    for (int i = 0; i < CROWD - 1; i++) {
        use_mode(i % N_MODES);
        relays[i].store = instance_as("one", NULL);
    }
    execute("INSERT INTO " T " (topic, key) SELECT 't', i::text FROM generate_series(1, %d) i",
            THERE);
    PGconn *db = open_pg();
    pthread_create(&producer, NULL, keep_producing, db);
    for (int i = 0; i < CROWD; i++)
        pthread_create(&relays[i].thread, NULL, keep_relaying, &relays[i]);
    pthread_join(producer, NULL);
    for (int i = 0; i < CROWD; i++)
        pthread_join(relays[i].thread, NULL);
    for (int key = 0; key <= MESSAGES; key++) {
        int times = 0;
        for (int i = 0; i < CROWD; i++)
            times += relays[i].seen[key];
        ck_assert_msg(times == (key > 0), "message %d was relayed %d times", key, times);
    }
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), MESSAGES);
    PQfinish(db);
    free(relays);
}
END_TEST

static struct outbox_batch *claim_500ms(struct store *s)
{
    struct outbox_claim what = a_claim(100);
    struct outbox_batch *batch;
    struct outbox_err err;
    what.lease_ms = 500;
    assert_class(try_claim(s, what, within(5000), &batch, &err), OUTBOX_OK, &err);
    return batch;
}

START_TEST(what_another_programs_relay_left_behind_is_freed_after_a_lease)
{
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    execute("INSERT INTO " T " (topic, key) SELECT 't', i::text FROM generate_series(1, 20) i");
    ck_assert_int_eq(go_relay(the_connection(), GO_CLAIM(T), NULL, NULL), 20);
    int64_t begun = now_ms();
    struct outbox_batch *batch = claim_500ms(s);
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_int_ge(batch->next_due_ms, 0); /* somebody is to look when it ends */
    ck_assert_int_le(batch->next_due_ms, 500);
    release(s, batch);
    /* It was not dead: what it settles now is settled. */
    execute("UPDATE " T " SET status = 'processed', processed_at = now() WHERE seq <= 5");
    while ((batch = claim_500ms(s))->n == 0) {
        release(s, batch);
        ck_assert_int_lt(now_ms() - begun, 30000);
        sleep_ms(20);
    }
    ck_assert_int_ge(now_ms() - begun, 490);
    ck_assert_uint_eq(batch->n, 15);
    ck_assert_int_eq(batch->messages[0]->seq, 6);
    ck_assert_uint_eq(batch->messages[0]->retries, 0);
    ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
    release(s, batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 20);
}
END_TEST

/* Later ones are found, too, while there is enough else to do. */
START_TEST(what_is_left_behind_later_is_found_within_seconds)
{
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    release(s, claim_500ms(s));
    execute("INSERT INTO " T " (topic, status) VALUES ('stray', 'processing')");
    execute("INSERT INTO " T " (topic) SELECT 't' FROM generate_series(1, 50000)");
    bool found = false;
    /* So slowly that the others are not all done before. */
    for (int64_t begun = now_ms(); !found; sleep_ms(20)) {
        struct outbox_batch *batch = claim_500ms(s);
        ck_assert_uint_ne(batch->more, 0);
        for (uint32_t i = 0; i < batch->n; i++)
            found |= outbox_str_eq(batch->messages[i]->topic, str("stray"));
        settle_all(s, batch, DONE_DELETED);
        release(s, batch);
        ck_assert_int_lt(now_ms() - begun, 30000);
    }
}
END_TEST

START_TEST(a_lease_of_a_dead_relay_is_freed_by_one_that_locks)
{
    use_mode(1 - _i);
    struct store *dead = instance_as("two", NULL);
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    produce(3);
    struct outbox_batch *lost = claim_500ms(dead), *batch;
    ck_assert_uint_eq(lost->n, 3);
    if (_i == MODE_LEASES)
        terminate("two"); /* locks are gone with their session */
    while ((batch = claim_500ms(s))->n == 0) {
        release(s, batch);
        sleep_ms(20);
    }
    ck_assert_uint_eq(batch->n, 3);
    ck_assert_uint_eq(settle_at_last(dead, lost, FAILED_CHARGED, NULL), 3);
    release(dead, lost);
    ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
    release(s, batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 3);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: sharing");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "sharing");
    tcase_add_test(tc, relays_of_every_kind_share_a_table_and_none_takes_anothers);
    tcase_add_loop_test(tc, what_another_programs_relay_left_behind_is_freed_after_a_lease, 0,
                        N_MODES);
    tcase_add_loop_test(tc, what_is_left_behind_later_is_found_within_seconds, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_lease_of_a_dead_relay_is_freed_by_one_that_locks, 0, MODES_DIRECT);
    return unit_main(suite);
}
