/* SPDX-License-Identifier: Apache-2.0 */
/* store_contract_admin.c - what people do to the table, what producers write, who works on it. */
#include "conform/store_contract.h"

#include <outbox/helpers.h>

#include <stdlib.h>
#include <string.h>

#define T "outbox_messages"

static struct outbox_filter filter(uint32_t statuses)
{
    return (struct outbox_filter){.size = sizeof(struct outbox_filter), .statuses = statuses};
}

static struct outbox_page *list(struct outbox_filter f, int64_t after, uint32_t limit)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_page *page;
    assert_class(store_list(the_store(), &f, after, limit, CALL, &page, &err), OUTBOX_OK, &err);
    return page;
}

/* pending.a, pending.b, processed.a, failed.a, failed.b, failed.a, by hand */
static void a_mixed_table(void)
{
    static const char *const rows[] = {"'p.a', 'pending', '', 0",   "'p.b', 'pending', '', 0",
                                       "'d.a', 'processed', '', 0", "'f.a', 'failed', 'one', 5",
                                       "'f.b', 'failed', 'two', 5", "'f.a', 'failed', 'three', 5"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        execute("INSERT INTO " T " (topic, status, last_error, retries) VALUES (%s)", rows[i]);
    execute("UPDATE " T " SET processed_at = created_at WHERE status = 'processed'");
}

START_TEST(rows_are_listed_page_by_page_with_every_column)
{
    a_mixed_table();
    struct outbox_page *page = list(filter(0), 0, 4);
    ck_assert_uint_eq(page->n, 4);
    const struct outbox_row *row = page->rows[2];
    ck_assert_uint_eq(row->status, OUTBOX_PROCESSED);
    ck_assert_int_eq(row->processed_us, row->message->created_us);
    ck_assert_ptr_null(row->lane.p);
    ck_assert_ptr_null(row->origin_id.p);
    ck_assert_int_eq(row->available_us, 0);
    assert_str(page->rows[3]->last_error, "one");
    ck_assert_uint_eq(page->rows[3]->message->retries, 5);
    int64_t after = page->rows[3]->message->seq;
    page = list(filter(0), after, 4);
    ck_assert_uint_eq(page->n, 2);
    assert_str(page->rows[1]->last_error, "three");
    ck_assert_uint_eq(list(filter(0), page->rows[1]->message->seq, 4)->n, 0);
}
END_TEST

START_TEST(rows_are_found_by_status_topic_and_id)
{
    a_mixed_table();
    ck_assert_uint_eq(list(filter(OUTBOX_FAILED), 0, 10)->n, 3);
    ck_assert_uint_eq(list(filter(OUTBOX_PENDING | OUTBOX_PROCESSED), 0, 10)->n, 3);
    ck_assert_uint_eq(list(filter(OUTBOX_PROCESSING), 0, 10)->n, 0);
    struct outbox_filter f = filter(0);
    f.topic = str("*.a");
    ck_assert_uint_eq(list(f, 0, 10)->n, 4);
    f.topic = str("[fp].a");
    f.statuses = OUTBOX_FAILED;
    ck_assert_uint_eq(list(f, 0, 10)->n, 2);
    f.topic = str("F.A"); /* as it is written */
    ck_assert_uint_eq(list(f, 0, 10)->n, 0);
    f = filter(0);
    f.lane = str("mail");
    ck_assert_uint_eq(list(f, 0, 10)->n, 0);

    static const char id[] = "0e3e41ba-7a4c-4b1a-8f0e-6d3c9a5b2f11";
    static const char origin[] = "5d0c1c3e-2c43-4b7e-9d51-0f9f5f3f7a02";
    execute("INSERT INTO " T " (id, origin_id, topic) VALUES ('%s', '%s', 'copy')", id, origin);
    struct outbox_str ids[1001];
    for (int i = 0; i < 1001; i++)
        ids[i] = str("00000000-0000-4000-8000-000000000000");
    f = filter(0);
    f.ids = ids;
    f.n_ids = 1001;
    ck_assert_uint_eq(list(f, 0, 10)->n, 0);
    ids[1000] = str(id);
    ck_assert_uint_eq(list(f, 0, 10)->n, 1);
    ids[1000] = str(origin);
    struct outbox_page *page = list(f, 0, 10);
    ck_assert_uint_eq(page->n, 1);
    assert_str(page->rows[0]->message->id, origin);
    assert_str(page->rows[0]->message->row_id, id);
    assert_str(page->rows[0]->origin_id, origin);
}
END_TEST

START_TEST(failed_rows_alone_are_requeued_some_at_a_time)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter f = filter(0);
    int64_t after = 0;
    uint64_t n = 9;
    a_mixed_table();
    f.topic = str("f.a");
    assert_class(store_requeue(the_store(), &f, &after, 1, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(after, number("SELECT seq FROM " T " WHERE last_error = 'one'"));
    assert_class(store_requeue(the_store(), &f, &after, 10, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 1);
    int64_t before = after;
    assert_class(store_requeue(the_store(), &f, &after, 10, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(after, before);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE topic = 'f.a' AND status = 'pending'"
                            " AND retries = 0 AND last_error <> ''"),
                     2);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed'"), 1);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 1);
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 4);
    release(the_store(), batch);
}
END_TEST

START_TEST(failed_rows_alone_are_discarded)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter f = filter(0);
    int64_t after = 0;
    uint64_t n = 9;
    a_mixed_table();
    assert_class(store_discard(the_store(), &f, &after, 2, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 2);
    assert_class(store_discard(the_store(), &f, &after, 2, CALL, &n, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(n, 1);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 3);
}
END_TEST

static uint64_t purge(struct outbox_filter f, uint32_t limit)
{
    struct outbox_err err = {.size = sizeof err};
    uint64_t n = 9;
    assert_class(store_purge(the_store(), &f, limit, CALL, &n, &err), OUTBOX_OK, &err);
    return n;
}

START_TEST(only_what_is_old_and_through_is_purged)
{
    struct outbox_filter f = filter(OUTBOX_PROCESSED);
    struct store *other = an_instance();
    produce(2);
    struct outbox_batch *held = claim(other, 1, LEASE_MS);
    a_mixed_table();
    execute("INSERT INTO " T " (topic, status, created_at, processed_at) VALUES"
            " ('old', 'processed', '2020-01-01 00:00:00', '2020-01-02 00:00:00'),"
            " ('old', 'failed', '2020-01-01 00:00:00', NULL),"
            " ('old', 'pending', '2020-01-01 00:00:00', NULL),"
            " ('byhand', 'processed', '2020-01-01 00:00:00', NULL)");
    f.older_than_ms = 86400000;
    f.topic = str("none.*");
    ck_assert_uint_eq(purge(f, 100), 0);
    f.topic.p = NULL;
    f.topic.n = 0;
    ck_assert_uint_eq(purge(f, 1), 1);
    ck_assert_uint_eq(purge(f, 100), 1);
    ck_assert_uint_eq(purge(f, 100), 0);
    f.statuses = OUTBOX_FAILED;
    ck_assert_uint_eq(purge(f, 100), 1);
    f = filter(OUTBOX_PROCESSED | OUTBOX_FAILED);
    ck_assert_uint_eq(purge(f, 100), 4);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 5);
    f.statuses = OUTBOX_PENDING;
    uint64_t n;
    struct outbox_err err = {.size = sizeof err};
    ck_assert_int_lt(store_purge(the_store(), &f, 10, CALL, &n, &err), 0);
    ck_assert_uint_eq(settle_all(other, held, (struct outbox_settle){.action = OUTBOX_SETTLE_DONE}),
                      0);
    release(other, held);
}
END_TEST

START_TEST(counts_tell_who_waits_and_are_cut_short_unless_exact)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_stats stats;
    a_mixed_table();
    execute("INSERT INTO " T " (topic, created_at) VALUES ('old', '2020-01-01 00:00:00')");
    struct outbox_batch *batch = claim(the_store(), 2, LEASE_MS);
    settle_all(the_store(), batch,
               (struct outbox_settle){.action = OUTBOX_SETTLE_RETRY, .delay_ms = 1000000});
    release(the_store(), batch);
    assert_class(store_stats(the_store(), str(""), 0, CALL, &stats, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(stats.failed, 0); /* the lane of no name */
    struct outbox_str all = {NULL, 0};
    assert_class(store_stats(the_store(), all, 0, CALL, &stats, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(stats.pending, 1);
    ck_assert_uint_eq(stats.delayed, 2);
    ck_assert_uint_eq(stats.processing, 0);
    ck_assert_uint_eq(stats.processed, 1);
    ck_assert_uint_eq(stats.failed, 3);
    ck_assert_uint_eq(stats.at_least, 0);
    ck_assert_int_eq(stats.oldest_pending_us, INT64_C(1577836800000000));
    ck_assert_int_le(
        llabs(stats.now_us - the_store()->instance.abi.now_us(&the_store()->instance.abi)),
        60000000);
    produce(20000);
    assert_class(store_stats(the_store(), all, 0, CALL, &stats, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(stats.at_least, OUTBOX_STATS_PENDING);
    ck_assert_uint_lt(stats.pending, 20001);
    assert_class(store_stats(the_store(), all, OUTBOX_STATS_EXACT, CALL, &stats, &err), OUTBOX_OK,
                 &err);
    ck_assert_uint_eq(stats.at_least, 0);
    ck_assert_uint_eq(stats.pending, 20001);
}
END_TEST

static void put(const char *id, uint32_t clean, const char *state)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_relay_row row = {.size = sizeof row,
                                   .clean = clean,
                                   .id = str(id),
                                   .name = str("shop-1"),
                                   .config_hash = str("0123456789abcdef"),
                                   .state = str(state),
                                   .version = str("0.1")};
    assert_class(store_relay_put(the_store(), &row, CALL, &err), OUTBOX_OK, &err);
}

/* The row of this relay, or NULL. */
static const struct outbox_relay_row *find_relay(const struct outbox_relay_page *page,
                                                 const char *id)
{
    for (uint32_t i = 0; i < page->n; i++)
        if (outbox_str_eq(page->rows[i]->id, str(id)))
            return page->rows[i];
    return NULL;
}

START_TEST(relays_keep_a_row_each_and_dead_ones_are_tidied)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_relay_page *page;
    if (!the_store()->setup.plugin->ops.store.relay_put)
        kit_skip("it keeps no rows of relays");
    put("00000000-0000-4000-8000-00000000000a", 0, "{\"n\":1}");
    put("00000000-0000-4000-8000-00000000000b", 0, "{}");
    put("00000000-0000-4000-8000-00000000000a", 1, "{\"n\":2}");
    assert_class(store_relay_list(the_store(), CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_ptr_nonnull(find_relay(page, "00000000-0000-4000-8000-00000000000b"));
    const struct outbox_relay_row *row = find_relay(page, "00000000-0000-4000-8000-00000000000a");
    ck_assert_ptr_nonnull(row);
    ck_assert_uint_eq(row->clean, 1);
    assert_str(row->state, "{\"n\":2}");
    assert_str(row->name, "shop-1");
    ck_assert_int_le(row->started_us, row->alive_us);
    ck_assert_int_le(llabs(page->now_us - row->alive_us), 60000000);
    execute("UPDATE " T "_relays SET alive_at = '2020-01-01 00:00:00'"
            " WHERE id = '00000000-0000-4000-8000-00000000000a'");
    put("00000000-0000-4000-8000-00000000000b", 0, "{}");
    assert_class(store_relay_list(the_store(), CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_ptr_null(find_relay(page, "00000000-0000-4000-8000-00000000000a"));
    ck_assert_ptr_nonnull(find_relay(page, "00000000-0000-4000-8000-00000000000b"));
}
END_TEST

START_TEST(messages_are_saved_in_the_producers_transaction)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_header headers[] = {{str("a"), str("1")}, {str("quote\"'"), str("\xC3\xA4\n")}};
    static const char id[] = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    struct outbox_new one = {.size = sizeof one,
                             .id = str(id),
                             .topic = str("it's \"t\""),
                             .key = str("k"),
                             .payload = {"\0\1'", 3},
                             .headers = headers,
                             .n_headers = 2};
    struct outbox_new two = {.size = sizeof two, .topic = str("t"), .delay_ms = 600000};
    const struct outbox_new *rows[] = {&one, &two};
    if (!store_kind()->exec)
        kit_skip("it needs a connection to the database, which our own stores' tests have");
    struct outbox_exec exec = store_kind()->exec(the_connection());
    execute("BEGIN");
    assert_class(store_save(an_instance(), rows, 2, &exec, CALL, &err), OUTBOX_OK, &err);
    execute("ROLLBACK");
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 0);
    execute("BEGIN");
    assert_class(store_save(an_instance(), rows, 2, &exec, CALL, &err), OUTBOX_OK, &err);
    execute("COMMIT");
    struct outbox_batch *batch = claim(the_store(), 10, LEASE_MS);
    ck_assert_uint_eq(batch->n, 1);
    const struct outbox_message *m = batch->messages[0];
    assert_str(m->id, id);
    assert_str(m->topic, "it's \"t\"");
    ck_assert_uint_eq(m->payload.n, 3);
    ck_assert_mem_eq(m->payload.p, "\0\1'", 3);
    ck_assert_uint_eq(m->n_headers, 2);
    ck_assert_int_gt(batch->next_due_ms, 500000);
    release(the_store(), batch);
}
END_TEST

START_TEST(messages_are_saved_all_or_none_in_a_transaction_of_their_own)
{
    struct outbox_err err = {.size = sizeof err};
    static const char id[] = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
    struct outbox_new one = {.size = sizeof one, .id = str(id), .topic = str("t")};
    const struct outbox_new *rows[] = {&one, &one};
    assert_class(store_save(the_store(), rows, 2, NULL, CALL, &err), OUTBOX_E_EXISTS, &err);
    ck_assert_ptr_nonnull(strstr(err.text, id));
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 0);
    assert_class(store_save(the_store(), rows, 1, NULL, CALL, &err), OUTBOX_OK, &err);
    assert_class(store_save(the_store(), rows, 1, NULL, CALL, &err), OUTBOX_E_EXISTS, &err);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 1);
    assert_class(save_one(the_store(), (struct outbox_new){.topic = {"a\0b", 3}}, &err),
                 OUTBOX_E_CONFIG, &err);
    assert_class(save_one(the_store(), (struct outbox_new){.topic = str("\xFF")}, &err),
                 OUTBOX_E_CONFIG, &err);
    assert_class(save_one(the_store(), (struct outbox_new){.topic = {"", 0}}, &err),
                 OUTBOX_E_CONFIG, &err);
}
END_TEST

START_TEST(init_may_be_run_again_and_the_table_passes_its_check)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done = {NULL, 0};
    produce(1);
    assert_class(store_init(the_store(), CALL, &done, &err), OUTBOX_OK, &err);
    ck_assert_ptr_nonnull(done.p);
    assert_class(store_check(the_store(), CALL, &err), OUTBOX_OK, &err);
    assert_class(store_check(an_instance(), CALL, &err), OUTBOX_OK, &err);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 1);
}
END_TEST

/* An index of the application's own says nothing about ids. */
START_TEST(only_a_message_of_that_id_exists)
{
    struct outbox_err err = {.size = sizeof err};
    const struct outbox_new row = {.topic = str("t"), .key = str("k")};
    if (store_kind()->module)
        kit_skip("it adds an index to the table, which would stay");
    execute("CREATE UNIQUE INDEX of_the_application ON " T " (key)");
    assert_class(save_one(the_store(), row, &err), OUTBOX_OK, &err);
    assert_class(save_one(the_store(), row, &err), OUTBOX_E_CONFIG, &err);
    ck_assert_int_eq(number("SELECT count(*) FROM " T), 1);
}
END_TEST

/* As a dump of the schema alone leaves it. */
START_TEST(a_table_without_its_version_gets_it_by_init)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    execute("DELETE FROM " T "_schema");
    assert_class(store_check(an_instance(), CALL, &err), OUTBOX_E_CONFIG, &err);
    assert_class(store_init(an_instance(), CALL, &done, &err), OUTBOX_OK, &err);
    assert_class(store_check(an_instance(), CALL, &err), OUTBOX_OK, &err);
}
END_TEST

void store_contract_admin(const struct kit_sink *sink)
{
    store_test(sink, rows_are_listed_page_by_page_with_every_column, 0, 1);
    store_test(sink, rows_are_found_by_status_topic_and_id, 0, 1);
    store_test(sink, failed_rows_alone_are_requeued_some_at_a_time, 0, 1);
    store_test(sink, failed_rows_alone_are_discarded, 0, 1);
    store_test(sink, only_what_is_old_and_through_is_purged, 0, 1);
    store_test(sink, counts_tell_who_waits_and_are_cut_short_unless_exact, 0, 1);
    store_test(sink, relays_keep_a_row_each_and_dead_ones_are_tidied, 0, 1);
    store_test(sink, messages_are_saved_in_the_producers_transaction, 0, 1);
    store_test(sink, messages_are_saved_all_or_none_in_a_transaction_of_their_own, 0, 1);
    store_test(sink, only_a_message_of_that_id_exists, 0, 1);
    store_test(sink, init_may_be_run_again_and_the_table_passes_its_check, 0, 1);
    store_test(sink, a_table_without_its_version_gets_it_by_init, 0, 1);
}
