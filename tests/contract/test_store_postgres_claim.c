/* SPDX-License-Identifier: Apache-2.0 */
/* Which rows a claim takes, how many, in which order, and what it costs. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct store *the_way(int mode)
{
    use_mode(mode);
    return instance_as("one", NULL);
}

static void produce_many(int n, const char *columns, const char *values)
{
    execute("INSERT INTO " T " (topic%s) SELECT 't'%s FROM generate_series(1, %d) i", columns,
            values, n);
}

/* ---- how many ---- */

START_TEST(a_claim_never_takes_more_than_its_limit)
{
    struct store *s = the_way(_i), *others[2] = {an_instance(), an_instance()};
    produce_many(200, ", available_at", ", CASE i % 3 WHEN 0 THEN now() END");
    execute("BEGIN"); /* somebody holds every seventh */
    execute("SELECT 1 FROM " T " WHERE seq %% 7 = 0 FOR UPDATE");
    int n = 0;
    for (uint32_t limit = 1; limit < 14; limit++) {
        struct outbox_batch *a = claim(others[0], limit % 5 + 1, LEASE_MS);
        struct outbox_batch *b = claim(others[1], limit % 3 + 1, LEASE_MS);
        struct outbox_batch *batch = claim(s, limit, LEASE_MS);
        ck_assert_uint_eq(batch->n, limit);
        for (uint32_t i = 0; i < limit; i++)
            ck_assert_int_ne(batch->messages[i]->seq % 7, 0);
        ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
        n += (int)limit;
        release(s, batch);
        release(others[0], a);
        release(others[1], b);
    }
    execute("COMMIT");
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), n);
}
END_TEST

/* ---- in which order ---- */

/* Claims and settles full batches until one has this row. When the last one that had not began: the
 * time that claims take does not count. */
static int64_t ms_until(struct store *s, int64_t seq)
{
    int64_t last = 0;
    for (int64_t begun = now_ms();;) {
        int64_t began = now_ms() - begun;
        struct outbox_batch *batch = claim(s, 20, LEASE_MS);
        bool found = false;
        ck_assert_uint_ne(batch->more, 0);
        for (uint32_t i = 0; i < batch->n; i++)
            found |= batch->messages[i]->seq == seq;
        ck_assert_uint_eq(settle_all(s, batch, DONE_DELETED), 0);
        release(s, batch);
        if (found)
            return last;
        last = began;
        ck_assert_int_lt(began, 60000);
        sleep_ms(5);
    }
}

START_TEST(a_late_commit_is_claimed_within_a_second_however_busy_the_table_is)
{
    struct store *s = the_way(_i);
    produce_many(30000, ", seq", ", i + 1000");
    ms_until(s, 1100);
    execute("INSERT INTO " T " (topic, seq) VALUES ('late', 500)");
    ck_assert_int_le(ms_until(s, 500), 1001);
}
END_TEST

START_TEST(what_another_gave_back_is_claimed_within_a_second_however_busy_the_table_is)
{
    struct store *s = the_way(_i), *other = an_instance();
    produce_many(30000, "", "");
    struct outbox_batch *batch = claim(other, 10, LEASE_MS);
    int64_t first = batch->messages[0]->seq;
    for (int i = 0; i < 3; i++) {
        struct outbox_batch *mine = claim(s, 20, LEASE_MS);
        ck_assert_uint_eq(settle_all(s, mine, DONE), 0);
        release(s, mine);
    }
    release(other, batch);
    ck_assert_int_le(ms_until(s, first), 1001);
}
END_TEST

START_TEST(what_it_gave_back_itself_is_claimed_next)
{
    struct store *s = the_way(_i);
    produce_many(100, "", "");
    release(s, claim(s, 10, LEASE_MS));
    for (int i = 0; i < 3; i++) {
        struct outbox_batch *batch = claim(s, 10, LEASE_MS);
        ck_assert_int_eq(batch->messages[0]->seq, 1);
        release(s, batch);
    }
}
END_TEST

START_TEST(a_retry_that_is_due_does_not_make_older_messages_wait)
{
    struct store *s = the_way(_i);
    produce_many(100, ", available_at", ", CASE WHEN i > 90 THEN now() END");
    sleep_ms(5);
    release(s, claim(s, 1, LEASE_MS)); /* now it has looked */
    for (int i = 0; i < 8; i++) {
        struct outbox_batch *batch = claim(s, 10, LEASE_MS);
        ck_assert_uint_eq(batch->n, 10);
        /* fresh ones in their order, beside retries while there are any */
        ck_assert_int_eq(batch->messages[0]->seq, i < 2 ? 1 + 5 * i : 11 + 10 * (i - 2));
        ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
        release(s, batch);
    }
}
END_TEST

/* ---- what it costs ---- */

/* A claim of so many messages; its round trips. */
static int trips(struct forward *f, struct store *s, uint32_t n, struct outbox_batch **ret)
{
    int before = forward_requests(f);
    *ret = claim(s, 100, LEASE_MS);
    ck_assert_uint_eq((*ret)->n, n);
    return forward_requests(f) - before;
}

#define BATCHES 3
struct cost {
    int idle, rest, claim[BATCHES], settle[BATCHES], release[BATCHES];
};

/* The round trips of an instance since it began. */
static struct cost measure(struct forward *f, struct store *s)
{
    struct outbox_batch *batch;
    struct cost c;
    release(s, claim(s, 100, LEASE_MS));
    /* idle: nothing is held, which has to be undone with locks */
    c.idle = trips(f, s, 0, &batch);
    int before = forward_requests(f);
    release(s, batch);
    c.rest = forward_requests(f) - before;
    /* woken, then busy */
    produce_many(100 * BATCHES, "", "");
    for (int i = 0; i < BATCHES; i++) {
        c.claim[i] = trips(f, s, 100, &batch);
        before = forward_requests(f);
        ck_assert_uint_eq(settle_all(s, batch, i ? DONE : DONE_DELETED), 0);
        c.settle[i] = forward_requests(f) - before;
        release(s, batch);
        c.release[i] = forward_requests(f) - before - c.settle[i];
    }
    return c;
}

START_TEST(a_claim_takes_one_round_trip_and_a_settle_another)
{
    struct cost c = {.idle = 0};
    int64_t took = INT64_MAX;
    use_mode(_i);
    /* Every 5 s a claim looks for stuck sessions, which is a round trip more. */
    for (int tries = 0; took > 4000 && tries < 8; tries++) {
        struct forward *f = a_forwarder(_i);
        struct store *s = instance_through(f, "one");
        int64_t begun = now_ms();
        c = measure(f, s);
        took = now_ms() - begun;
        store_close(s);
        forward_stop(f);
    }
    ck_assert_int_le(c.idle, 2);
    ck_assert_int_eq(c.rest, 0);
    for (int i = 0; i < BATCHES; i++) {
        ck_assert_int_eq(c.claim[i], 1);
        ck_assert_int_eq(c.settle[i], 1);
        ck_assert_int_eq(c.release[i], 0);
    }
    printf("# figures: round trips of mode %d: idle claim %d, claim 1, settle 1, release 0\n", _i,
           c.idle);
}
END_TEST

/* 30 messages: a BEGIN, three times ten of them, a COMMIT. */
START_TEST(several_messages_are_saved_in_few_round_trips)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_new message = {.size = sizeof message, .topic = str("t")};
    const struct outbox_new *rows[30];
    struct forward *f = a_forwarder(_i);
    use_mode(_i);
    struct store *s = instance_through(f, "one");
    for (size_t i = 0; i < 30; i++)
        rows[i] = &message;
    assert_class(store_save(s, rows, 1, NULL, CALL, &err), OUTBOX_OK, &err); /* it connects */
    int before = forward_requests(f);
    assert_class(store_save(s, rows, 30, NULL, CALL, &err), OUTBOX_OK, &err);
    ck_assert_int_eq(forward_requests(f) - before, 5);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 31);
    store_close(s);
    forward_stop(f);
}
END_TEST

/* More than one round trip, with columns that some of them leave to the table. */
START_TEST(many_messages_are_saved_as_they_are)
{
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    enum { N = 25 };
    struct outbox_err err = {.size = sizeof err};
    struct outbox_new messages[N];
    const struct outbox_new *rows[N];
    struct outbox_header header = {str("h"), str("v")};
    char topics[N][8], payloads[N][8];
    for (int i = 0; i < N; i++) {
        snprintf(topics[i], sizeof topics[i], "t%d", i);
        snprintf(payloads[i], sizeof payloads[i], "p%d", i);
        messages[i] =
            (struct outbox_new){.size = sizeof messages[i],
                                .topic = str(topics[i]),
                                .payload = i % 2 ? str(payloads[i]) : (struct outbox_str){NULL, 0},
                                .headers = &header,
                                .n_headers = i % 3 == 0};
        rows[i] = &messages[i];
    }
    assert_class(store_save(s, rows, N, NULL, CALL, &err), OUTBOX_OK, &err);
    struct outbox_batch *batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, N);
    for (uint32_t i = 0; i < N; i++) {
        assert_str(batch->messages[i]->topic, topics[i]);
        if (i % 2)
            assert_str(batch->messages[i]->payload, payloads[i]);
        else
            ck_assert_ptr_null(batch->messages[i]->payload.p);
        ck_assert_uint_eq(batch->messages[i]->n_headers, i % 3 == 0);
    }
    release(s, batch);
    store_close(s);
}
END_TEST

START_TEST(a_duplicate_among_many_messages_is_told_and_nothing_is_written)
{
    static const char id[] = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    struct outbox_err err = {.size = sizeof err};
    struct outbox_new plain = {.size = sizeof plain, .topic = str("t")};
    struct outbox_new known = {.size = sizeof known, .topic = str("t"), .id = str(id)};
    const struct outbox_new *rows[15] = {&known};
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    for (size_t i = 1; i < 15; i++)
        rows[i] = i == 13 ? &known : &plain;
    ck_assert_int_lt(store_save(s, rows, 15, NULL, CALL, &err), 0);
    ck_assert_msg(strstr(err.text, id) != NULL, "%s", err.text);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 0);
    assert_class(store_save(s, rows, 13, NULL, CALL, &err), OUTBOX_OK, &err);
    store_close(s);
}
END_TEST

/* Fresh rows, rows that waited, and rows whose payload is loaded by itself come by statements of
 * their own; the store searches the batch by seq. */
START_TEST(a_batch_is_sorted_by_seq_whatever_its_rows_are)
{
    struct outbox_claim what = a_claim(60);
    struct outbox_err err;
    struct outbox_batch *batch;
    what.max_bytes = 60000; /* 1000 for each */
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    execute("INSERT INTO " T " (topic, available_at, payload) SELECT 't',"
            " CASE WHEN i %% 3 = 0 THEN now() - i * interval '1 second' END,"
            " decode(repeat('ab', CASE WHEN i %% 5 = 0 THEN 3000 ELSE i END), 'hex')"
            " FROM generate_series(1, 60) i");
    assert_class(try_claim(s, what, within(5000), &batch, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(batch->n, 60);
    for (uint32_t i = 0; i < 60; i++) {
        const struct outbox_message *m = batch->messages[i];
        ck_assert_int_eq(m->seq, batch->messages[0]->seq + i);
        ck_assert_uint_eq(m->payload.n, (i + 1) % 5 == 0 ? 3000 : i + 1);
    }
    ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
    release(s, batch);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: claim");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "claim");
    tcase_add_loop_test(tc, a_claim_never_takes_more_than_its_limit, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_late_commit_is_claimed_within_a_second_however_busy_the_table_is, 0,
                        MODES_DIRECT);
    tcase_add_loop_test(tc,
                        what_another_gave_back_is_claimed_within_a_second_however_busy_the_table_is,
                        0, MODES_DIRECT);
    tcase_add_loop_test(tc, what_it_gave_back_itself_is_claimed_next, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_retry_that_is_due_does_not_make_older_messages_wait, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_claim_takes_one_round_trip_and_a_settle_another, 0, N_MODES);
    tcase_add_loop_test(tc, several_messages_are_saved_in_few_round_trips, 0, N_MODES);
    tcase_add_loop_test(tc, many_messages_are_saved_as_they_are, 0, N_MODES);
    tcase_add_loop_test(tc, a_duplicate_among_many_messages_is_told_and_nothing_is_written, 0,
                        N_MODES);
    tcase_add_loop_test(tc, a_batch_is_sorted_by_seq_whatever_its_rows_are, 0, MODES_DIRECT);
    return unit_main(suite);
}
