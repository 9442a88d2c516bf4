/* SPDX-License-Identifier: Apache-2.0 */
/* store_contract_refused.c - the database refuses to change some rows: those of topic `bad`. The
 * rule is in <outbox/store.h>: the others go on; a refused one is charged, or left aside. */
#include "conform/store_contract.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T "outbox_messages"
/* For each row, see store_kind.refuse; of a column that changes, or SQLite looks at no check. */
#define ANY_CHANGE "status <> ''"
#define MAX_RETRIES 3
#define ROUNDS_MAX 200

static void refuse(enum refusal how, const char *update_when, bool deletes)
{
    store_kind()->refuse(the_connection(), how, update_when, deletes);
}

/* In this order of seq. */
static void produce_these(const char *topics)
{
    execute("BEGIN");
    for (; *topics; topics++)
        execute("INSERT INTO " T " (topic, payload) VALUES ('%s', '1')",
                *topics == 'b' ? "bad" : "good");
    execute("COMMIT");
}

static bool is_bad(const struct outbox_message *m)
{
    return outbox_str_eq(m->topic, str("bad"));
}

/* ---- a relay ---- */

/* What it saw. */
static struct tally {
    uint32_t good;
    uint32_t bad;
    uint32_t settled[4]; /* by OUTBOX_SETTLED ... */
    uint32_t n_quarantined;
    char reason[256];
} tally;

/* As a relay settles what a publisher accepted. */
static struct outbox_settle done(const struct outbox_message *m, uint32_t index, uint32_t flags)
{
    bool last = m->retries + 1 >= MAX_RETRIES;
    return (struct outbox_settle){
        .size = sizeof(struct outbox_settle),
        .index = index,
        .action = OUTBOX_SETTLE_DONE,
        .flags = flags,
        .refused_action = last ? OUTBOX_SETTLE_FAILED : OUTBOX_SETTLE_RETRY,
        .refused_flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON,
    };
}

/* Again and again, as a relay does it, until all is settled. */
static void settle_these(struct store *s, struct outbox_batch *batch,
                         const struct outbox_settle *items)
{
    struct outbox_err err = {.size = sizeof err};
    const struct outbox_settle **pointers = calloc(batch->n, sizeof *pointers);
    uint8_t *settled = calloc(batch->n, 1);
    ck_assert(pointers && settled);
    for (uint32_t i = 0; i < batch->n; i++)
        pointers[i] = &items[i];
    assert_class(store_settle(s, batch, pointers, batch->n, CALL, settled, &err), OUTBOX_OK, &err);
    for (uint32_t i = 0; i < batch->n; i++) {
        ck_assert_uint_le(settled[i], OUTBOX_SETTLED_QUARANTINED);
        if (!is_bad(batch->messages[i]))
            ck_assert_uint_eq(settled[i], OUTBOX_SETTLED);
        tally.settled[settled[i]]++;
    }
    free(pointers);
    free(settled);
}

static void look_at_quarantine(const struct outbox_batch *batch)
{
    tally.n_quarantined = batch->n_quarantined;
    if (batch->n_quarantined > 0) {
        ck_assert_ptr_nonnull(batch->quarantine_reason.p);
        snprintf(tally.reason, sizeof tally.reason, "%.*s", (int)batch->quarantine_reason.n,
                 batch->quarantine_reason.p);
    }
}

/* Publishes all that comes, in batches of so many. */
static void relay(struct store *s, uint32_t limit, uint32_t flags)
{
    for (int empty = 0, rounds = 0; empty < 2; rounds++) {
        ck_assert_msg(rounds < ROUNDS_MAX, "it never ends");
        struct outbox_batch *batch = claim(s, limit, LEASE_MS);
        look_at_quarantine(batch);
        empty = batch->n == 0 ? empty + 1 : 0;
        struct outbox_settle *items = calloc(batch->n + 1, sizeof *items);
        ck_assert_ptr_nonnull(items);
        for (uint32_t i = 0; i < batch->n; i++) {
            items[i] = done(batch->messages[i], i, flags);
            *(is_bad(batch->messages[i]) ? &tally.bad : &tally.good) += 1;
        }
        if (batch->n > 0)
            settle_these(s, batch, items);
        else
            ck_assert_msg(batch->next_due_ms != 0, "it claims again at once, for nothing");
        release(s, batch);
        free(items);
    }
}

static void assert_rows(const char *condition, int64_t n)
{
    ck_assert_msg(number("SELECT count(*) FROM " T " WHERE %s", condition) == n,
                  "%lld rows, not %lld: %s",
                  (long long)number("SELECT count(*) FROM " T " WHERE %s", condition), (long long)n,
                  condition);
}

/* Every good one once, and nothing is claimed by anybody. */
static void assert_others_went_on(uint32_t n_good)
{
    ck_assert_uint_eq(tally.good, n_good);
    ck_assert_uint_eq(tally.settled[OUTBOX_SETTLED_STALE], 0);
    assert_rows("topic = 'good' AND status <> 'processed'", 0);
}

/* By the words of the database, if it has said any. */
static const char *words(enum refusal how)
{
    return how == SKIPPED_BY_TRIGGER ? "" : REFUSAL_WORDS;
}

static void assert_in_quarantine(enum refusal how, uint32_t n_bad)
{
    ck_assert_uint_eq(tally.n_quarantined, n_bad);
    ck_assert_msg(*tally.reason && strstr(tally.reason, words(how)), "%s", tally.reason);
    assert_rows("topic = 'bad' AND status IN ('pending', 'processing') AND retries = 0", n_bad);
}

/* ---- claim, settle ---- */

static const struct {
    const char *topics;
    uint32_t limit;
} tables[] = {{"gbg", 10}, {"b", 10}, {"gggbggbggggggbgggg", 10}, {"bgbg", 1}, {"bbbg", 2}};
#define N_TABLES ((int)(sizeof tables / sizeof tables[0]))

static uint32_t count(const char *topics, char topic)
{
    uint32_t n = 0;
    for (; *topics; topics++)
        n += *topics == topic;
    return n;
}

/* What was published is charged as often as that, and ends as a dead letter. */
START_TEST(an_outcome_that_is_refused_is_charged_until_it_is_a_dead_letter)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    const char *topics = tables[_i / N_REFUSALS].topics;
    uint32_t n_bad = count(topics, 'b');
    produce_these(topics);
    refuse(how, "status = 'processed'", false);
    relay(the_store(), tables[_i / N_REFUSALS].limit, 0);
    assert_others_went_on(count(topics, 'g'));
    ck_assert_uint_eq(tally.bad, n_bad * MAX_RETRIES);
    ck_assert_uint_eq(tally.settled[OUTBOX_SETTLED_REFUSED], n_bad * MAX_RETRIES);
    ck_assert_uint_eq(tally.n_quarantined, 0);
    assert_rows("topic = 'bad' AND status = 'failed' AND retries = 3 AND last_error <> ''", n_bad);
    if (how != SKIPPED_BY_TRIGGER)
        assert_rows("topic = 'bad' AND last_error LIKE '%" REFUSAL_WORDS "%'", n_bad);
}
END_TEST

/* What was accepted is not sent again because it stays in the table. */
START_TEST(a_row_that_may_not_be_deleted_is_kept_as_processed)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    if (how == REFUSED_BY_CHECK)
        return; /* deletes are not checked */
    produce_these("gbggb");
    refuse(how, NULL, true);
    relay(the_store(), 10, OUTBOX_SETTLE_DELETE);
    ck_assert_uint_eq(tally.good, 3);
    ck_assert_uint_eq(tally.bad, 2);
    ck_assert_uint_eq(tally.settled[OUTBOX_SETTLED], 5);
    assert_rows("topic = 'good'", 0);
    assert_rows("topic = 'bad' AND status = 'processed' AND processed_at IS NOT NULL", 2);
}
END_TEST

/* Charged or left aside: it depends on whether a claim changes rows. It never ends as if nothing
 * had been: sent again and again, uncharged. */
START_TEST(a_row_that_may_not_be_changed_at_all_is_left_aside)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    const char *topics = tables[_i / N_REFUSALS].topics;
    uint32_t n_bad = count(topics, 'b');
    produce_these(topics);
    refuse(how, ANY_CHANGE, true);
    relay(the_store(), tables[_i / N_REFUSALS].limit, 0);
    assert_others_went_on(count(topics, 'g'));
    ck_assert_uint_le(tally.bad, n_bad);
    ck_assert_uint_eq(tally.settled[OUTBOX_SETTLED_QUARANTINED], tally.bad);
    assert_in_quarantine(how, n_bad);
}
END_TEST

/* It is tried again after a minute, then after two; and when somebody has mended the row it is a
 * message like any other. */
START_TEST(a_row_that_was_left_aside_is_tried_again_less_and_less_often)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    produce_these("gbg");
    refuse(how, ANY_CHANGE, true);
    relay(the_store(), 10, 0);
    assert_others_went_on(2);
    assert_in_quarantine(how, 1);
    uint32_t bad = tally.bad;
    pass_ms(the_store(), 61000);
    relay(the_store(), 10, 0);
    assert_in_quarantine(how, 1);
    execute("UPDATE " T " SET topic = 'good' WHERE topic = 'bad'");
    pass_ms(the_store(), 61000);
    relay(the_store(), 10, 0);
    ck_assert_uint_eq(tally.n_quarantined, 1);
    ck_assert_uint_eq(tally.good, 2);
    pass_ms(the_store(), 61000);
    relay(the_store(), 10, 0);
    ck_assert_uint_eq(tally.n_quarantined, 0);
    ck_assert_uint_eq(tally.bad, bad);
    assert_rows("status = 'processed'", 3);
}
END_TEST

/* A store whose claim changes rows may charge such a row without sending it. */
START_TEST(a_claim_that_is_refused_for_a_row_takes_the_others)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    const char *topics = tables[_i / N_REFUSALS].topics;
    produce_these(topics);
    refuse(how, "status = 'processing'", false);
    relay(the_store(), tables[_i / N_REFUSALS].limit, 0);
    assert_others_went_on(count(topics, 'g'));
    if (tally.bad == 0)
        ck_assert_uint_eq(tally.n_quarantined +
                              number("SELECT count(*) FROM " T " WHERE status = 'failed'"),
                          count(topics, 'b'));
}
END_TEST

/* The second outcome's own reason, too. */
START_TEST(a_reason_that_is_refused_is_left_out)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    produce_these("gbg");
    refuse(how, "status = 'processed' OR last_error <> ''", false);
    relay(the_store(), 10, 0);
    assert_others_went_on(2);
    assert_rows("topic = 'bad' AND status = 'failed' AND retries = 3 AND last_error = ''", 1);
}
END_TEST

/* What is no DONE has a second outcome, too; and 0 is none. */
START_TEST(a_dead_letter_that_is_refused_has_its_second_outcome)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    bool second = _i / N_REFUSALS;
    struct outbox_settle items[3];
    produce_these("gbg");
    refuse(how, "status = 'failed'", false);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 3);
    for (uint32_t i = 0; i < 3; i++)
        items[i] = (struct outbox_settle){
            .size = sizeof items[i],
            .index = i,
            .action = is_bad(batch->messages[i]) ? OUTBOX_SETTLE_FAILED : OUTBOX_SETTLE_DONE,
            .flags = OUTBOX_SETTLE_REASON,
            .reason = str("rejected"),
            .refused_action = second ? OUTBOX_SETTLE_RETRY : 0,
            .refused_flags = OUTBOX_SETTLE_CHARGE,
            .refused_delay_ms = 3600000};
    settle_these(the_store(), batch, items);
    release(the_store(), batch);
    assert_rows("topic = 'good' AND status = 'processed'", 2);
    ck_assert_uint_eq(tally.settled[OUTBOX_SETTLED_REFUSED], second);
    ck_assert_uint_eq(tally.settled[OUTBOX_SETTLED_QUARANTINED], !second);
    relay(the_store(), 10, 0);
    ck_assert_uint_eq(tally.bad, 0);
    if (second)
        assert_rows("topic = 'bad' AND status = 'pending' AND retries = 1 AND available_at IS NOT"
                    " NULL",
                    1);
    else
        assert_in_quarantine(how, 1);
}
END_TEST

/* ---- release, expiry ---- */

START_TEST(a_row_that_cannot_be_given_back_keeps_no_other)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    if (!(the_store()->capabilities & OUTBOX_STORE_RENEWS))
        return; /* nothing has to be given back */
    produce_these("ggbgg");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 5);
    refuse(how, "status = 'pending'", false);
    release(the_store(), batch);
    relay(the_store(), 10, 0);
    assert_others_went_on(4);
}
END_TEST

START_TEST(a_lease_that_cannot_be_ended_for_a_row_ends_for_the_others)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    if (!(the_store()->capabilities & OUTBOX_STORE_RENEWS))
        return; /* no leases */
    produce_these("ggbgg");
    struct store *other = an_instance();
    struct outbox_batch *batch = claim(the_store(), 10, 50);
    ck_assert_uint_eq(batch->n, 5);
    refuse(how, "status = 'pending'", false);
    for (int64_t end = now_ms() + 30000; tally.good < 4; sleep_ms(20)) {
        ck_assert_msg(now_ms() < end, "only %u came", tally.good);
        relay(other, 10, 0);
    }
    relay(other, 10, 0);
    assert_others_went_on(4);
    ck_assert_uint_eq(tally.bad, 0);
    assert_in_quarantine(how, 1);
    release(the_store(), batch);
}
END_TEST

/* ---- requeue, discard, purge ---- */

typedef int (*call_for_failed)(struct store *s, const struct outbox_filter *filter, int64_t *after,
                               uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                               struct outbox_err *err);

/* All of them, so many at a time; how many were changed. A call that finds none but refused
 * ones fails. */
static uint64_t for_failed(call_for_failed call, uint32_t limit)
{
    const struct outbox_filter failed = {.size = sizeof failed, .statuses = OUTBOX_FAILED};
    struct outbox_err err = {.size = sizeof err};
    int64_t after = INT64_MIN;
    uint64_t n = 0, all = 0;
    int r;
    while ((r = call(the_store(), &failed, &after, limit, CALL, &n, &err)) == OUTBOX_OK && n > 0) {
        all += n;
        ck_assert_uint_le(all, 100);
    }
    if (r != OUTBOX_OK) {
        assert_class(r, OUTBOX_E_CONFIG, &err);
        ck_assert_ptr_nonnull(strstr(err.text, "stays failed"));
    }
    return all;
}

static void produce_with(const char *topics, const char *status)
{
    produce_these(topics);
    execute("UPDATE " T " SET status = '%s', processed_at = created_at, last_error = 'before'",
            status);
}

START_TEST(a_row_that_cannot_be_requeued_keeps_no_other)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    produce_with("gbggbbbgb", "failed");
    refuse(how, "status = 'pending'", false);
    ck_assert_uint_eq(for_failed(store_requeue, _i / N_REFUSALS ? 100 : 2), 4);
    assert_rows("topic = 'good' AND status = 'pending'", 4);
    assert_rows("topic = 'bad' AND status = 'failed' AND last_error = 'before'", 5);
}
END_TEST

START_TEST(a_row_that_cannot_be_discarded_keeps_no_other)
{
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    if (how == REFUSED_BY_CHECK)
        return;
    produce_with("gbggbbbgb", "failed");
    refuse(how, NULL, true);
    ck_assert_uint_eq(for_failed(store_discard, _i / N_REFUSALS ? 100 : 2), 4);
    assert_rows("topic = 'good'", 0);
    assert_rows("topic = 'bad' AND status = 'failed'", 5);
}
END_TEST

START_TEST(a_row_that_cannot_be_purged_keeps_no_other)
{
    static const char *const patterns[] = {NULL, "*"}; /* by index; all are read */
    enum refusal how = (enum refusal)(_i % N_REFUSALS);
    struct outbox_filter processed = {.size = sizeof processed, .statuses = OUTBOX_PROCESSED};
    struct outbox_err err = {.size = sizeof err};
    uint64_t n, all = 0;
    if (how == REFUSED_BY_CHECK)
        return;
    if (patterns[_i / N_REFUSALS])
        processed.topic = str(patterns[_i / N_REFUSALS]);
    produce_with("bbbgbggg", "processed");
    refuse(how, NULL, true);
    for (int calls = 0; calls < 10; calls++) {
        assert_class(store_purge(the_store(), &processed, 2, CALL, &n, &err), OUTBOX_OK, &err);
        all += n;
    }
    ck_assert_uint_eq(all, 4);
    assert_rows("topic = 'good'", 0);
    assert_rows("topic = 'bad' AND status = 'processed'", 4);
}
END_TEST

void store_contract_refused(const struct kit_sink *sink)
{
    store_test(sink, an_outcome_that_is_refused_is_charged_until_it_is_a_dead_letter, 0,
               N_TABLES * N_REFUSALS);
    store_test(sink, a_row_that_may_not_be_deleted_is_kept_as_processed, 0, N_REFUSALS);
    store_test(sink, a_row_that_may_not_be_changed_at_all_is_left_aside, 0, N_TABLES * N_REFUSALS);
    store_test(sink, a_row_that_was_left_aside_is_tried_again_less_and_less_often, 0, N_REFUSALS);
    store_test(sink, a_claim_that_is_refused_for_a_row_takes_the_others, 0, N_TABLES * N_REFUSALS);
    store_test(sink, a_reason_that_is_refused_is_left_out, 0, N_REFUSALS);
    store_test(sink, a_dead_letter_that_is_refused_has_its_second_outcome, 0, 2 * N_REFUSALS);
    store_test(sink, a_row_that_cannot_be_given_back_keeps_no_other, 0, N_REFUSALS);
    store_test(sink, a_lease_that_cannot_be_ended_for_a_row_ends_for_the_others, 0, N_REFUSALS);
    store_test(sink, a_row_that_cannot_be_requeued_keeps_no_other, 0, 2 * N_REFUSALS);
    store_test(sink, a_row_that_cannot_be_discarded_keeps_no_other, 0, 2 * N_REFUSALS);
    store_test(sink, a_row_that_cannot_be_purged_keeps_no_other, 0, 2 * N_REFUSALS);
}
