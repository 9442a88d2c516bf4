/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that the database refuses to change: they stop no other, and end. */
#include "base/clock.h"
#include "sqlite_kind.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T "outbox_messages"

static const struct outbox_settle done = {.action = OUTBOX_SETTLE_DONE,
                                          .refused_action = OUTBOX_SETTLE_FAILED,
                                          .refused_flags = OUTBOX_SETTLE_CHARGE};

static void trigger(const char *event, const char *condition, const char *body)
{
    execute("DROP TRIGGER IF EXISTS audit");
    execute("CREATE TRIGGER audit BEFORE %s ON " T " WHEN old.topic = 'bad' AND %s BEGIN SELECT %s;"
            " END",
            event, condition, body);
}

static void produce_topics(const char *const *topics, size_t n)
{
    execute("DELETE FROM " T);
    for (size_t i = 0; i < n; i++)
        execute("INSERT INTO " T " (topic, key) VALUES ('%s', '%zu')", topics[i], i);
}

static const char *const one_bad[] = {"good", "bad", "good", "good"};

static void settle_as(struct store *s, struct outbox_batch *batch, struct outbox_settle how,
                      uint8_t *settled)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_settle items[16];
    const struct outbox_settle *pointers[16];
    for (uint32_t i = 0; i < batch->n; i++) {
        items[i] = how;
        items[i].size = sizeof items[i];
        items[i].index = i;
        pointers[i] = &items[i];
    }
    memset(settled, 77, 16);
    assert_class(store_settle(s, batch, pointers, batch->n, CALL, settled, &err), OUTBOX_OK, &err);
}

static uint32_t claimable(struct store *s)
{
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    uint32_t n = batch->n;
    release(s, batch);
    return n;
}

/* ---- clocks that a test moves ---- */

static int64_t ahead_us;

static int64_t later_monotonic(const struct outbox_host *host)
{
    (void)host;
    return clock_monotonic_us() + ahead_us;
}

static int64_t later_wall(const struct outbox_host *host)
{
    struct timespec t;
    (void)host;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000 + ahead_us;
}

static void move_clocks_of(struct store *s)
{
    s->instance.abi.monotonic_us = later_monotonic;
    s->instance.abi.now_us = later_wall;
}

/* ---- settle ---- */

START_TEST(a_row_whose_outcome_is_refused_ends_and_the_others_are_settled)
{
    static const char *const bodies[] = {"raise(abort, 'no')", "raise(fail, 'no')",
                                         "raise(rollback, 'no')", "raise(ignore)"};
    uint8_t settled[16];
    trigger("UPDATE", "new.status = 'processed'", bodies[_i]);
    produce_topics(one_bad, 4);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 4);
    settle_as(the_store(), batch, done, settled);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(settled[i], i == 1 ? OUTBOX_SETTLED_REFUSED : OUTBOX_SETTLED);
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 3);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed' AND topic = 'bad'"
                            " AND retries = 1 AND last_error LIKE '%%refuses%%%s%%'",
                            _i == 3 ? "skips" : "no"),
                     1);
    ck_assert_int_eq(number("SELECT count(*) FROM " T "_leases"), 0);
    ck_assert_uint_eq(claimable(an_instance()), 0);
}
END_TEST

START_TEST(a_check_that_an_old_row_breaks_is_a_refusal_too)
{
    uint8_t settled[16];
    execute("CREATE UNIQUE INDEX one_done ON " T " (topic) WHERE status = 'processed'");
    produce_topics(one_bad, 4);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    settle_as(the_store(), batch, done, settled);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 2);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed' AND last_error LIKE"
                            " '%%UNIQUE%%'"),
                     2);
    release(the_store(), batch);
}
END_TEST

START_TEST(a_second_outcome_may_be_a_retry_and_is_written_without_its_reason_if_need_be)
{
    struct outbox_settle how = done;
    uint8_t settled[16];
    how.refused_action = OUTBOX_SETTLE_RETRY;
    how.refused_delay_ms = 600000;
    trigger("UPDATE", "(new.status = 'processed' OR new.last_error <> '')", "raise(abort, 'no')");
    produce_topics(one_bad, 4);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    settle_as(the_store(), batch, how, settled);
    ck_assert_uint_eq(settled[1], OUTBOX_SETTLED_REFUSED);
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'pending' AND retries = 1"
                            " AND last_error = '' AND available_at > 0"),
                     1);
}
END_TEST

START_TEST(what_was_delivered_and_may_not_be_deleted_is_kept_as_processed)
{
    struct outbox_settle how = done;
    uint8_t settled[16];
    how.flags = OUTBOX_SETTLE_DELETE;
    trigger("DELETE", "1", "raise(abort, 'audited')");
    produce_topics(one_bad, 4);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    settle_as(the_store(), batch, how, settled);
    release(the_store(), batch);
    ck_assert_uint_eq(settled[1], OUTBOX_SETTLED);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 1);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 1);
}
END_TEST

/* One bad row that nothing can be written of, in a batch of four; it was sent. */
static void put_into_quarantine(struct store *s)
{
    uint8_t settled[16];
    trigger("UPDATE", "new.status <> 'processing'", "raise(abort, 'frozen')");
    produce_topics(one_bad, 4);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    settle_as(s, batch, done, settled);
    ck_assert_uint_eq(settled[0], OUTBOX_SETTLED);
    ck_assert_uint_eq(settled[1], OUTBOX_SETTLED_QUARANTINED);
    release(s, batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 3);
}

START_TEST(a_row_that_nothing_can_be_written_of_is_left_alone_and_shown)
{
    struct store *other = an_instance();
    put_into_quarantine(the_store());
    execute("DROP TRIGGER audit");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_uint_eq(batch->n_quarantined, 1);
    ck_assert(memmem(batch->quarantine_reason.p, batch->quarantine_reason.n, "frozen", 6) != NULL);
    ck_assert_int_gt(batch->next_due_ms, 1000);
    release(the_store(), batch);
    ck_assert_uint_eq(claimable(other), 0); /* its lease goes on */
}
END_TEST

START_TEST(what_was_sent_is_written_after_the_quarantine_and_not_sent_again)
{
    move_clocks_of(the_store());
    put_into_quarantine(the_store());
    ahead_us = 59 * INT64_C(1000000);
    ck_assert_uint_eq(claimable(the_store()), 0);
    ahead_us = 61 * INT64_C(1000000); /* still refused: for two minutes now */
    ck_assert_uint_eq(claimable(the_store()), 0);
    execute("DROP TRIGGER audit");
    ahead_us = 179 * INT64_C(1000000);
    ck_assert_uint_eq(claimable(the_store()), 0);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processing'"), 1);
    ahead_us = 182 * INT64_C(1000000);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n + batch->n_quarantined, 0);
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 4);
    ck_assert_int_eq(number("SELECT count(*) FROM " T "_leases"), 0);
}
END_TEST

/* The relay that knew of it is gone: its lease ends like any. */
START_TEST(a_row_in_quarantine_is_anyones_when_its_lease_ends)
{
    struct store *other = an_instance();
    move_clocks_of(other);
    put_into_quarantine(the_store());
    ahead_us = 75 * INT64_C(1000000);
    struct outbox_batch *batch = claim(other, 10, LEASE_MS); /* finds that it cannot be freed */
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_uint_eq(batch->n_quarantined, 1);
    ck_assert_int_gt(batch->next_due_ms, 0);
    release(other, batch);
    execute("DROP TRIGGER audit");
    ahead_us = 160 * INT64_C(1000000);
    ck_assert_uint_eq(claimable(other), 1);
}
END_TEST

/* ---- claim ---- */

START_TEST(a_row_that_cannot_be_claimed_holds_no_other_up)
{
    static const char *const bodies[] = {"raise(abort, 'no')", "raise(rollback, 'no')",
                                         "raise(ignore)"};
    trigger("UPDATE", "new.status = 'processing'", bodies[_i]);
    produce_topics(one_bad, 4);
    if (_i == 1) /* and not only the rows that are ready */
        execute("UPDATE " T " SET available_at = 5 WHERE key = 3");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 3);
    ck_assert_uint_eq(batch->n_quarantined, 1);
    release(the_store(), batch);
    ck_assert_uint_eq(claimable(the_store()), 3);
    execute("DROP TRIGGER audit");
    ck_assert_uint_eq(claimable(the_store()), 3);
    ck_assert_uint_eq(claimable(an_instance()), 4);
}
END_TEST

/* More than the quarantine has room for. */
START_TEST(however_many_rows_are_refused_others_are_claimed)
{
    trigger("UPDATE", "1", "raise(abort, 'no')");
    execute("INSERT INTO " T
            " (topic) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            " WHERE i < 1500) SELECT 'bad' FROM n");
    produce(3);
    struct outbox_batch *batch = claim_soon(the_store());
    ck_assert_uint_eq(batch->n, 3);
    ck_assert_uint_eq(batch->n_quarantined, 1000);
    release(the_store(), batch);
}
END_TEST

START_TEST(a_refused_row_alone_is_not_looked_for_at_once)
{
    static const char *const bad[] = {"bad"};
    trigger("UPDATE", "1", "raise(abort, 'no')");
    produce_topics(bad, 1);
    for (int i = 0; i < 3; i++) {
        struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
        ck_assert_uint_eq(batch->n, 0);
        ck_assert_uint_eq(batch->n_quarantined, 1);
        ck_assert_int_ne(batch->next_due_ms, 0);
        ck_assert_uint_eq(batch->more && i > 0, 0);
        release(the_store(), batch);
    }
    ck_assert_int_eq(number("SELECT count(*) FROM " T "_leases"), 0);
}
END_TEST

/* It would fail without any row, too: nobody is to blame, and nobody waits for a minute. */
START_TEST(a_trigger_that_cannot_run_at_all_is_an_outage)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_batch *batch;
    struct outbox_claim what = {.size = sizeof what,
                                .limit = 10,
                                .lease_ms = LEASE_MS,
                                .max_bytes = 1000,
                                .max_message = 1000};
    produce(2);
    ck_assert_uint_eq(claimable(the_store()), 2);
    execute("CREATE TABLE later_gone (x)");
    execute("CREATE TRIGGER broken AFTER UPDATE ON " T " BEGIN INSERT INTO later_gone VALUES (1);"
            " END");
    ck_assert_uint_eq(claimable(the_store()), 2);
    execute("DROP TABLE later_gone");
    ck_assert_int_lt(store_claim(the_store(), &what, CALL, &batch, &err), 0);
    ck_assert_ptr_nonnull(strstr(err.text, "later_gone"));
    execute("DROP TRIGGER broken");
    ck_assert_uint_eq(claimable(the_store()), 2);
}
END_TEST

/* The second page of the payload's chain says that the next one is where none is. */
static void damage(const char *mark)
{
    char *path = scratch("shop.db"), page[4096];
    execute("PRAGMA wal_checkpoint(TRUNCATE)");
    FILE *f = fopen(path, "r+");
    ck_assert_ptr_nonnull(f);
    long at = 0;
    while (fread(page, sizeof page, 1, f) == 1 && memcmp(page + 4, mark, strlen(mark)) != 0)
        at += (long)sizeof page;
    ck_assert_int_eq(fseek(f, at, SEEK_SET), 0);
    ck_assert_uint_eq(fwrite("\x7F\xFF\xFF\xFF", 4, 1, f), 1);
    fclose(f);
    free(path);
}

START_TEST(a_damaged_row_holds_no_other_up)
{
    ck_assert_int_eq(number("PRAGMA page_size"), 4096);
    produce(2);
    execute("INSERT INTO " T
            " (topic, payload) VALUES ('bad', replace(hex(zeroblob(10000)), '0000',"
            " 'MARK'))");
    produce(2);
    close_all();
    open_again();
    damage("MARKMARK");
    close_all();
    open_again();
    struct outbox_batch *batch = claim_soon(the_store());
    ck_assert_uint_eq(batch->n, 4);
    ck_assert_uint_eq(batch->n_quarantined, 1);
    ck_assert_ptr_nonnull(strstr(batch->quarantine_reason.p, "malformed"));
    release(the_store(), batch);
    ck_assert_uint_eq(claimable(the_store()), 4);
}
END_TEST

START_TEST(a_time_that_may_not_be_rewritten_holds_no_other_up)
{
    produce_topics(one_bad, 4);
    execute("UPDATE " T " SET available_at = '2020-01-01 00:00:00' WHERE key < 3");
    trigger("UPDATE", "new.available_at <> old.available_at", "raise(abort, 'no')");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 3);
    ck_assert_uint_eq(batch->n_quarantined, 1);
    release(the_store(), batch);
}
END_TEST

/* ---- release, the end of leases ---- */

START_TEST(a_row_that_cannot_be_released_keeps_no_other)
{
    produce_topics(one_bad, 4);
    trigger("UPDATE", "new.status = 'pending'", "raise(abort, 'no')");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 4);
    release(the_store(), batch);
    ck_assert_uint_eq(claimable(an_instance()), 3);
    ck_assert_int_eq(number("SELECT count(*) FROM " T "_leases"), 1);
}
END_TEST

START_TEST(a_lease_ends_for_the_rows_that_can_be_freed)
{
    struct store *other = an_instance();
    execute("CREATE UNIQUE INDEX waiting ON " T " (key) WHERE status = 'pending'");
    produce_topics(one_bad, 4);
    claim(the_store(), 10, 1);
    execute("INSERT INTO " T " (topic, key) VALUES ('new', '1')");
    execute("UPDATE " T "_leases SET until = 1");
    struct outbox_batch *batch = claim(other, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 4);
    ck_assert_uint_eq(batch->n_quarantined, 1);
    ck_assert_int_gt(batch->next_due_ms, 1000);
    settle_all(other, batch, (struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
    release(other, batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processing'"), 1);
}
END_TEST

START_TEST(an_orphan_that_cannot_be_adopted_keeps_no_other)
{
    struct store *other = an_instance();
    produce_topics(one_bad, 4);
    execute("UPDATE " T " SET status = 'processing'");
    trigger("UPDATE", "old.status = 'processing'", "raise(ignore)");
    struct outbox_batch *batch = claim(the_store(), 10, 1);
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_uint_eq(batch->n_quarantined, 1);
    release(the_store(), batch);
    batch = claim_soon(other);
    ck_assert_uint_eq(batch->n, 3);
    release(other, batch);
}
END_TEST

/* ---- what a person asks for, and retention ---- */

static char logged[4096];

static void keep_log(const struct outbox_host *host, int32_t level, const char *text, uint64_t n)
{
    (void)host;
    (void)level;
    size_t at = strlen(logged);
    snprintf(logged + at, sizeof logged - at, "%.*s\n", (int)n, text);
}

START_TEST(requeue_goes_on_past_refused_rows_and_names_them)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter all = {.size = sizeof all};
    int64_t after = INT64_MIN;
    uint64_t n, total = 0;
    the_store()->instance.abi.log = keep_log;
    execute("CREATE UNIQUE INDEX waiting ON " T " (topic) WHERE status = 'pending'");
    execute("INSERT INTO " T " (topic) VALUES ('a')");
    execute("INSERT INTO " T " (seq, topic, status) VALUES (100, 'a', 'failed'), (101, 'a',"
            " 'failed'), (102, 'b', 'failed'), (103, 'c', 'failed')");
    do {
        assert_class(store_requeue(the_store(), &all, &after, 2, CALL, &n, &err), OUTBOX_OK, &err);
        total += n;
    } while (n > 0);
    ck_assert_uint_eq(total, 2);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed'"), 2);
    ck_assert_ptr_nonnull(strstr(logged, "seq 100"));
    ck_assert_ptr_nonnull(strstr(logged, "UNIQUE"));
    trigger("DELETE", "1", "raise(abort, 'no')");
    execute("UPDATE " T " SET topic = 'bad' WHERE seq = 100");
    after = INT64_MIN;
    assert_class(store_discard(the_store(), &all, &after, 10, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 1);
}
END_TEST

START_TEST(purge_passes_over_rows_that_may_not_be_deleted)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter all = {.size = sizeof all};
    uint64_t n;
    trigger("DELETE", "1", "raise(abort, 'audited')");
    execute("INSERT INTO " T
            " (topic, status, processed_at) VALUES ('bad', 'processed', '2020-01-01'),"
            " ('bad', 'processed', '2020-01-02'), ('good', 'processed', '2020-01-03'),"
            " ('good', 'processed', NULL), ('bad', 'failed', NULL)");
    the_store()->instance.abi.log = keep_log;
    for (int i = 0; i < 3; i++)
        assert_class(store_purge(the_store(), &all, 2, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 3);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE topic = 'bad'"), 3);
    ck_assert_ptr_nonnull(strstr(logged, "audited"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store-sqlite: refused rows");
    store_use(&sqlite_kind);
    TCase *tc = store_case(suite, "settle");
    tcase_add_loop_test(tc, a_row_whose_outcome_is_refused_ends_and_the_others_are_settled, 0, 4);
    tcase_add_test(tc, a_check_that_an_old_row_breaks_is_a_refusal_too);
    tcase_add_test(tc,
                   a_second_outcome_may_be_a_retry_and_is_written_without_its_reason_if_need_be);
    tcase_add_test(tc, what_was_delivered_and_may_not_be_deleted_is_kept_as_processed);
    tcase_add_test(tc, a_row_that_nothing_can_be_written_of_is_left_alone_and_shown);
    tcase_add_test(tc, what_was_sent_is_written_after_the_quarantine_and_not_sent_again);
    tcase_add_test(tc, a_row_in_quarantine_is_anyones_when_its_lease_ends);
    tc = store_case(suite, "claim");
    tcase_add_loop_test(tc, a_row_that_cannot_be_claimed_holds_no_other_up, 0, 3);
    tcase_add_test(tc, however_many_rows_are_refused_others_are_claimed);
    tcase_add_test(tc, a_refused_row_alone_is_not_looked_for_at_once);
    tcase_add_test(tc, a_trigger_that_cannot_run_at_all_is_an_outage);
    tcase_add_loop_test(tc, a_damaged_row_holds_no_other_up, 0, 2);
    tcase_add_test(tc, a_time_that_may_not_be_rewritten_holds_no_other_up);
    tc = store_case(suite, "leases");
    tcase_add_test(tc, a_row_that_cannot_be_released_keeps_no_other);
    tcase_add_test(tc, a_lease_ends_for_the_rows_that_can_be_freed);
    tcase_add_test(tc, an_orphan_that_cannot_be_adopted_keeps_no_other);
    tc = store_case(suite, "administration");
    tcase_add_test(tc, requeue_goes_on_past_refused_rows_and_names_them);
    tcase_add_test(tc, purge_passes_over_rows_that_may_not_be_deleted);
    return unit_main(suite);
}
