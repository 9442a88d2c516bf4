/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and tables that somebody else has locked, and giving back what we hold. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- locks of others ---- */

START_TEST(a_locked_table_costs_a_claim_its_deadline_and_no_more)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    produce(3);
    release(s, claim(s, 10, LEASE_MS));
    execute("BEGIN");
    execute("LOCK TABLE " T);
    int64_t begun = now_ms();
    assert_class(try_claim(s, a_claim(10), within(400), &batch, &err), OUTBOX_E_TIMEOUT, &err);
    ck_assert_int_ge(now_ms() - begun, mode_is_leases(_i) ? 100 : 390);
    ck_assert_int_lt(now_ms() - begun, 10000);
    execute("COMMIT");
    batch = claim_soon(s);
    ck_assert_uint_eq(batch->n, 3);
    ck_assert_uint_eq(settle_at_last(s, batch, DONE, NULL), 0);
    release(s, batch);
}
END_TEST

START_TEST(a_locked_table_costs_a_settle_its_deadline_and_nothing_is_lost)
{
    struct outbox_err err;
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    produce(3);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    execute("BEGIN");
    execute("LOCK TABLE " T " IN SHARE MODE"); /* as building an index does */
    int64_t begun = now_ms();
    assert_class(try_settle(s, batch, FAILED_CHARGED, within(400), NULL, &err), OUTBOX_E_TIMEOUT,
                 &err);
    ck_assert_int_ge(now_ms() - begun, mode_is_leases(_i) ? 100 : 390);
    ck_assert_int_lt(now_ms() - begun, 10000);
    ck_assert_int_lt(try_settle(s, batch, FAILED_CHARGED, within(400), NULL, &err), 0);
    execute("COMMIT");
    ck_assert_uint_eq(settle_at_last(s, batch, FAILED_CHARGED, NULL), 0);
    release(s, batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed' AND retries = 1"),
                     3);
}
END_TEST

START_TEST(rows_that_a_person_locked_are_passed_over)
{
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    produce(3);
    execute("BEGIN");
    execute("UPDATE " T " SET key = 'k' WHERE payload = '2'");
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
    release(s, batch);
    execute("COMMIT");
    batch = claim_soon(s);
    ck_assert_uint_eq(batch->n, 1);
    assert_str(batch->messages[0]->key, "k");
    release(s, batch);
}
END_TEST

/* ---- giving back ---- */

START_TEST(a_batch_whose_server_is_gone_is_given_back_at_once)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = within(5000);
    use_mode(_i);
    struct forward *f = a_forwarder(_i);
    struct store *s = instance_through(f, "one");
    produce(3);
    struct outbox_batch *batch = claim(s, 10, LEASE_MS);
    forward_stop(f);
    int64_t begun = now_ms();
    assert_class(store_release(s, batch, &call, &err), OUTBOX_OK, &err);
    ck_assert_int_lt(now_ms() - begun, 2000);
    batch = claim_soon(the_store());
    ck_assert_uint_eq(batch->n, 3);
    release(the_store(), batch);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: held");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "held");
    tcase_add_loop_test(tc, a_locked_table_costs_a_claim_its_deadline_and_no_more, 0, N_MODES);
    tcase_add_loop_test(tc, a_locked_table_costs_a_settle_its_deadline_and_nothing_is_lost, 0,
                        N_MODES);
    tcase_add_loop_test(tc, rows_that_a_person_locked_are_passed_over, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_batch_whose_server_is_gone_is_given_back_at_once, MODE_LOCKS,
                        MODE_LOCKS + 1);
    return unit_main(suite);
}
