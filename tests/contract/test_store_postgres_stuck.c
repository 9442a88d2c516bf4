/* SPDX-License-Identifier: Apache-2.0 */
/* Relays that stopped while the server waits for them: what they hold is freed by the others. */
#include "postgres_rig.h"
#include "unit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGE 40
/* Longer than anything waits; one for all, since another would have to be told first. */
#define PATIENT (within(120000))

struct call {
    struct store *s;
    struct outbox_batch *batch;
    int r;
    struct outbox_err err;
};

/* Does one's session wait for its client, for longer than that? */
static bool is_stuck_soon(const char *event)
{
    char condition[256];
    snprintf(condition, sizeof condition,
             "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = '%s' AND state ="
             " 'active' AND wait_event = '%s' AND state_change < now() - interval '2500 ms'",
             own_name("one"), event);
    return soon(condition);
}

static struct outbox_claim impatient(void)
{
    struct outbox_claim what = a_claim(100);
    what.hold_ms = 100; /* two seconds more are given to it */
    what.lease_ms = 2000;
    return what;
}

static void *claim_much(void *arg)
{
    struct call *c = arg;
    struct outbox_claim what = impatient();
    what.limit = LARGE; /* small enough to come with their payloads */
    c->r = try_claim(c->s, what, PATIENT, &c->batch, &c->err);
    return NULL;
}

/* Connects, and tells the session what there is to be told. */
static void warm_up(struct store *s)
{
    struct outbox_batch *batch;
    struct outbox_err err;
    assert_class(try_claim(s, impatient(), PATIENT, &batch, &err), OUTBOX_OK, &err);
    release(s, batch);
}

/* Somebody else's claims end what is stuck, and take and settle all n, as they become free. */
static void take_from_the_stuck(struct store *s, uint32_t n)
{
    struct outbox_batch *batch;
    struct outbox_err err;
    uint32_t taken = 0;
    for (int64_t begun = now_ms(); taken < n; sleep_ms(100)) {
        assert_class(try_claim(s, impatient(), within(30000), &batch, &err), OUTBOX_OK, &err);
        taken += batch->n;
        if (batch->n > 0)
            ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
        release(s, batch);
        ck_assert_msg(now_ms() - begun < 40000, "they are never free");
    }
    ck_assert_uint_eq(taken, n);
}

/* A server that sends is not idle: no time-out of its own ends that. */
START_TEST(a_relay_that_stopped_reading_loses_its_claim)
{
    pthread_t thread;
    use_mode(_i);
    struct forward *f = a_forwarder(_i);
    struct call c = {.s = instance_through(f, "one")};
    struct store *other = instance_as("one", NULL);
    warm_up(c.s); /* while there is nothing: what is held for long would end the session */
    execute("INSERT INTO " T " (topic, payload) SELECT 't', decode(repeat('ab', 1000000), 'hex')"
            " FROM generate_series(1, %d)",
            LARGE);
    forward_stall(f, true);
    pthread_create(&thread, NULL, claim_much, &c);
    ck_assert(is_stuck_soon("ClientWrite"));
    take_from_the_stuck(other, LARGE);
    forward_stall(f, false);
    pthread_join(thread, NULL);
    ck_assert_int_lt(c.r, 0);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), LARGE);
    store_close(c.s);
    forward_stop(f);
}
END_TEST

/* A settle that is cut off in its middle: the server waits for the rest. */
START_TEST(a_relay_that_stopped_writing_loses_its_claim)
{
    struct outbox_err err;
    uint8_t stale[3];
    use_mode(_i);
    struct forward *f = a_forwarder(_i);
    struct store *s = instance_through(f, "one"), *other = instance_as("one", NULL);
    produce(3);
    struct outbox_batch *batch;
    assert_class(try_claim(s, impatient(), within(30000), &batch, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(batch->n, 3);
    forward_keep_back(f, 20); /* of its COMMIT */
    assert_class(try_settle(s, batch, FAILED_CHARGED, within(300), NULL, &err), OUTBOX_E_TIMEOUT,
                 &err);
    ck_assert(is_stuck_soon("ClientRead"));
    take_from_the_stuck(other, 3);
    forward_keep_back(f, 0);
    ck_assert_uint_eq(settle_at_last(s, batch, FAILED_CHARGED, stale), 3);
    release(s, batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 3);
    store_close(s);
    forward_stop(f);
}
END_TEST

/* An application of the same role that takes its time is not a relay. */
START_TEST(a_producer_that_waits_in_its_transaction_is_left_alone)
{
    use_mode(_i);
    execute("SET application_name = '%s'", own_name("one"));
    execute("BEGIN");
    execute("INSERT INTO " T " (topic) VALUES ('slow')");
    sleep_ms(2500);
    struct store *s = instance_as("one", NULL);
    warm_up(s);
    execute("COMMIT");
    struct outbox_batch *batch = claim_soon(s);
    ck_assert_uint_eq(batch->n, 1);
    release(s, batch);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: stuck");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "stuck");
    tcase_add_loop_test(tc, a_relay_that_stopped_reading_loses_its_claim, 0, MODES_DIRECT + 1);
    tcase_add_loop_test(tc, a_relay_that_stopped_writing_loses_its_claim, 0, MODES_DIRECT);
    tcase_add_test(tc, a_producer_that_waits_in_its_transaction_is_left_alone);
    return unit_main(suite);
}
