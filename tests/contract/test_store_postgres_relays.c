/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a relay lives is told by a lock of its session. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

static void put(struct store *s, const char *id, bool clean)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_relay_row row = {.size = sizeof row,
                                   .clean = clean,
                                   .id = str(id),
                                   .name = str("shop"),
                                   .config_hash = str("c"),
                                   .state = str("{}"),
                                   .version = str("v")};
    assert_class(store_relay_put(s, &row, CALL, &err), OUTBOX_OK, &err);
}

static const struct outbox_relay_row *row_of(const char *id)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_relay_page *page;
    assert_class(store_relay_list(the_store(), CALL, &page, &err), OUTBOX_OK, &err);
    for (uint32_t i = 0; i < page->n; i++)
        if (outbox_str_eq(page->rows[i]->id, str(id)))
            return page->rows[i];
    ck_abort_msg("there is no relay %s", id);
    return NULL;
}

static void assert_lives(const char *id, uint32_t lives)
{
    ck_assert_uint_eq(row_of(id)->lives, lives);
}

START_TEST(a_relay_lives_as_long_as_its_session)
{
    struct store *a = instance_as("a", NULL), *b = instance_as("b", NULL);
    put(a, "a", false);
    put(b, "b", false);
    assert_lives("a", OUTBOX_RELAY_LIVES);
    assert_lives("b", OUTBOX_RELAY_LIVES);
    terminate("a");
    assert_lives("a", OUTBOX_RELAY_DEAD);
    assert_lives("b", OUTBOX_RELAY_LIVES);
    put(a, "a", false);
    assert_lives("a", OUTBOX_RELAY_LIVES);
    store_close(a);
    ck_assert(soon("SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = '" T
                   "'::regclass"));
    assert_lives("a", OUTBOX_RELAY_DEAD);
    put(b, "b", false);
    put(b, "b", true);
    ck_assert(row_of("b")->clean);
    execute("UPDATE " T "_relays SET alive_at = pg_postmaster_start_time() - interval '1 second'");
    assert_lives("a", OUTBOX_RELAY_UNKNOWN);
    ck_assert_int_eq(number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND"
                            " classid = '" T "'::regclass"),
                     0);
}
END_TEST

/* Its other calls do not matter, whatever they do with the connection. */
START_TEST(a_relay_lives_while_it_works)
{
    struct store *a = instance_as("a", NULL);
    put(a, "a", false);
    for (int i = 0; i < 3; i++) {
        produce(1);
        struct outbox_batch *batch = claim(a, 10, LEASE_MS);
        settle_all(a, batch, DONE);
        release(a, batch);
        assert_lives("a", OUTBOX_RELAY_LIVES);
        put(a, "a", false);
    }
    ck_assert_int_eq(number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND"
                            " classid = '" T "'::regclass"),
                     1);
}
END_TEST

START_TEST(of_a_relay_behind_a_pooler_nobody_knows)
{
    use_mode(MODE_LOCKS_POOLED);
    struct store *a = instance_as("a", NULL);
    put(a, "a", false);
    assert_lives("a", OUTBOX_RELAY_UNKNOWN);
    ck_assert_int_eq(number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND"
                            " classid = '" T "'::regclass"),
                     0);
    store_close(a);
    assert_lives("a", OUTBOX_RELAY_UNKNOWN);
}
END_TEST

START_TEST(times_of_no_clock_are_of_this_world)
{
    struct store *a = instance_as("a", NULL);
    put(a, "a", false);
    execute("UPDATE " T "_relays SET alive_at = '%sinfinity', started_at = '%sinfinity'",
            _i ? "-" : "", _i ? "-" : "");
    const struct outbox_relay_row *row = row_of("a");
    ck_assert_int_ge(row->alive_us, 0);
    ck_assert_int_ge(row->started_us, 0);
    ck_assert_int_lt(row->alive_us, INT64_MAX / 2);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: relays");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "relays");
    tcase_add_test(tc, a_relay_lives_as_long_as_its_session);
    tcase_add_test(tc, a_relay_lives_while_it_works);
    tcase_add_test(tc, of_a_relay_behind_a_pooler_nobody_knows);
    tcase_add_loop_test(tc, times_of_no_clock_are_of_this_world, 0, 2);
    return unit_main(suite);
}
