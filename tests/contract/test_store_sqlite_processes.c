/* SPDX-License-Identifier: Apache-2.0 */
/* Several processes on one database: claims that do not overlap, deaths, and being woken. */
#include "sqlite_kind.h"
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define T "outbox_messages"

static void claim_and_die(void)
{
    claim(an_instance(), 10, 500);
    raise(SIGKILL);
}

START_TEST(a_killed_relays_messages_are_free_when_its_lease_ends)
{
    int status;
    produce(3);
    pid_t pid = in_child(claim_and_die);
    int64_t begun = now_ms();
    go();
    waitpid(pid, &status, 0);
    ck_assert(WIFSIGNALED(status));
    struct outbox_batch *batch = claim_soon(the_store());
    ck_assert_int_ge(now_ms() - begun, 490);
    ck_assert_uint_eq(batch->n, 3);
    release(the_store(), batch);
}
END_TEST

#define TOGETHER 10200

/* Writes down what it claimed, until all were seen; the table refuses to hear of a message twice.
 */
static void relay_together(void)
{
    struct store *s = an_instance();
    sqlite3 *db = open_db("seen.db");
    while (one_number(db, "SELECT count(*) FROM seen") < TOGETHER) {
        struct outbox_batch *batch = claim(s, 200, LEASE_MS);
        run_sql(db, "BEGIN IMMEDIATE");
        for (uint32_t i = 0; i < batch->n; i++) {
            char sql[80];
            snprintf(sql, sizeof sql, "INSERT INTO seen VALUES (%lld)",
                     (long long)batch->messages[i]->seq);
            run_sql(db, sql);
        }
        run_sql(db, "COMMIT");
        if (batch->n > 0)
            settle_all(s, batch, (struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
        else
            sleep_ms(20);
        release(s, batch);
    }
}

START_TEST(processes_that_relay_together_never_take_the_same)
{
    sqlite3 *seen = open_db("seen.db");
    run_sql(seen, "CREATE TABLE seen (seq INTEGER PRIMARY KEY)");
    sqlite3_close(seen);
    produce(10000);
    pid_t a = in_child(relay_together), b = in_child(relay_together);
    go();
    go();
    for (int i = 0; i < 20; i++)
        produce(10);
    await_child(a);
    await_child(b);
    seen = open_db("seen.db");
    ck_assert_int_eq(one_number(seen, "SELECT count(*) FROM seen"), TOGETHER);
    sqlite3_close(seen);
}
END_TEST

static void commit_soon(void)
{
    sqlite3 *db = open_db("shop.db");
    sleep_ms(200);
    run_sql(db, "INSERT INTO " T " (topic) VALUES ('t')");
    sqlite3_close(db);
}

/* The watch is made, and what happened before is known. */
static void begin_to_wait(struct store *s)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_call call = within(0);
    while (store_wait(s, &call, &err) == OUTBOX_OK)
        continue;
}

START_TEST(a_commit_of_another_process_wakes_who_waits)
{
    struct outbox_err err = {.size = sizeof err};
    pid_t pid = in_child(commit_soon);
    begin_to_wait(the_store());
    int64_t begun = now_ms();
    go();
    assert_class(store_wait(the_store(), CALL, &err), OUTBOX_OK, &err);
    ck_assert_int_ge(now_ms() - begun, 190);
    ck_assert_int_lt(now_ms() - begun, 10000);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    release(the_store(), batch);
    await_child(pid);
}
END_TEST

START_TEST(a_commit_before_the_wait_is_not_missed)
{
    struct outbox_err err = {.size = sizeof err};
    begin_to_wait(the_store());
    produce(1);
    assert_class(store_wait(the_store(), CALL, &err), OUTBOX_OK, &err);
}
END_TEST

START_TEST(waiting_costs_nothing_and_is_not_disturbed_by_other_files)
{
    struct outbox_err err = {.size = sizeof err};
    struct rusage before, after;
    struct outbox_call call = within(1000);
    begin_to_wait(the_store());
    char *another = scratch("another");
    FILE *f = fopen(another, "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
    free(another);
    execute("BEGIN");
    execute("INSERT INTO " T " (topic) VALUES ('t')");
    execute("ROLLBACK");
    int64_t begun = now_ms();
    getrusage(RUSAGE_THREAD, &before);
    assert_class(store_wait(the_store(), &call, &err), OUTBOX_E_TIMEOUT, &err);
    getrusage(RUSAGE_THREAD, &after);
    ck_assert_int_ge(now_ms() - begun, 990);
    int64_t us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
                 after.ru_utime.tv_usec - before.ru_utime.tv_usec;
    ck_assert_int_lt(us, 50000);
}
END_TEST

START_TEST(a_database_behind_a_symbolic_link_wakes_too)
{
    struct outbox_err err = {.size = sizeof err};
    char *far = scratch("far"), *link = scratch("far/link.db"), *target = scratch("shop.db");
    ck_assert_int_eq(mkdir(far, 0700), 0);
    ck_assert_int_eq(symlink(target, link), 0);
    use_path(the_options(), "far/link.db");
    pid_t pid = in_child(commit_soon);
    struct store *s = an_instance();
    begin_to_wait(s);
    go();
    assert_class(store_wait(s, CALL, &err), OUTBOX_OK, &err);
    await_child(pid);
    free(far);
    free(link);
    free(target);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store-sqlite: processes");
    store_use(&sqlite_kind);
    TCase *tc = store_case(suite, "processes");
    tcase_add_test(tc, a_killed_relays_messages_are_free_when_its_lease_ends);
    tcase_add_test(tc, processes_that_relay_together_never_take_the_same);
    tcase_add_test(tc, a_commit_of_another_process_wakes_who_waits);
    tcase_add_test(tc, a_commit_before_the_wait_is_not_missed);
    tcase_add_test(tc, waiting_costs_nothing_and_is_not_disturbed_by_other_files);
    tcase_add_test(tc, a_database_behind_a_symbolic_link_wakes_too);
    return unit_main(suite);
}
