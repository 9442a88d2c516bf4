/* SPDX-License-Identifier: Apache-2.0 */
/* How a claim finds its rows, whatever the planner believes and however many are dead. */
#include "base/clock.h"
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

/* Statistics that a table without rows left behind. */
static void mislead_planner(int n, const char *columns, const char *values)
{
    execute("ALTER TABLE " T " SET (autovacuum_enabled = off)");
    execute("ANALYZE " T);
    produce_many(n, columns, values);
}

static int64_t read_by(const char *index)
{
    return number("SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE"
                  " schemaname = '%s' AND indexrelname = '" T "%s'",
                  the_schema(), index);
}

/* A claim whose statement reads few rows, by the index that is there for it and no other. */
static void assert_frugal(struct store *s, const char *index)
{
    char told[200];
    release(s, claim(s, 1, LEASE_MS));
    int64_t fastest = INT64_MAX;
    for (int i = 0; i < 5; i++) {
        int64_t begun = now_ms();
        struct outbox_batch *batch = claim(s, 100, LEASE_MS);
        fastest = now_ms() - begun < fastest ? now_ms() - begun : fastest;
        ck_assert_uint_eq(batch->n, 100);
        ck_assert_uint_eq(settle_all(s, batch, DONE_DELETED), 0);
        release(s, batch);
    }
    ck_assert_int_lt(fastest, 50);
    store_close(s);
    while (sessions("one") > 0) /* whose end tells the statistics */
        sleep_ms(5);
    snprintf(told, sizeof told,
             "SELECT sum(idx_tup_read) >= 500 FROM pg_stat_user_indexes WHERE schemaname = '%s' AND"
             " indexrelname = '" T "%s'",
             the_schema(), index);
    ck_assert(soon(told));
    ck_assert_int_lt(read_by("_ready") + read_by("_delayed"), 5000);
    ck_assert_int_lt(read_by("_pkey") + read_by("_lanes") + read_by("_done"), 100);
    ck_assert_int_lt(read_by("_seq"), 1000);
    ck_assert_int_eq(number("SELECT seq_tup_read FROM pg_stat_user_tables WHERE schemaname = '%s'"
                            " AND relname = '" T "'",
                            the_schema()),
                     0);
}

START_TEST(a_claim_is_quick_though_statistics_are_of_an_empty_table)
{
    struct store *s = the_way(_i);
    mislead_planner(300000, "", "");
    assert_frugal(s, "_ready");
}
END_TEST

START_TEST(a_claim_of_retries_is_quick_though_statistics_are_of_an_empty_table)
{
    struct store *s = the_way(_i);
    mislead_planner(100000, ", available_at", ", now() - interval '1 hour' + i * interval '1 ms'");
    assert_frugal(s, "_delayed");
}
END_TEST

/* Of several claims: the machine is not slow in all of them. */
struct stretch {
    int64_t fastest_us, sum_us;
};

static void count(struct stretch *stretch, int64_t us)
{
    stretch->fastest_us = us < stretch->fastest_us ? us : stretch->fastest_us;
    stretch->sum_us += us;
}

/* While somebody keeps an old snapshot no dead row can go; a dump, say, or a standby's query. */
START_TEST(an_old_snapshot_does_not_slow_claims_down_without_bound)
{
    struct store *s = the_way(_i);
    PGconn *old = open_pg();
    struct stretch first = {.fastest_us = INT64_MAX}, last = first;
    produce_many(60000, "", "");
    run_pg(old, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    run_pg(old, "SELECT count(*) FROM " T);
    for (int i = 0; i < 110; i++) {
        int64_t begun_us = clock_monotonic_us();
        struct outbox_batch *batch = claim(s, 500, LEASE_MS);
        ck_assert_uint_eq(batch->n, 500);
        if (i >= 10 && i < 30)
            count(&first, clock_monotonic_us() - begun_us);
        if (i >= 90)
            count(&last, clock_monotonic_us() - begun_us);
        ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
        release(s, batch);
    }
    printf("# figures: 20 claims of 500 took %lld ms at first, %lld ms behind 50,000 dead rows\n",
           (long long)first.sum_us / 1000, (long long)last.sum_us / 1000);
    printf("# figures: the fastest %lld and %lld us\n", (long long)first.fastest_us,
           (long long)last.fastest_us);
    ck_assert_int_lt(last.fastest_us, 3 * first.fastest_us + 10000);
    PQfinish(old);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    Suite *suite = suite_create("store-postgres: plans");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "plans");
    tcase_add_loop_test(tc, a_claim_is_quick_though_statistics_are_of_an_empty_table, 0,
                        MODES_DIRECT);
    tcase_add_loop_test(tc, a_claim_of_retries_is_quick_though_statistics_are_of_an_empty_table, 0,
                        MODES_DIRECT);
    tcase_add_loop_test(tc, an_old_snapshot_does_not_slow_claims_down_without_bound, 0,
                        MODES_DIRECT);
    return unit_main(suite);
}
