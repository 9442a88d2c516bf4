/* SPDX-License-Identifier: Apache-2.0 */
/* What a table, its owner or another session makes special of one row: it stops no other one. */
#include "postgres_rig.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>

#define N 7

static void assert_rows(const char *condition, int n)
{
    ck_assert_msg(
        number("SELECT count(*) FROM ONLY " T " WHERE %s", condition) == n, "%lld rows: %s",
        (long long)number("SELECT count(*) FROM ONLY " T " WHERE %s", condition), condition);
}

/* With a second outcome: charged, and again in an hour. */
static const struct outbox_settle done = {.action = OUTBOX_SETTLE_DONE,
                                          .refused_action = OUTBOX_SETTLE_RETRY,
                                          .refused_flags =
                                              OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON,
                                          .refused_delay_ms = 3600000};

static void settle_done(struct store *s, struct outbox_batch *batch, uint8_t *settled)
{
    struct outbox_err err;
    assert_class(try_settle(s, batch, done, within(6000), settled, &err), OUTBOX_OK, &err);
}

static void assert_settled(const uint8_t *settled, size_t n, size_t other, uint8_t as)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(settled[i] == (i == other ? as : OUTBOX_SETTLED), "%zu: %u", i, settled[i]);
}

/* ---- rights ---- */

/* A role that may do all that a relay does, and is nobody's superuser. */
static const char *a_role(void)
{
    static char role[80];
    snprintf(role, sizeof role, "%s_relay", the_schema());
    execute("DROP ROLE IF EXISTS %s", role);
    execute("CREATE ROLE %s LOGIN PASSWORD 'secret'", role);
    execute("GRANT USAGE ON SCHEMA %s TO %s", the_schema(), role);
    execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %s TO %s", the_schema(),
            role);
    return role;
}

static struct store *instance_of(const char *role)
{
    char more[200];
    snprintf(more, sizeof more, "user='%s' password=secret", role);
    return instance_as("one", more);
}

static void drop(const char *role)
{
    terminate("one");
    execute("DROP OWNED BY %s; DROP ROLE %s", role, role);
}

START_TEST(a_policy_that_a_row_breaks_refuses_that_row)
{
    uint8_t settled[N];
    use_mode(_i);
    const char *role = a_role();
    execute("ALTER TABLE " T " ENABLE ROW LEVEL SECURITY");
    execute("CREATE POLICY reads ON " T " FOR SELECT USING (true)");
    execute("CREATE POLICY writes ON " T " FOR UPDATE USING (true)"
            " WITH CHECK (payload <> '3' OR status <> 'processed')");
    execute("CREATE POLICY deletes ON " T " FOR DELETE USING (true)");
    struct store *s = instance_of(role);
    produce(N);
    struct outbox_batch *batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, N);
    settle_done(s, batch, settled);
    release(s, batch);
    assert_settled(settled, N, 2, OUTBOX_SETTLED_REFUSED);
    assert_rows("status = 'processed'", N - 1);
    assert_rows("status = 'pending' AND retries = 1 AND last_error LIKE '%row-level security%'", 1);
    drop(role);
}
END_TEST

START_TEST(a_right_that_is_missing_is_an_outage_and_told)
{
    struct outbox_err err;
    uint8_t settled[N];
    use_mode(_i);
    const char *role = a_role();
    execute("REVOKE UPDATE ON " T " FROM %s", role);
    execute("GRANT UPDATE (status, lease) ON " T " TO %s", role);
    struct store *s = instance_of(role);
    produce(N);
    struct outbox_batch *batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, N);
    ck_assert_int_lt(try_settle(s, batch, done, within(6000), NULL, &err), 0);
    assert_says(&err, "grant it to the relay's role");
    assert_rows("status IN ('pending', 'processing') AND retries = 0", N);
    execute("GRANT UPDATE ON " T " TO %s", role);
    settle_done(s, batch, settled);
    assert_settled(settled, N, N, 0);
    release(s, batch);
    drop(role);
}
END_TEST

START_TEST(a_claim_without_a_right_is_an_outage_and_takes_nothing)
{
    struct outbox_err err;
    struct outbox_batch *batch;
    use_mode(_i);
    const char *role = a_role();
    execute("REVOKE ALL ON " T "_leases FROM %s", role);
    struct store *s = instance_of(role);
    produce(N);
    assert_class(try_claim(s, a_claim(N), within(6000), &batch, &err), OUTBOX_E_CONFIG, &err);
    assert_says(&err, "grant it to the relay's role");
    assert_rows("status = 'pending'", N);
    execute("GRANT ALL ON " T "_leases TO %s", role);
    batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, N);
    ck_assert_uint_eq(batch->n_quarantined, 0);
    release(s, batch);
    drop(role);
}
END_TEST

START_TEST(a_published_table_without_an_identity_is_told)
{
    struct outbox_err err;
    uint8_t settled[N];
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    produce(N);
    execute("SET client_min_messages = error");
    struct outbox_batch *batch = NULL;
    if (mode_is_leases(_i))
        batch = claim(s, N, LEASE_MS);
    execute("CREATE PUBLICATION p_%s FOR TABLE " T, the_schema());
    execute("ALTER TABLE " T " REPLICA IDENTITY NOTHING");
    if (!batch)
        batch = claim(s, N, LEASE_MS);
    ck_assert_int_lt(try_settle(s, batch, done, within(6000), NULL, &err), 0);
    assert_says(&err, "needs a replica identity");
    assert_rows("status IN ('pending', 'processing') AND retries = 0", N);
    execute("DROP PUBLICATION p_%s", the_schema());
    settle_done(s, batch, settled);
    assert_settled(settled, N, N, 0);
    release(s, batch);
}
END_TEST

/* ---- other tables ---- */

START_TEST(a_table_that_inherits_keeps_its_rows)
{
    enum { N_CHILD = 15 };
    uint8_t settled[N_CHILD];
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    release(s, claim(s, 1, LEASE_MS)); /* it is connected */
    execute("CREATE TABLE child () INHERITS (" T ")");
    execute("INSERT INTO child (seq, id, topic) SELECT i, gen_random_uuid(), 'c' FROM"
            " generate_series(1, %d) i",
            N_CHILD);
    produce(N_CHILD);
    struct outbox_batch *batch = claim(s, 100, LEASE_MS);
    ck_assert_uint_eq(batch->n, N_CHILD);
    for (int i = 0; i < N_CHILD; i++)
        assert_str(batch->messages[i]->topic, "t");
    settle_done(s, batch, settled);
    assert_settled(settled, N_CHILD, N_CHILD, 0);
    release(s, batch);
    assert_rows("status = 'processed'", N_CHILD);
    ck_assert_int_eq(number("SELECT count(*) FROM child WHERE status = 'pending'"), N_CHILD);
}
END_TEST

/* ---- leases ---- */

/* Of so many rows, which an ended lease held, those that come to `s` soon; in one batch or more. */
static void await_rows(struct store *s, uint32_t n)
{
    uint32_t got = 0;
    for (int64_t end = now_ms() + 30000; got < n; sleep_ms(20)) {
        struct outbox_batch *batch = claim(s, 100, LEASE_MS);
        got += batch->n;
        if (batch->n > 0)
            ck_assert_uint_eq(settle_all(s, batch, DONE), 0);
        release(s, batch);
        ck_assert_msg(now_ms() < end, "only %u of %u", got, n);
    }
    ck_assert_uint_eq(got, n);
}

START_TEST(an_index_that_keeps_a_row_from_being_freed_keeps_no_other)
{
    use_mode(_i ? MODE_LEASES_POOLED : MODE_LEASES);
    struct store *s = instance_as("one", NULL), *other = instance_as("other", NULL);
    execute("CREATE UNIQUE INDEX one_each ON " T " (key) WHERE status = 'pending'");
    for (int i = 0; i < N; i++)
        execute("INSERT INTO " T " (topic, key) VALUES ('t', '%d')", i);
    struct outbox_batch *batch = claim(s, N, 50);
    ck_assert_uint_eq(batch->n, N);
    execute("INSERT INTO " T " (topic, key, available_at) VALUES ('t', '3', 'infinity')");
    await_rows(other, N - 1);
    assert_rows("status = 'processing' AND key = '3'", 1);
    struct outbox_batch *none = claim(other, N, LEASE_MS);
    ck_assert_uint_eq(none->n, 0);
    ck_assert_uint_eq(none->n_quarantined, 1);
    ck_assert_ptr_nonnull(strstr(none->quarantine_reason.p, "one_each"));
    release(other, none);
    release(s, batch);
}
END_TEST

START_TEST(a_row_that_another_session_locks_is_left_aside)
{
    uint8_t settled[N];
    use_mode(_i ? MODE_LEASES_POOLED : MODE_LEASES);
    struct store *s = instance_as("one", NULL);
    produce(N);
    struct outbox_batch *batch = claim(s, N, LEASE_MS);
    PGconn *db = open_pg();
    run_pg(db, "BEGIN; SELECT 1 FROM " T " WHERE seq = 3 FOR UPDATE");
    settle_done(s, batch, settled);
    release(s, batch);
    assert_settled(settled, N, 2, OUTBOX_SETTLED_QUARANTINED);
    assert_rows("status = 'processed'", N - 1);
    batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, 0);
    ck_assert_ptr_nonnull(strstr(batch->quarantine_reason.p, "another session"));
    release(s, batch);
    PQfinish(db);
}
END_TEST

START_TEST(rows_that_another_session_locks_are_given_back_later)
{
    struct outbox_err err;
    use_mode(_i % 2 ? MODE_LEASES_POOLED : MODE_LEASES);
    struct store *s = instance_as("one", NULL), *other = instance_as("other", NULL);
    produce(N);
    struct outbox_batch *batch = claim(s, N, 50);
    PGconn *db = open_pg();
    run_pg(db, "BEGIN; SELECT 1 FROM " T " WHERE seq = 3 FOR UPDATE");
    if (_i / 2) {
        struct outbox_call call = within(3000);
        assert_class(store_release(s, batch, &call, &err), OUTBOX_OK, &err);
    }
    await_rows(other, N - 1);
    run_pg(db, "COMMIT");
    struct outbox_claim what = a_claim(N); /* a stray gets a lease, which ends */
    what.lease_ms = 50;
    for (uint32_t n = 0; n == 0; sleep_ms(50)) {
        assert_class(try_claim(other, what, within(6000), &batch, &err), OUTBOX_OK, &err);
        n = batch->n;
        release(other, batch);
    }
    PQfinish(db);
}
END_TEST

/* What another session holds is not looked for again at once. */
START_TEST(an_ended_lease_that_another_session_holds_is_waited_for)
{
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    PGconn *db = open_pg();
    execute("INSERT INTO " T "_leases (lease, until) VALUES (7, now())");
    execute("INSERT INTO " T " (topic, status, lease) VALUES ('t', 'processing', 7)");
    run_pg(db, "BEGIN; SELECT 1 FROM " T "_leases FOR UPDATE; SELECT 1 FROM " T " FOR UPDATE");
    for (int i = 0; i < 3; i++) {
        struct outbox_batch *batch = claim(s, N, LEASE_MS);
        ck_assert_uint_eq(batch->n, 0);
        ck_assert_int_ge(batch->next_due_ms, 500);
        release(s, batch);
    }
    run_pg(db, "COMMIT");
    await_rows(s, 1);
    PQfinish(db);
}
END_TEST

/* ---- numbers ---- */

START_TEST(the_least_number_is_claimed_like_any)
{
    uint8_t settled[3];
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    execute("INSERT INTO " T " (topic, seq) VALUES ('t', '-9223372036854775808'), ('t', 0),"
            " ('t', 9223372036854775807)");
    struct outbox_batch *batch = claim(s, 2, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    ck_assert_int_eq(batch->messages[0]->seq, INT64_MIN);
    settle_done(s, batch, settled);
    release(s, batch);
    await_rows(s, 1);
    assert_rows("status = 'processed'", 3);
}
END_TEST

START_TEST(attempts_that_are_null_are_none_and_are_charged)
{
    use_mode(_i);
    struct store *s = instance_as("one", NULL);
    execute("ALTER TABLE " T " ALTER retries DROP NOT NULL");
    produce(2);
    execute("UPDATE " T " SET retries = NULL");
    struct outbox_batch *batch = claim(s, N, LEASE_MS);
    ck_assert_uint_eq(batch->n, 2);
    ck_assert_uint_eq(batch->messages[0]->retries, 0);
    ck_assert_uint_eq(settle_all(s, batch, RETRY_CHARGED), 0);
    release(s, batch);
    assert_rows("retries = 1", 2);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_PG");
    unit_needs("OUTBOX_TEST_PGBOUNCER");
    Suite *suite = suite_create("store-postgres: special");
    store_use(&postgres_kind);
    TCase *tc = store_case(suite, "special");
    tcase_add_loop_test(tc, a_policy_that_a_row_breaks_refuses_that_row, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_right_that_is_missing_is_an_outage_and_told, 0, MODES_DIRECT);
    tcase_add_loop_test(tc, a_claim_without_a_right_is_an_outage_and_takes_nothing, 0,
                        MODES_DIRECT);
    tcase_add_loop_test(tc, a_published_table_without_an_identity_is_told, 0, N_MODES);
    tcase_add_loop_test(tc, a_table_that_inherits_keeps_its_rows, 0, N_MODES);
    tcase_add_loop_test(tc, an_index_that_keeps_a_row_from_being_freed_keeps_no_other, 0, 2);
    tcase_add_loop_test(tc, a_row_that_another_session_locks_is_left_aside, 0, 2);
    tcase_add_loop_test(tc, rows_that_another_session_locks_are_given_back_later, 0, 4);
    tcase_add_loop_test(tc, an_ended_lease_that_another_session_holds_is_waited_for, 0, N_MODES);
    tcase_add_loop_test(tc, the_least_number_is_claimed_like_any, 0, N_MODES);
    tcase_add_loop_test(tc, attempts_that_are_null_are_none_and_are_charged, 0, N_MODES);
    return unit_main(suite);
}
