/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that end while a batch is held, and commits whose answer is lost: no message is
 * settled twice or not at all, and none that another relay has had is touched. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PENDING "SELECT count(*) FROM " T " WHERE status = 'pending'"
#define PROCESSED "SELECT count(*) FROM " T " WHERE status = 'processed'"

/* What another relay's claim needs when ours is lost: leases end by time only. */
static void end_leases(void)
{
    execute("UPDATE " T "_leases SET until = now() - interval '1 second'");
}

START_TEST(a_connection_that_ended_while_a_batch_was_held_costs_nothing)
{
    struct outbox_err err;
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    produce(5);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 5);
    terminate("one");
    if (mode_is_pooled(_i)) /* the pooler itself still holds the line */
        ck_assert_uint_eq(settle_at_last(s, batch, DONE, NULL), 0);
    else
        assert_class(try_settle(s, batch, DONE, within(5000), NULL, &err), OUTBOX_OK, &err);
    release(s, batch);
    ck_assert_int_eq(number(PROCESSED), 5);
    ck_assert_int_eq(number("SELECT sum(retries) FROM " T), 0);
}
END_TEST

START_TEST(a_connection_that_ended_between_two_claims_is_not_even_noticed)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    produce(1);
    release(s, claim(s, 10, LEASE_MS));
    terminate("one");
    if (!mode_is_pooled(_i)) {
        assert_class(try_claim(s, a_claim(10), within(5000), &batch, &err), OUTBOX_OK, &err);
        ck_assert_uint_eq(batch->n, 1);
        release(s, batch);
    } else {
        release(s, claim_soon(s));
    }
}
END_TEST

/* Of six messages another relay settles the first two in another way, and holds the next two. */
static void others_take_four(struct store *other, struct store *third, int mode,
                             struct outbox_batch **ret_held)
{
    if (mode_is_leases(mode))
        end_leases();
    struct outbox_batch *theirs = claim(other, 2, LEASE_MS);
    ck_assert_uint_eq(theirs->n, 2);
    ck_assert_uint_eq(settle_all(other, theirs, FAILED_CHARGED), 0);
    release(other, theirs);
    *ret_held = claim(third, 2, LEASE_MS);
    ck_assert_uint_eq((*ret_held)->n, 2);
}

START_TEST(what_others_had_meanwhile_is_stale_and_left_alone)
{
    static const uint8_t with_locks[] = {1, 1, 1, 1, 0, 0}, with_leases[] = {1, 1, 1, 1, 1, 1};
    struct outbox_batch *held;
    uint8_t stale[6];
    use_mode(_i);
    struct store *s = instance_as("one", NULL), *other = instance_as("two", NULL);
    struct store *third = instance_as("three", NULL);
    produce(6);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    terminate("one");
    others_take_four(other, third, _i, &held);
    /* An ended lease freed all of them. */
    ck_assert_uint_eq(settle_at_last(s, batch, DONE_DELETED, stale), mode_is_leases(_i) ? 6 : 4);
    ck_assert_mem_eq(stale, mode_is_leases(_i) ? with_leases : with_locks, 6);
    release(s, batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed' AND retries = 1"
                            " AND last_error = 'refused' AND seq <= 2"),
                     2);
    ck_assert_uint_eq(settle_all(third, held, DONE), 0);
    release(third, held);
    ck_assert_int_eq(number(PROCESSED), 2);
    ck_assert_int_eq(number(PENDING), mode_is_leases(_i) ? 2 : 0);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), mode_is_leases(_i) ? 6 : 4);
}
END_TEST

/* ---- a commit whose answer is lost ---- */

static const struct {
    struct outbox_settle how;
    const char *after; /* is what it leaves */
} endings[] = {
    {{.action = OUTBOX_SETTLE_DONE}, "status = 'processed' AND retries = 0"},
    {{.action = OUTBOX_SETTLE_DONE, .flags = OUTBOX_SETTLE_DELETE}, "false"},
    {{.action = OUTBOX_SETTLE_FAILED, .flags = OUTBOX_SETTLE_CHARGE},
     "status = 'failed' AND retries = 1"},
    {{.action = OUTBOX_SETTLE_RETRY, .flags = OUTBOX_SETTLE_CHARGE, .delay_ms = 3600000},
     "status = 'pending' AND retries = 1 AND available_at > now()"},
};
#define N_ENDINGS 4

/* Both ways, every ending, with and without the server having committed. */
#define N_LOST (MODES_DIRECT * N_ENDINGS * 2)

START_TEST(a_settle_whose_answer_is_lost_is_done_once)
{
    struct outbox_err err;
    int mode = _i % MODES_DIRECT, ending = _i / MODES_DIRECT % N_ENDINGS;
    bool committed = _i / MODES_DIRECT / N_ENDINGS;
    use_mode(mode);
    struct forward *f = a_forwarder(mode);
    struct store *s = instance_through(f, "one");
    produce(4);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    forward_cut(f, committed ? FORWARD_CUT_ANSWER : FORWARD_CUT_REQUEST, 0);
    assert_class(try_settle(s, batch, endings[ending].how, within(5000), NULL, &err),
                 OUTBOX_E_RETRY, &err);
    ck_assert(forward_has_cut(f));
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status <> 'processing' AND"
                            " NOT (retries = 0 AND status = 'pending')"),
                     committed && ending != 1 ? 4 : 0);
    ck_assert_uint_eq(settle_at_last(s, batch, endings[ending].how, NULL), 0);
    release(s, batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE %s", endings[ending].after),
                     ending == 1 ? 0 : 4);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), ending == 1 ? 0 : 4);
    store_close(s);
    forward_stop(f);
}
END_TEST

/* The first try after a lost connection settles what is left, and its answer is lost in turn. */
START_TEST(what_was_stale_stays_so_when_the_next_answer_is_lost_too)
{
    static const uint8_t wanted[] = {1, 1, 0, 0};
    struct outbox_err err;
    uint8_t stale[4];
    use_mode(MODE_LOCKS);
    struct forward *f = a_forwarder(MODE_LOCKS);
    struct store *other = instance_as("two", NULL), *s = instance_through(f, "one");
    produce(4);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    terminate("one");
    struct outbox_batch *theirs = claim(other, 2, LEASE_MS);
    ck_assert_uint_eq(settle_all(other, theirs, DONE), 0);
    release(other, theirs);
    int tries = 0;
    do { /* the request in which it commits, whichever that is */
        while (forward_has_cut(f) && sessions("one") > 0) /* the last one's, until it notices */
            sleep_ms(5);
        forward_cut(f, FORWARD_CUT_ANSWER, tries++);
        try_settle(s, batch, DONE, within(5000), stale, &err);
        ck_assert_int_lt(tries, 20);
    } while (number(PROCESSED) == 2);
    for (int i = 0; !forward_has_cut(f) && i < 100; i++)
        sleep_ms(20);
    ck_assert(forward_has_cut(f));
    ck_assert_uint_eq(settle_at_last(s, batch, DONE, stale), 2);
    ck_assert_mem_eq(stale, wanted, 4);
    release(s, batch);
    ck_assert_int_eq(number(PROCESSED), 4);
    store_close(s);
    forward_stop(f);
}
END_TEST

/* What is cut somewhere between: the server goes on holding what it holds. */
START_TEST(our_own_old_transaction_is_nobody_elses)
{
    use_mode(_i);
    struct forward *f = a_forwarder(_i);
    struct store *s = instance_through(f, "one");
    produce(4);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    forward_orphan(f);
    int64_t begun = now_ms();
    ck_assert_uint_eq(settle_at_last(s, batch, DONE, NULL), 0);
    ck_assert_int_lt(now_ms() - begun, 30000);
    release(s, batch);
    ck_assert_int_eq(number(PROCESSED), 4);
    store_close(s);
    forward_stop(f);
}
END_TEST

/* A server that took over from another may not have had our row, and give its place and number to
 * the next. */
START_TEST(another_message_in_the_same_place_is_not_taken_for_ours)
{
    use_mode(MODE_LOCKS);
    struct store *s = instance_as("one", NULL);
    produce(1);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    terminate("one");
    execute("CREATE TEMP TABLE place AS SELECT ctid AS at, seq FROM " T);
    int there = 0;
    for (int64_t end = now_ms() + 60000; !there && now_ms() < end; sleep_ms(50)) {
        execute("DELETE FROM " T);
        execute("VACUUM " T); /* does nothing while somebody may still see the old one */
        execute("INSERT INTO " T " (seq, topic) SELECT seq, 'new' FROM place");
        there = (int)number("SELECT count(*) FROM " T " m JOIN place ON m.ctid = at");
    }
    ck_assert_int_eq(there, 1);
    ck_assert_uint_eq(settle_at_last(s, batch, DONE, NULL), 1);
    release(s, batch);
    ck_assert_int_eq(number(PENDING), 1);
}
END_TEST

/* The server works on after the relay gave up waiting for its answer. */
START_TEST(a_settle_that_timed_out_and_is_committed_later_is_done_once)
{
    struct outbox_err err;
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    produce(4);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    execute("BEGIN; LOCK TABLE " T " IN SHARE MODE"); /* which a claim's locks allow */
    assert_class(try_settle(s, batch, FAILED_CHARGED, within(300), NULL, &err), OUTBOX_E_TIMEOUT,
                 &err);
    execute("COMMIT");
    ck_assert_uint_eq(settle_at_last(s, batch, FAILED_CHARGED, NULL), 0);
    release(s, batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed' AND retries = 1"),
                     4);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: faults");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "faults");
    tcase_add_loop_test(tc, a_connection_that_ended_while_a_batch_was_held_costs_nothing, 0,
                        N_MODES);
    tcase_add_loop_test(tc, a_connection_that_ended_between_two_claims_is_not_even_noticed, 0,
                        N_MODES);
    tcase_add_loop_test(tc, what_others_had_meanwhile_is_stale_and_left_alone, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_settle_whose_answer_is_lost_is_done_once, 0, N_LOST);
    tcase_add_loop_test(tc, our_own_old_transaction_is_nobody_elses, 0, N_MODES);
    tcase_add_test(tc, another_message_in_the_same_place_is_not_taken_for_ours);
    tcase_add_test(tc, what_was_stale_stays_so_when_the_next_answer_is_lost_too);
    tcase_add_loop_test(tc, a_settle_that_timed_out_and_is_committed_later_is_done_once, 0,
                        MODES_DIRECT);
    return unit_main(suite);
}
