/* SPDX-License-Identifier: Apache-2.0 */
/* store_contract_claim.c - what comes out of a claim, to whom, when, and what a lost claim means.
 */
#include "conform/store_contract.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define T "outbox_messages"

START_TEST(a_message_comes_with_everything_that_was_written)
{
    execute("INSERT INTO " T " (topic, key, headers) VALUES ('orders.paid', 'k-1',"
            " '{\"destination\":\"jobs\",\"n\":3,\"ok\":true}')");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    const struct outbox_message *m = batch->messages[0];
    assert_str(m->topic, "orders.paid");
    assert_str(m->key, "k-1");
    ck_assert_ptr_null(m->payload.p);
    ck_assert_ptr_null(m->defect.p);
    ck_assert_uint_eq(m->retries, 0);
    ck_assert_uint_eq(m->id.n, 36);
    ck_assert_int_eq(m->id.p[14], '4'); /* a random UUID */
    ck_assert_ptr_nonnull(strchr("89ab", m->id.p[19]));
    ck_assert(outbox_str_eq(m->id, m->row_id));
    int64_t now = the_store()->instance.abi.now_us(&the_store()->instance.abi);
    ck_assert_int_le(llabs(now - m->created_us), 60000000);
    ck_assert_uint_eq(m->n_headers, 3);
    const struct outbox_header *header = m->headers; /* in any order */
    while (header < m->headers + 3 && !outbox_str_eq(header->name, str("destination")))
        header++;
    ck_assert(header < m->headers + 3);
    assert_str(header->value, "jobs");
    ck_assert_int_eq(header->value.p[4], '\0');
    release(the_store(), batch);
}
END_TEST

START_TEST(messages_come_in_order_of_insertion_a_batch_at_a_time)
{
    int64_t last = 0;
    produce(25);
    for (uint32_t wanted = 10, seen = 0; seen < 25; wanted = seen == 20 ? 5 : 10) {
        struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
        ck_assert_uint_eq(batch->n, wanted);
        ck_assert_int_eq(batch->more != 0, wanted == 10);
        for (uint32_t i = 0; i < batch->n; i++, seen++) {
            ck_assert_int_gt(batch->messages[i]->seq, last);
            last = batch->messages[i]->seq;
            ck_assert_int_eq(strtol(batch->messages[i]->payload.p, NULL, 10), seen + 1);
        }
        settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
        release(the_store(), batch);
    }
    struct outbox_batch *none = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(none->n, 0);
    ck_assert_ptr_null(none->lease.p);
    ck_assert_int_eq(none->next_due_ms, -1);
    release(the_store(), none);
}
END_TEST

START_TEST(what_is_rolled_back_or_not_committed_is_never_claimed)
{
    execute("BEGIN");
    execute("INSERT INTO " T " (topic) VALUES ('never')");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    release(the_store(), batch);
    execute("ROLLBACK");
    batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    release(the_store(), batch);
}
END_TEST

START_TEST(a_late_commit_is_claimed_though_later_rows_have_gone)
{
    execute("INSERT INTO " T " (seq, topic) VALUES (1000, 'early')");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
    release(the_store(), batch);
    execute("BEGIN");
    execute("INSERT INTO " T " (seq, topic) VALUES (10, 'late')");
    execute("COMMIT");
    batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    assert_str(batch->messages[0]->topic, "late");
    release(the_store(), batch);
}
END_TEST

START_TEST(a_claimed_message_is_nobody_elses)
{
    struct store *other = an_instance();
    produce(3);
    struct outbox_batch *mine = claim(the_store(), 2, LEASE_MS);
    struct outbox_batch *theirs = claim(other, 10, LEASE_MS);
    ck_assert_uint_eq(mine->n, 2);
    ck_assert_uint_eq(theirs->n, 1);
    ck_assert_int_gt(theirs->messages[0]->seq, mine->messages[1]->seq);
    release(the_store(), mine);
    release(other, theirs);
}
END_TEST

START_TEST(what_is_released_is_due_at_once_and_uncharged)
{
    produce(3);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    const struct outbox_settle done = {
        .size = sizeof done, .index = 1, .action = OUTBOX_SETTLE_DONE};
    const struct outbox_settle *items[] = {&done};
    uint8_t stale[1];
    struct outbox_err err = {.size = sizeof err};
    assert_class(store_settle(the_store(), batch, items, 1, CALL, stale, &err), OUTBOX_OK, &err);
    release(the_store(), batch);
    batch = claim(an_instance(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    assert_str(batch->messages[0]->payload, "1");
    assert_str(batch->messages[1]->payload, "3");
    ck_assert_uint_eq(batch->messages[0]->retries, 0);
}
END_TEST

START_TEST(a_closed_instance_holds_nothing)
{
    int64_t took = INT64_MAX;
    /* Closing gives a release one second, which a slow machine may need and more. */
    for (int tries = 0; took >= 900 && tries < 3; tries++) {
        struct store *other = an_instance();
        execute("DELETE FROM outbox_messages");
        produce(3);
        claim(other, 10, LEASE_MS);
        int64_t begun = now_ms();
        store_close(other);
        took = now_ms() - begun;
    }
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 3);
    release(the_store(), batch);
}
END_TEST

/* A claim that its relay, stopped or dead, does not renew. */
static void settle_late(uint32_t action, uint32_t flags)
{
    struct store *other = an_instance();
    if (!(other->capabilities & OUTBOX_STORE_RENEWS))
        return; /* held by locks: it ends with its connection */
    produce(3);
    int64_t claimed = now_ms();
    struct outbox_batch *lost = claim(the_store(), 10, 300);
    struct outbox_batch *none = claim(other, 10, LEASE_MS);
    if (none->n == 0) { /* somebody is to look when the claim ends */
        ck_assert_int_ge(none->next_due_ms, 0);
        ck_assert_int_le(none->next_due_ms, 300);
    } else {
        ck_assert_int_ge(now_ms() - claimed, 290);
    }
    release(other, none);
    struct outbox_batch *taken = claim_soon(other);
    ck_assert_int_ge(now_ms() - claimed, 290);
    ck_assert_uint_eq(taken->n, 3);
    ck_assert_uint_eq(
        settle_all(the_store(), lost, (struct outbox_settle){.action = action, .flags = flags}), 3);
    release(the_store(), lost);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 3);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed'"), 0);
    ck_assert_uint_eq(
        settle_all(other, taken, (struct outbox_settle){.action = OUTBOX_SETTLE_DONE}), 0);
    release(other, taken);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 3);
}

START_TEST(an_expired_claim_is_taken_over_and_a_late_settle_changes_nothing)
{
    settle_late(OUTBOX_SETTLE_FAILED, OUTBOX_SETTLE_CHARGE);
}
END_TEST

START_TEST(a_late_settle_deletes_nothing)
{
    settle_late(OUTBOX_SETTLE_DONE, OUTBOX_SETTLE_DELETE);
}
END_TEST

START_TEST(a_renewed_claim_is_kept_by_any_instance)
{
    struct store *other = an_instance();
    struct outbox_err err = {.size = sizeof err};
    uint64_t held = 99;
    if (!(other->capabilities & OUTBOX_STORE_RENEWS))
        return;
    produce(3);
    struct outbox_batch *batch = claim(the_store(), 10, 3000);
    int64_t claimed = now_ms();
    assert_class(store_renew(other, batch->lease, LEASE_MS, CALL, &held, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(held, 3);
    while (now_ms() - claimed < 3100)
        sleep_ms(50);
    struct outbox_batch *none = claim(other, 10, LEASE_MS);
    ck_assert_uint_eq(none->n, 0);
    release(other, none);
    char lease[128];
    struct outbox_str name = {lease, batch->lease.n};
    ck_assert_uint_lt(batch->lease.n, sizeof lease);
    memcpy(lease, batch->lease.p, batch->lease.n);
    settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
    release(the_store(), batch);
    assert_class(store_renew(other, name, LEASE_MS, CALL, &held, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(held, 0);
}
END_TEST

START_TEST(a_message_that_waits_for_its_time_is_due_then)
{
    produce(1);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    int64_t settled = now_ms();
    settle_all(the_store(), batch,
               (struct outbox_settle){.action = OUTBOX_SETTLE_RETRY, .delay_ms = 400});
    release(the_store(), batch);
    batch = claim(the_store(), 10, LEASE_MS);
    ck_assert(batch->n == 0 || now_ms() - settled >= 390);
    if (batch->n == 0) {
        ck_assert_int_ge(batch->next_due_ms, 0);
        ck_assert_int_le(batch->next_due_ms, 400);
        release(the_store(), batch);
        batch = claim_soon(the_store());
    }
    ck_assert_int_ge(now_ms() - settled, 390);
    ck_assert_uint_eq(batch->messages[0]->retries, 0);
    release(the_store(), batch);
}
END_TEST

START_TEST(retries_do_not_starve_fresh_messages_nor_the_other_way_round)
{
    produce(20);
    struct outbox_batch *batch = claim(the_store(), 20, LEASE_MS);
    int64_t last = batch->messages[19]->seq;
    settle_all(the_store(), batch,
               (struct outbox_settle){.action = OUTBOX_SETTLE_RETRY, .delay_ms = 1});
    release(the_store(), batch);
    sleep_ms(20);
    produce(20);
    int fresh = 0;
    batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 10);
    for (uint32_t i = 0; i < batch->n; i++)
        fresh += batch->messages[i]->seq > last;
    ck_assert_int_eq(fresh, 5);
    release(the_store(), batch);
    batch = claim(the_store(), 100, LEASE_MS); /* with room for all, all come */
    ck_assert_uint_eq(batch->n, 40);
    release(the_store(), batch);
}
END_TEST

static struct outbox_batch *claim_bytes(uint64_t max_bytes, uint64_t max_message)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_batch *batch;
    struct outbox_claim what = {.size = sizeof what,
                                .limit = 10,
                                .lease_ms = LEASE_MS,
                                .max_bytes = max_bytes,
                                .max_message = max_message};
    assert_class(store_claim(the_store(), &what, CALL, &batch, &err), OUTBOX_OK, &err);
    return batch;
}

static void save_bytes(const char *bytes, uint64_t n)
{
    struct outbox_err err = {.size = sizeof err};
    assert_class(save_one(the_store(), (struct outbox_new){.payload = {bytes, n}}, &err), OUTBOX_OK,
                 &err);
}

START_TEST(a_batch_is_bounded_in_bytes_and_a_larger_message_travels_alone)
{
    static const char bytes[1000];
    static const uint64_t sizes[] = {400, 400, 400, 1000, 1, 1}, wanted[] = {2, 1, 1, 2};
    for (int i = 0; i < 6; i++)
        save_bytes(bytes, sizes[i]);
    for (int i = 0; i < 4; i++) {
        struct outbox_batch *batch = claim_bytes(900, 5000);
        ck_assert_uint_eq(batch->n, wanted[i]);
        if (i < 3)
            ck_assert_uint_ne(batch->more, 0);
        settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
        release(the_store(), batch);
    }
}
END_TEST

START_TEST(a_message_over_the_limit_is_marked_and_not_loaded)
{
    static const char bytes[1000];
    save_bytes(bytes, 1000);
    save_bytes(bytes, 999);
    struct outbox_batch *batch = claim_bytes(100000, 999);
    ck_assert_uint_eq(batch->n, 2);
    ck_assert_ptr_nonnull(batch->messages[0]->defect.p);
    ck_assert_ptr_nonnull(strstr(batch->messages[0]->defect.p, "1000"));
    ck_assert_ptr_null(batch->messages[0]->payload.p);
    ck_assert_ptr_null(batch->messages[1]->defect.p);
    ck_assert_uint_eq(batch->messages[1]->payload.n, 999);
    release(the_store(), batch);
}
END_TEST

START_TEST(payloads_arrive_as_they_were_written)
{
    size_t large = (size_t)16 << 20;
    char *bytes = malloc(large);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < large; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    save_bytes(NULL, 0);
    save_bytes("", 0);
    save_bytes("\0a\0\xFF", 4);
    save_bytes(bytes, large);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 4);
    ck_assert_ptr_null(batch->messages[0]->payload.p);
    ck_assert_ptr_nonnull(batch->messages[1]->payload.p);
    ck_assert_uint_eq(batch->messages[1]->payload.n, 0);
    ck_assert_uint_eq(batch->messages[2]->payload.n, 4);
    ck_assert_mem_eq(batch->messages[2]->payload.p, "\0a\0\xFF", 4);
    ck_assert_uint_eq(batch->messages[3]->payload.n, large);
    ck_assert(memcmp(batch->messages[3]->payload.p, bytes, large) == 0);
    release(the_store(), batch);
    free(bytes);
}
END_TEST

/* ---- several at once ---- */

#define CROWD 4
#define MESSAGES 10000

struct worker {
    struct store *store;
    pthread_t thread;
    uint8_t *seen; /* by payload; every thread has its own */
    uint64_t n;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    for (;;) {
        struct outbox_batch *batch = claim(w->store, 100, LEASE_MS);
        uint32_t n = batch->n;
        for (uint32_t i = 0; i < n; i++)
            w->seen[strtol(batch->messages[i]->payload.p, NULL, 10)]++;
        if (n > 0 && settle_all(w->store, batch,
                                (struct outbox_settle){.action = OUTBOX_SETTLE_DONE,
                                                       .flags = OUTBOX_SETTLE_DELETE}) > 0)
            w->n = UINT64_MAX / 2;
        w->n += n;
        release(w->store, batch);
        if (n == 0)
            return NULL;
    }
}

START_TEST(instances_that_claim_at_once_never_get_the_same)
{
    struct worker workers[CROWD] = {0};
    uint64_t n = 0;
    produce(MESSAGES);
    for (int i = 0; i < CROWD; i++) {
        workers[i].store = an_instance();
        workers[i].seen = calloc(MESSAGES + 1, 1);
        ck_assert_ptr_nonnull(workers[i].seen);
        ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < CROWD; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < CROWD; i++)
        n += workers[i].n;
    ck_assert_uint_eq(n, MESSAGES);
    for (int k = 1; k <= MESSAGES; k++) {
        int times = 0;
        for (int i = 0; i < CROWD; i++)
            times += workers[i].seen[k];
        ck_assert_int_eq(times, 1);
    }
    for (int i = 0; i < CROWD; i++)
        free(workers[i].seen);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 0);
}
END_TEST

void store_contract_claim(const struct kit_sink *sink)
{
    store_test(sink, a_message_comes_with_everything_that_was_written, 0, 1);
    store_test(sink, messages_come_in_order_of_insertion_a_batch_at_a_time, 0, 1);
    store_test(sink, what_is_rolled_back_or_not_committed_is_never_claimed, 0, 1);
    store_test(sink, a_late_commit_is_claimed_though_later_rows_have_gone, 0, 1);
    store_test(sink, a_claimed_message_is_nobody_elses, 0, 1);
    store_test(sink, what_is_released_is_due_at_once_and_uncharged, 0, 1);
    store_test(sink, a_closed_instance_holds_nothing, 0, 1);
    store_test(sink, an_expired_claim_is_taken_over_and_a_late_settle_changes_nothing, 0, 1);
    store_test(sink, a_late_settle_deletes_nothing, 0, 1);
    store_test(sink, a_renewed_claim_is_kept_by_any_instance, 0, 1);
    store_test(sink, a_message_that_waits_for_its_time_is_due_then, 0, 1);
    store_test(sink, retries_do_not_starve_fresh_messages_nor_the_other_way_round, 0, 1);
    store_test(sink, a_batch_is_bounded_in_bytes_and_a_larger_message_travels_alone, 0, 1);
    store_test(sink, a_message_over_the_limit_is_marked_and_not_loaded, 0, 1);
    store_test(sink, payloads_arrive_as_they_were_written, 0, 1);
    store_test(sink, instances_that_claim_at_once_never_get_the_same, 0, 1);
}
