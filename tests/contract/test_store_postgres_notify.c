/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The gate of notify = on (see notify.c), step by step: whatever producers and a relay do in which
 * order, a claim after wait() returned sees what was committed, or wait() returns again. While the
 * gate is open nobody notifies.
 */
#include "postgres_gate.h"
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

START_TEST(a_commit_wakes_who_sleeps)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *listener = a_listener();
    fall_asleep(s);
    struct waiter *w = begin_to_wait(s);
    assert_waits(w);
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    run_pg(p, INSERT);
    assert_waits(w);
    run_pg(p, "COMMIT");
    ck_assert_int_lt(await_waiter(w), 15000);
    ck_assert_int_eq(drain(s), 2);
    ck_assert_int_eq(notifications(listener), 1); /* of one transaction */
    PQfinish(p);
    PQfinish(listener);
}
END_TEST

START_TEST(while_the_gate_is_open_nobody_notifies)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *listener = a_listener();
    run_pg(p, INSERT);
    ck_assert_int_eq(notifications(listener), 0);
    fall_asleep(s);
    run_pg(p, INSERT);
    ck_assert_int_eq(notifications(listener), 1);
    rest(s);
    run_pg(p, INSERT);
    ck_assert_int_eq(notifications(listener), 0);
    assert_seen(s, 3, 1000);
    PQfinish(p);
    PQfinish(listener);
}
END_TEST

START_TEST(a_transaction_that_began_before_the_gate_was_shut_is_waited_for)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *listener = a_listener();
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    int looks = 0;
    for (int64_t end = now_ms() + 1000; now_ms() < end; looks++) {
        ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK); /* it may come any time: look */
        ck_assert_int_eq(drain(s), 0);
    }
    ck_assert_int_le(looks, 12);
    run_pg(p, "COMMIT");
    assert_seen(s, 1, 1000);
    ck_assert_int_eq(notifications(listener), 0);
    fall_asleep(s);
    PQfinish(p);
    PQfinish(listener);
}
END_TEST

START_TEST(a_commit_while_the_gate_is_pushed_is_seen)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *q = open_pg();
    for (int i = 0; i < 10; i++) {
        fall_asleep(s);
        rest(s);
        run_pg(p, "BEGIN");
        run_pg(p, INSERT);
        struct waiter *w = begin_to_wait(s); /* waits for p, with the lock asked for */
        sleep_ms(i * 12);
        run_pg(q, INSERT); /* knows that somebody waits */
        run_pg(p, "COMMIT");
        await_waiter(w);
        assert_seen(s, 2, 1000);
    }
    PQfinish(p);
    PQfinish(q);
}
END_TEST

START_TEST(what_is_rolled_back_wakes_nobody)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *listener = a_listener();
    fall_asleep(s);
    struct waiter *w = begin_to_wait(s);
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    run_pg(p, "ROLLBACK");
    run_pg(p, "BEGIN");
    run_pg(p, "SAVEPOINT a");
    run_pg(p, INSERT);
    run_pg(p, "ROLLBACK TO a");
    run_pg(p, "COMMIT");
    assert_waits(w);
    ck_assert_int_eq(notifications(listener), 0);
    run_pg(p, INSERT);
    await_waiter(w);
    ck_assert_int_eq(drain(s), 1);
    PQfinish(p);
    PQfinish(listener);
}
END_TEST

START_TEST(subtransactions_keep_the_gate_and_let_it_go)
{
    struct store *s = the_store();
    PGconn *p = open_pg();
    /* undone: the relay may sleep, and is woken by what comes after */
    run_pg(p, "BEGIN; SAVEPOINT a");
    run_pg(p, INSERT);
    run_pg(p, "ROLLBACK TO a");
    fall_asleep(s);
    struct waiter *w = begin_to_wait(s);
    run_pg(p, "SAVEPOINT b");
    run_pg(p, INSERT);
    run_pg(p, "RELEASE b");
    assert_waits(w);
    run_pg(p, "COMMIT");
    ck_assert_int_lt(await_waiter(w), 15000);
    ck_assert_int_eq(drain(s), 1);
    /* undone, but there was one before */
    rest(s);
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    run_pg(p, "SAVEPOINT a");
    run_pg(p, INSERT);
    run_pg(p, "ROLLBACK TO a");
    ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
    ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
    run_pg(p, "COMMIT");
    assert_seen(s, 1, 1000);
    /* it notified in what was undone, and found the gate open after */
    fall_asleep(s);
    run_pg(p, "BEGIN; SAVEPOINT a");
    run_pg(p, INSERT);
    run_pg(p, "ROLLBACK TO a");
    rest(s);
    run_pg(p, INSERT);
    ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
    ck_assert_int_eq(drain(s), 0);
    run_pg(p, "COMMIT");
    assert_seen(s, 1, 1000);
    PQfinish(p);
}
END_TEST

START_TEST(all_producers_that_have_the_gate_open_are_waited_for)
{
    struct store *s = the_store();
    PGconn *p = open_pg(), *q = open_pg();
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    run_pg(q, "BEGIN");
    run_pg(q, INSERT);
    ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
    run_pg(p, "COMMIT");
    assert_seen(s, 1, 1000);
    ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
    run_pg(q, "COMMIT");
    assert_seen(s, 1, 1000);
    fall_asleep(s);
    PQfinish(p);
    PQfinish(q);
}
END_TEST

/* It has no session that anybody could see in a list of them. */
START_TEST(a_prepared_transaction_that_keeps_the_gate_open_is_named)
{
    struct store *s = the_store();
    PGconn *p = open_pg();
    char sql[100];
    if (number("SELECT current_setting('max_prepared_transactions')::int") == 0)
        return;
    run_pg(p, "BEGIN");
    run_pg(p, INSERT);
    snprintf(sql, sizeof sql, "PREPARE TRANSACTION '%s'", the_schema());
    run_pg(p, sql);
    for (int64_t end = now_ms() + 60000; times_logged("prepared transaction") == 0;) {
        ck_assert_int_lt(now_ms(), end);
        wait_for(s, 1000);
    }
    ck_assert_int_eq(times_logged(the_schema()), 1);
    snprintf(sql, sizeof sql, "COMMIT PREPARED '%s'", the_schema());
    run_pg(p, sql);
    fall_asleep(s);
    PQfinish(p);
}
END_TEST

START_TEST(what_was_committed_during_a_rest_is_seen_after_it)
{
    struct store *s = the_store();
    PGconn *p = open_pg();
    for (int i = 0; i < 3; i++) {
        fall_asleep(s);
        rest(s);
        rest(s); /* twice is not too much */
        run_pg(p, INSERT);
        ck_assert_int_eq(wait_for(s, 5000), OUTBOX_OK);
        ck_assert_int_eq(drain(s), 1);
    }
    PQfinish(p);
}
END_TEST

START_TEST(a_lost_connection_is_made_again_and_nothing_is_missed)
{
    struct outbox_err err = {.size = sizeof err};
    char conninfo[300];
    snprintf(conninfo, sizeof conninfo, "%s application_name=%s", getenv("OUTBOX_TEST_PG"),
             own_name("watch"));
    use_option("notify_conninfo", conninfo);
    struct store *s = an_instance();
    PGconn *p = open_pg();
    for (int i = 0; i < 2; i++) {
        fall_asleep(s);
        terminate("watch");
        run_pg(p, INSERT);
        struct outbox_call call = within(5000);
        int r = store_wait(s, &call, &err);
        while (r == OUTBOX_E_RETRY)
            r = store_wait(s, &call, &err);
        ck_assert_int_eq(r, OUTBOX_OK);
        ck_assert_int_eq(drain(s), 1);
    }
    PQfinish(p);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    way.notify = "on";
    Suite *suite = suite_create("store-postgres: notify");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "notify");
    tcase_add_test(tc, a_commit_wakes_who_sleeps);
    tcase_add_test(tc, while_the_gate_is_open_nobody_notifies);
    tcase_add_test(tc, a_transaction_that_began_before_the_gate_was_shut_is_waited_for);
    tcase_add_test(tc, a_commit_while_the_gate_is_pushed_is_seen);
    tcase_add_test(tc, what_is_rolled_back_wakes_nobody);
    tcase_add_test(tc, subtransactions_keep_the_gate_and_let_it_go);
    tcase_add_test(tc, all_producers_that_have_the_gate_open_are_waited_for);
    tcase_add_test(tc, a_prepared_transaction_that_keeps_the_gate_open_is_named);
    tcase_add_test(tc, what_was_committed_during_a_rest_is_seen_after_it);
    tcase_add_test(tc, a_lost_connection_is_made_again_and_nothing_is_missed);
    return unit_main(suite);
}
