/* SPDX-License-Identifier: Apache-2.0 */
/* A check or a trigger of the table's owner refuses what a settle writes: that keeps nothing else
 * from being settled, and nothing is sent again and again because of it. */
#include "postgres_rig.h"
#include "unit.h"

#define N 7

static const struct outbox_settle hows[N] = {
    {.action = OUTBOX_SETTLE_DONE},
    {.action = OUTBOX_SETTLE_RETRY,
     .flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON,
     .delay_ms = 3600000,
     .reason = {"a forbidden word", 16}},
    {.action = OUTBOX_SETTLE_DONE},
    {.action = OUTBOX_SETTLE_DONE, .flags = OUTBOX_SETTLE_DELETE},
    {.action = OUTBOX_SETTLE_FAILED,
     .flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON,
     .reason = {"another", 7}},
    {.action = OUTBOX_SETTLE_DONE},
    {.action = OUTBOX_SETTLE_DONE},
};

/* Sets it up so that a row with this seq, 0 for all, meets with a refusal when `condition`. */
static void refuse(int seq, const char *condition)
{
    execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            "  IF (%d = 0 OR OLD.seq = %d) AND (%s) THEN RAISE EXCEPTION 'not this one'; END IF;"
            "  RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END $$",
            seq, seq, condition);
    execute("CREATE TRIGGER refuse BEFORE UPDATE OR DELETE ON " T
            " FOR EACH ROW EXECUTE FUNCTION refuse()");
}

static struct store *with_batch(int mode, struct outbox_batch **ret)
{
    use_mode(mode);
    struct store *s = instance_as("one", NULL);
    produce(N);
    *ret = claim(s, N, LEASE_MS);
    ck_assert_uint_eq((*ret)->n, N);
    return s;
}

static void settle_each(struct store *s, struct outbox_batch *batch, uint8_t *stale)
{
    struct outbox_err err;
    assert_class(try_settle_each(s, batch, hows, within(20000), stale, &err), OUTBOX_OK, &err);
    release(s, batch);
}

static void assert_rows(const char *condition, int n)
{
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE %s", condition), n);
}

START_TEST(a_reason_that_is_refused_is_left_out)
{
    static const uint8_t none[N];
    struct outbox_batch *batch;
    uint8_t stale[N];
    execute("ALTER TABLE " T " ADD CHECK (last_error NOT LIKE '%%forbidden%%')");
    struct store *s = with_batch(_i, &batch);
    settle_each(s, batch, stale);
    ck_assert_mem_eq(stale, none, N);
    assert_rows("status = 'processed'", 4);
    assert_rows("status = 'failed' AND retries = 1 AND last_error = 'another'", 1);
    assert_rows("status = 'pending' AND retries = 1 AND last_error = '' AND available_at > now()",
                1);
    assert_rows("true", N - 1);
}
END_TEST

/* By the place in the batch of the one that is refused, in each way of holding rows. */
START_TEST(an_outcome_that_is_refused_leaves_its_message_waiting)
{
    struct outbox_batch *batch;
    uint8_t stale[N], only[N] = {0};
    int seq = _i / N_MODES + 1;
    struct store *s = with_batch(_i % N_MODES, &batch);
    refuse(seq, "TG_OP = 'DELETE' OR NEW.status <> 'pending' OR NEW.retries > 0");
    settle_each(s, batch, stale);
    only[seq - 1] = 1;
    ck_assert_mem_eq(stale, only, N);
    assert_rows(
        "status = 'pending' AND retries = 0 AND last_error = ''"
        " AND available_at BETWEEN now() + interval '30 seconds' AND now() + interval '2 minutes'",
        1);
    assert_rows("status = 'pending'", seq == 2 ? 1 : 2);
    assert_rows("status = 'processed'", hows[seq - 1].action == OUTBOX_SETTLE_DONE &&
                                                !(hows[seq - 1].flags & OUTBOX_SETTLE_DELETE)
                                            ? 3
                                            : 4);
    assert_rows("status = 'failed'", seq == 5 ? 0 : 1);
}
END_TEST

START_TEST(a_row_that_may_not_be_changed_at_all_keeps_no_other)
{
    struct outbox_batch *batch;
    uint8_t stale[N];
    static const uint8_t only[N] = {0, 0, 1};
    struct store *s = with_batch(_i, &batch);
    refuse(3, "true");
    settle_each(s, batch, stale);
    ck_assert_mem_eq(stale, only, N);
    assert_rows("status = 'processed'", 3);
    assert_rows("seq = 3 AND status IN ('pending', 'processing') AND retries = 0", 1);
}
END_TEST

START_TEST(a_table_that_refuses_everything_fails_the_call_until_it_no_longer_does)
{
    static const uint8_t none[N];
    struct outbox_err err;
    struct outbox_batch *batch;
    uint8_t stale[N];
    struct store *s = with_batch(_i, &batch);
    refuse(0, "true");
    ck_assert_int_lt(try_settle_each(s, batch, hows, within(20000), NULL, &err), 0);
    assert_says(&err, "not this one");
    assert_rows("status IN ('pending', 'processing') AND retries = 0", N);
    execute("DROP TRIGGER refuse ON " T);
    settle_each(s, batch, stale);
    ck_assert_mem_eq(stale, none, N);
    assert_rows("status = 'processed'", 4);
}
END_TEST

/* What was settled before the call failed stays so, and is not told to be stale. */
START_TEST(a_call_that_fails_between_the_parts_goes_on_where_it_was)
{
    static const uint8_t only[N] = {0, 1};
    struct outbox_err err;
    struct outbox_batch *batch;
    uint8_t stale[N];
    struct store *s = with_batch(_i, &batch);
    refuse(2, "TG_OP = 'DELETE' OR NEW.retries > 0");
    execute("CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$");
    execute("CREATE TRIGGER slow BEFORE UPDATE ON " T
            " FOR EACH ROW WHEN (OLD.seq = 5) EXECUTE FUNCTION dawdle()");
    assert_class(try_settle_each(s, batch, hows, within(10000), NULL, &err), OUTBOX_E_TIMEOUT,
                 &err);
    /* The first half was settled: the second message's refusal came before the fifth's turn. */
    assert_rows("status = 'processed' AND seq IN (1, 3)", 2);
    assert_rows("status = 'processed'", 2);
    execute("DROP TRIGGER slow ON " T);
    for (int tries = 0; try_settle_each(s, batch, hows, within(20000), stale, &err) < 0; tries++) {
        ck_assert_int_lt(tries, 20);
        sleep_ms(200);
    }
    release(s, batch);
    ck_assert_mem_eq(stale, only, N);
    assert_rows("status = 'processed'", 4);
    assert_rows("seq = 2 AND status = 'pending' AND retries = 0 AND available_at > now()", 1);
}
END_TEST

/* A trigger that archives, or a policy, may skip a row without an error. */
START_TEST(an_outcome_that_is_skipped_silently_is_told)
{
    static const uint8_t deleted[N] = {0, 0, 0, 1}, changed[N] = {1, 0, 1, 0, 0, 1, 1};
    struct outbox_batch *batch;
    uint8_t stale[N];
    struct store *s = with_batch(_i, &batch);
    execute(
        "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$");
    execute("CREATE TRIGGER skip BEFORE DELETE ON " T " FOR EACH ROW EXECUTE FUNCTION skip()");
    settle_each(s, batch, stale);
    ck_assert_mem_eq(stale, deleted, N);
    assert_rows("status = 'processed'", 4);
    execute("DROP TRIGGER skip ON " T);
    execute("DELETE FROM " T);
    produce(N);
    batch = claim(s, N, LEASE_MS);
    execute("CREATE TRIGGER skip BEFORE UPDATE ON " T
            " FOR EACH ROW WHEN (NEW.status = 'processed') EXECUTE FUNCTION skip()");
    settle_each(s, batch, stale);
    ck_assert_mem_eq(stale, changed, N);
    assert_rows("status = 'failed'", 1);
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
    tcase_add_loop_test(tc, an_outcome_that_is_refused_leaves_its_message_waiting, 0, N_MODES * N);
    tcase_add_loop_test(tc, an_outcome_that_is_skipped_silently_is_told, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_row_that_may_not_be_changed_at_all_keeps_no_other, 0, N_MODES);
    tcase_add_loop_test(tc, a_table_that_refuses_everything_fails_the_call_until_it_no_longer_does,
                        0, N_MODES);
    tcase_add_loop_test(tc, a_call_that_fails_between_the_parts_goes_on_where_it_was, 0,
                        MODES_DIRECT);
    return unit_main(suite);
}
