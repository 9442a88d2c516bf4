/* SPDX-License-Identifier: Apache-2.0 */
/* A check or a trigger of the table's owner refuses what a settle writes: that keeps nothing else
 * from being settled, and nothing is sent again and again because of it. What every store does
 * then is in store_contract_refused.c. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define N 7
#define HOUR_MS 3600000
#define SECOND_OUTCOME                     \
    .refused_action = OUTBOX_SETTLE_RETRY, \
    .refused_flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON, .refused_delay_ms = 2 * HOUR_MS

static const struct outbox_settle hows[N] = {
    {.action = OUTBOX_SETTLE_DONE, SECOND_OUTCOME},
    {.action = OUTBOX_SETTLE_RETRY,
     .flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON,
     .delay_ms = HOUR_MS,
     .reason = {"a forbidden word", 16},
     SECOND_OUTCOME},
    {.action = OUTBOX_SETTLE_DONE, SECOND_OUTCOME},
    {.action = OUTBOX_SETTLE_DONE, .flags = OUTBOX_SETTLE_DELETE, SECOND_OUTCOME},
    {.action = OUTBOX_SETTLE_FAILED,
     .flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON,
     .reason = {"another", 7},
     SECOND_OUTCOME},
    {.action = OUTBOX_SETTLE_DONE, SECOND_OUTCOME},
    {.action = OUTBOX_SETTLE_DONE, SECOND_OUTCOME},
};

/* Sets it up so that a row with this seq, 0 for all, meets with a refusal when `condition`. */
static void refuse_with(int seq, const char *condition, const char *refusal)
{
    execute("CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  IF (%d = 0 OR OLD.seq = %d) AND (%s) THEN %s; END IF;"
            "  RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END $$",
            seq, seq, condition, refusal);
    execute("DROP TRIGGER IF EXISTS refuse ON " T);
    execute("CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON " T
            " FOR EACH ROW EXECUTE FUNCTION refuse()");
}

#define RAISES "RAISE EXCEPTION 'not this one'"
#define SKIPS "RETURN NULL"
/* Any outcome but the second one. */
#define FIRST_OUTCOME \
    "TG_OP = 'DELETE' OR NEW.status <> 'pending' OR NEW.available_at < now() + interval '90 min'"
/* In leases a claim is a change, too. */
#define ANY_OUTCOME "TG_OP = 'DELETE' OR NEW.status <> 'processing'"

static struct store *with_batch(int mode, struct outbox_batch **ret)
{
    use_mode(mode);
    struct store *s = instance_as("one", NULL);
    produce(N);
    *ret = claim(s, N, LEASE_MS);
    ck_assert_uint_eq((*ret)->n, N);
    return s;
}

static void settle_each(struct store *s, struct outbox_batch *batch, uint8_t *settled)
{
    struct outbox_err err;
    assert_class(try_settle_each(s, batch, hows, within(20000), settled, &err), OUTBOX_OK, &err);
    release(s, batch);
}

static void assert_rows(const char *condition, int n)
{
    ck_assert_int_eq(number("SELECT count(*) FROM ONLY " T " WHERE %s", condition), n);
}

/* Nobody else is to look at what is left of a batch before it is settled: no DDL waits for it. */
static void assert_settled(const uint8_t *settled, size_t n, size_t other, uint8_t as)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(settled[i] == (i == other ? as : OUTBOX_SETTLED), "%zu: %u", i, settled[i]);
}

START_TEST(a_reason_that_is_refused_is_left_out)
{
    struct outbox_batch *batch;
    uint8_t settled[N];
    execute("ALTER TABLE " T " ADD CHECK (last_error NOT LIKE '%%forbidden%%')");
    struct store *s = with_batch(_i, &batch);
    settle_each(s, batch, settled);
    assert_settled(settled, N, N, 0);
    assert_rows("status = 'processed'", 4);
    assert_rows("status = 'failed' AND retries = 1 AND last_error = 'another'", 1);
    assert_rows("status = 'pending' AND retries = 1 AND last_error = '' AND available_at > now()",
                1);
    assert_rows("true", N - 1);
}
END_TEST

/* By the place in the batch of the one that is refused, in each way of holding rows. All of it is
 * one transaction with locks: nobody else gets what waits for its turn. */
START_TEST(an_outcome_that_is_refused_has_a_second_one)
{
    struct outbox_batch *batch;
    uint8_t settled[N];
    int seq = _i / N_MODES + 1;
    refuse_with(seq, FIRST_OUTCOME, RAISES);
    execute("ALTER TABLE " T " ADD COLUMN by text");
    execute("CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  IF NEW.status <> 'processing' THEN NEW.by = txid_current(); END IF;"
            "  RETURN NEW; END $$");
    execute("CREATE TRIGGER note BEFORE UPDATE ON " T " FOR EACH ROW EXECUTE FUNCTION note()");
    if (mode_is_leases(_i % N_MODES)) /* a claim, too */
        refuse_with(seq, "TG_OP = 'DELETE' OR (NEW.status <> 'processing' AND (" FIRST_OUTCOME "))",
                    RAISES);
    struct store *s = with_batch(_i % N_MODES, &batch);
    settle_each(s, batch, settled);
    assert_settled(settled, N, (size_t)seq - 1, OUTBOX_SETTLED_REFUSED);
    assert_rows("status = 'pending' AND retries = 1 AND last_error LIKE '%not this one (P0001)'"
                " AND available_at > now() + interval '90 minutes'",
                1);
    assert_rows("status = 'pending'", seq == 2 ? 1 : 2);
    assert_rows("status = 'processed'", hows[seq - 1].action == OUTBOX_SETTLE_DONE &&
                                                !(hows[seq - 1].flags & OUTBOX_SETTLE_DELETE)
                                            ? 3
                                            : 4);
    assert_rows("status = 'failed'", seq == 5 ? 0 : 1);
    if (!mode_is_leases(_i % N_MODES))
        ck_assert_int_eq(number("SELECT count(DISTINCT by) FROM " T), 1);
}
END_TEST

START_TEST(a_row_that_may_not_be_changed_at_all_keeps_no_other)
{
    struct outbox_batch *batch;
    uint8_t settled[N];
    refuse_with(3, ANY_OUTCOME, _i / N_MODES ? SKIPS : RAISES);
    struct store *s = with_batch(_i % N_MODES, &batch);
    settle_each(s, batch, settled);
    assert_settled(settled, N, 2, OUTBOX_SETTLED_QUARANTINED);
    assert_rows("status = 'processed'", 3);
    assert_rows("seq = 3 AND status IN ('pending', 'processing') AND retries = 0", 1);
    batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_uint_eq(batch->n_quarantined, 1);
    release(s, batch);
}
END_TEST

/* What was sent, and could not be written, is written when it can be: the message is not sent
 * again.
 */
START_TEST(a_message_whose_row_was_set_aside_is_not_sent_again)
{
    struct outbox_batch *batch;
    struct outbox_err err;
    use_mode(_i % N_MODES);
    bool deletes = _i / N_MODES;
    execute("CREATE TABLE broken ()");
    char condition[200];
    snprintf(condition, sizeof condition,
             "to_regclass('%s.broken') IS NOT NULL AND (" ANY_OUTCOME ")", the_schema());
    refuse_with(2, condition, RAISES);
    struct store *s = instance_as("one", NULL);
    produce(3);
    batch = claim(s, N, LEASE_MS);
    assert_class(try_settle(s, batch, deletes ? DONE_DELETED : DONE, within(6000), NULL, &err),
                 OUTBOX_OK, &err);
    release(s, batch);
    for (int i = 0; i < 3; i++, pass_ms(s, i * 61000)) {
        batch = claim(s, N, LEASE_MS);
        ck_assert_uint_eq(batch->n, 0);
        ck_assert_uint_eq(batch->n_quarantined, 1);
        release(s, batch);
    }
    execute("DROP TABLE broken");
    pass_ms(s, 3600000);
    batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_uint_eq(batch->n_quarantined, 0);
    release(s, batch);
    assert_rows("status = 'processed'", deletes ? 0 : 3);
    assert_rows("true", deletes ? 0 : 3);
}
END_TEST

START_TEST(a_table_that_refuses_all_rows_has_them_set_aside)
{
    struct outbox_batch *batch;
    uint8_t settled[N];
    refuse_with(0, ANY_OUTCOME, RAISES);
    struct store *s = with_batch(_i, &batch);
    settle_each(s, batch, settled);
    for (int i = 0; i < N; i++)
        ck_assert_uint_eq(settled[i], OUTBOX_SETTLED_QUARANTINED);
    batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_uint_eq(batch->n_quarantined, N);
    assert_says(&(struct { const char *text; }){batch->quarantine_reason.p}, "not this one");
    release(s, batch);
}
END_TEST

/* A trigger for the statement fails without any row, too. */
START_TEST(what_fails_without_any_row_is_an_outage)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    uint8_t settled[N];
    execute("CREATE TABLE broken ()");
    execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  IF to_regclass('%s.broken') IS NOT NULL THEN RAISE 'not now'; END IF;"
            "  RETURN NULL; END $$",
            the_schema());
    execute("CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON " T
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse()");
    execute("ALTER TABLE " T " DISABLE TRIGGER refuse");
    if (!mode_is_leases(_i)) /* it has to claim */
        execute("ALTER TABLE " T " ENABLE TRIGGER refuse");
    struct store *s = with_batch(_i, &batch);
    if (mode_is_leases(_i))
        execute("ALTER TABLE " T " ENABLE TRIGGER refuse");
    ck_assert_int_lt(try_settle_each(s, batch, hows, within(20000), NULL, &err), 0);
    assert_says(&err, "not now");
    assert_rows("status IN ('pending', 'processing') AND retries = 0", N);
    execute("DROP TABLE broken");
    settle_each(s, batch, settled);
    assert_settled(settled, N, N, 0);
    assert_rows("status = 'processed'", 4);
}
END_TEST

/* What was settled before the call failed stays so with leases, and nothing is told to be stale. */
START_TEST(a_call_that_fails_between_the_parts_goes_on_where_it_was)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    uint8_t settled[N];
    execute("CREATE TABLE slow ()");
    refuse_with(2, ANY_OUTCOME, RAISES);
    execute("CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  IF to_regclass('%s.slow') IS NOT NULL THEN PERFORM pg_sleep(60); END IF;"
            "  RETURN NEW; END $$",
            the_schema());
    execute("CREATE TRIGGER slow BEFORE UPDATE ON " T " FOR EACH ROW WHEN (OLD.seq = 5"
            " AND NEW.status <> 'processing') EXECUTE FUNCTION dawdle()");
    struct store *s = with_batch(_i, &batch);
    assert_class(try_settle_each(s, batch, hows, within(10000), NULL, &err), OUTBOX_E_TIMEOUT,
                 &err);
    /* The first half was settled: the second message's refusal came before the fifth's turn. */
    assert_rows("status = 'processed'", mode_is_leases(_i) ? 2 : 0);
    execute("DROP TABLE slow");
    /* The statement that was given up holds its rows until the server has ended it. */
    for (int waits = 0; number("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
                               " AND query LIKE '%%%s%%'",
                               the_schema()) > 0;
         waits++) {
        ck_assert_int_lt(waits, 1200);
        sleep_ms(50);
    }
    for (int tries = 0; try_settle_each(s, batch, hows, within(20000), settled, &err) < 0;
         tries++) {
        ck_assert_int_lt(tries, 20);
        sleep_ms(200);
    }
    release(s, batch);
    assert_settled(settled, N, 1, OUTBOX_SETTLED_QUARANTINED);
    assert_rows("status = 'processed'", 4);
}
END_TEST

/* A trigger that archives, or a policy, may skip a row without an error. */
START_TEST(an_outcome_that_is_skipped_silently_is_refused)
{
    struct outbox_batch *batch;
    uint8_t settled[N];
    refuse_with(0, "TG_OP = 'DELETE'", SKIPS);
    struct store *s = with_batch(_i, &batch);
    settle_each(s, batch, settled);
    for (int i = 0; i < N; i++)
        ck_assert_uint_eq(settled[i], OUTBOX_SETTLED); /* kept as processed */
    assert_rows("status = 'processed'", 5);
    execute("DELETE FROM " T " WHERE topic = 'none'");
    refuse_with(0, "TG_OP = 'UPDATE' AND NEW.status = 'processed'", SKIPS);
    execute("UPDATE " T " SET status = 'failed'");
    produce(N);
    batch = claim(s, N, LEASE_MS);
    settle_each(s, batch, settled);
    for (int i = 0; i < N; i++)
        ck_assert_uint_eq(settled[i], hows[i].action == OUTBOX_SETTLE_DONE && hows[i].flags == 0
                                          ? OUTBOX_SETTLED_REFUSED
                                          : OUTBOX_SETTLED);
    assert_rows("status = 'processed'", 0);
}
END_TEST

/* Whatever its code; and at the end of the transaction, too. */
static const char *const refusals[] = {
    "RAISE 'x' USING ERRCODE = '27000'", "RAISE 'x' USING ERRCODE = '42501'",
    "RAISE 'x' USING ERRCODE = '42P01'", "RAISE 'x' USING ERRCODE = '0A000'",
    "RAISE 'x' USING ERRCODE = '55000'", "PERFORM 1 FROM no_such_table",
};
#define N_REFUSING ((int)(sizeof refusals / sizeof refusals[0]))

START_TEST(any_code_is_a_refusal_if_it_is_a_rows)
{
    struct outbox_batch *batch;
    uint8_t settled[N];
    refuse_with(3, "TG_OP = 'UPDATE' AND NEW.status = 'processed'", refusals[_i / N_MODES]);
    struct store *s = with_batch(_i % N_MODES, &batch);
    settle_each(s, batch, settled);
    assert_settled(settled, N, 2, OUTBOX_SETTLED_REFUSED);
    assert_rows("status = 'processed'", 3);
    assert_rows("seq = 3 AND status = 'pending' AND retries = 1", 1);
    produce(2);
    batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
    release(s, batch);
}
END_TEST

START_TEST(what_is_checked_at_the_end_of_a_transaction_is_a_refusal)
{
    struct outbox_batch *batch;
    uint8_t settled[N];
    execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  RAISE 'not in the end'; END $$");
    execute("CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON " T
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.seq IN (3, 7) AND NEW.status ="
            " 'processed') EXECUTE FUNCTION refuse()");
    struct store *s = with_batch(_i, &batch);
    settle_each(s, batch, settled);
    for (int i = 0; i < N; i++)
        ck_assert_uint_eq(settled[i], i == 2 || i == 6 ? OUTBOX_SETTLED_REFUSED : OUTBOX_SETTLED);
    assert_rows("status = 'processed'", 2);
    assert_rows("last_error LIKE '%not in the end (P0001)' AND retries = 1", 2);
    produce(2);
    batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
    release(s, batch);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: refused");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "refused");
    tcase_add_loop_test(tc, a_reason_that_is_refused_is_left_out, 0, N_MODES);
    tcase_add_loop_test(tc, an_outcome_that_is_refused_has_a_second_one, 0, N_MODES * N);
    tcase_add_loop_test(tc, an_outcome_that_is_skipped_silently_is_refused, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_row_that_may_not_be_changed_at_all_keeps_no_other, 0, 2 * N_MODES);
    tcase_add_loop_test(tc, a_message_whose_row_was_set_aside_is_not_sent_again, 0, 2 * N_MODES);
    tcase_add_loop_test(tc, a_table_that_refuses_all_rows_has_them_set_aside, 0, N_MODES);
    tcase_add_loop_test(tc, what_fails_without_any_row_is_an_outage, 0, N_MODES);
    tcase_add_loop_test(tc, a_call_that_fails_between_the_parts_goes_on_where_it_was, 0,
                        MODES_DIRECT);
    tcase_add_loop_test(tc, any_code_is_a_refusal_if_it_is_a_rows, 0, N_REFUSING * N_MODES);
    tcase_add_loop_test(tc, what_is_checked_at_the_end_of_a_transaction_is_a_refusal, 0, N_MODES);
    return unit_main(suite);
}
