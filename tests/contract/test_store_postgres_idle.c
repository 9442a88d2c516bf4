/* SPDX-License-Identifier: Apache-2.0 */
/* A relay that has nothing to do writes nothing. Transactions are counted by the whole server, so
 * nothing else may use it meanwhile. */
#include "postgres_rig.h"
#include "unit.h"

START_TEST(an_idle_relay_writes_nothing)
{
    use_mode(_i);
    struct store *s = an_instance();
    execute("INSERT INTO " T " (topic, status, available_at) VALUES ('t', 'failed', NULL),"
            " ('t', 'processed', NULL), ('t', 'pending', now() + interval '1 day')");
    release(s, claim(s, 10, LEASE_MS));
    int64_t assigned = 1;
    /* Autovacuum may be at work. */
    for (int64_t end = now_ms() + 60000; assigned > 0 && now_ms() < end; sleep_ms(200)) {
        int64_t before = number("SELECT txid_snapshot_xmax(txid_current_snapshot())");
        for (int i = 0; i < 200; i++)
            release(s, claim(s, 10, LEASE_MS));
        assigned = number("SELECT txid_snapshot_xmax(txid_current_snapshot())") - before;
    }
    ck_assert_int_eq(assigned, 0);
    ck_assert_int_eq(number("SELECT count(*) FROM " T "_leases"), 0);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: idle");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "idle");
    tcase_add_loop_test(tc, an_idle_relay_writes_nothing, 0, MODES_DIRECT);
    return unit_main(suite);
}
