/* SPDX-License-Identifier: Apache-2.0 */
/* Stores in an application: shared by threads, read and changed; and ids. */
#include "embedding.h"
#include "unit.h"

#include <outbox/helpers.h>
#include <outbox/save-sqlite.h>
#include <pthread.h>
#include <sqlite3.h>

static struct outbox_new about(const char *topic)
{
    return (struct outbox_new){.size = sizeof(struct outbox_new), .topic = outbox_cstr(topic)};
}

/* ---- ids ---- */

START_TEST(the_id_of_what_was_saved_is_told)
{
    struct outbox_store *store = app_store();
    struct outbox_new message = about("t");
    char id[OUTBOX_ID_SIZE], own[OUTBOX_ID_SIZE], query[128];
    app_ok(outbox_save_one(store, &message, NULL, 30000, id, &app_err));
    ck_assert_uint_eq(strlen(id), 36);
    snprintf(query, sizeof query, "SELECT 1 FROM outbox_messages WHERE id = '%s'", id);
    ck_assert(app_finds(query));
    message.id = outbox_cstr(outbox_new_id(own));
    ck_assert_str_ne(own, id);
    app_ok(outbox_save_one(store, &message, NULL, 30000, id, &app_err));
    ck_assert_str_eq(id, own);
    message.id = outbox_cstr("an id that has more than thirty-six bytes");
    app_refused(outbox_save_one(store, &message, NULL, 30000, id, &app_err), "longer than a UUID");
    outbox_store_close(store);
}
END_TEST

START_TEST(each_of_several_messages_has_its_id)
{
    struct outbox_store *store = app_store();
    const struct outbox_new first = about("first"), second = about("second");
    const struct outbox_new *const messages[] = {&first, &second};
    char ids[2][OUTBOX_ID_SIZE], query[128];
    app_ok(outbox_save_ids(store, messages, 2, NULL, 30000, ids, &app_err));
    snprintf(query, sizeof query,
             "SELECT 1 FROM outbox_messages WHERE id = '%s' AND topic = 'second'", ids[1]);
    ck_assert(app_finds(query));
    ck_assert_str_ne(ids[0], ids[1]);
    outbox_store_close(store);
}
END_TEST

START_TEST(an_id_that_is_there_writes_nothing)
{
    struct outbox_store *store = app_store();
    struct outbox_new first = about("first"), again = about("again");
    const struct outbox_new *const messages[] = {&first, &again};
    char id[OUTBOX_ID_SIZE];
    first.id = again.id = outbox_cstr(outbox_new_id(id));
    ck_assert_int_eq(outbox_save(store, messages, 2, NULL, 30000, &app_err), OUTBOX_E_EXISTS);
    ck_assert(!app_finds("SELECT 1 FROM outbox_messages"));
    app_ok(outbox_save(store, messages, 1, NULL, 30000, &app_err));
    ck_assert_int_eq(outbox_save(store, &messages[1], 1, NULL, 30000, &app_err), OUTBOX_E_EXISTS);
    outbox_store_close(store);
}
END_TEST

START_TEST(a_message_without_a_size_is_refused)
{
    struct outbox_store *store = app_store();
    const struct outbox_new good = about("t"), bad = {.topic = outbox_cstr("t")};
    const struct outbox_new *const messages[] = {&good, &bad};
    app_refused(outbox_save(store, messages, 2, NULL, 30000, &app_err), "message 1 has no size");
    ck_assert(!app_finds("SELECT 1 FROM outbox_messages"));
    app_ok(outbox_save(store, NULL, 0, NULL, 30000, &app_err));
    outbox_store_close(store);
}
END_TEST

/* ---- threads ---- */

#define THREADS 4
#define EACH 25

static void *save_some(void *store)
{
    struct outbox_err err = {.size = sizeof err};
    const struct outbox_new message = about("t");
    for (int i = 0; i < EACH; i++)
        ck_assert_msg(outbox_save_one(store, &message, NULL, 60000, NULL, &err) == 0, "%s",
                      err.text);
    return NULL;
}

START_TEST(threads_share_a_store)
{
    struct outbox_store *store = app_store();
    struct outbox_stats stats = {.size = sizeof stats};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, save_some, store), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    app_ok(outbox_store_stats(store, 1, 30000, &stats, &app_err));
    ck_assert_uint_eq(stats.pending, THREADS * EACH);
    outbox_store_close(store);
}
END_TEST

static void *save_one(void *store)
{
    struct outbox_err err = {.size = sizeof err};
    const struct outbox_new message = about("other");
    ck_assert_msg(outbox_save_one(store, &message, NULL, 60000, NULL, &err) == 0, "%s", err.text);
    return NULL;
}

/* A saves in its own transaction, while B waits for A's lock in the database with the store in its
 * hands: with a lock around the store, A would wait for B. */
START_TEST(who_saves_in_its_own_transaction_waits_for_nobody)
{
    struct outbox_store *store = app_store();
    const struct outbox_new message = about("t");
    struct timespec moment = {.tv_nsec = 200000000};
    pthread_t other;
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(app_path, &db), SQLITE_OK);
    struct outbox_exec exec = outbox_exec_sqlite(db);
    ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    ck_assert_int_eq(pthread_create(&other, NULL, save_one, store), 0);
    nanosleep(&moment, NULL); /* it waits for the lock by now, or the test shows less */
    app_ok(outbox_save_one(store, &message, &exec, 0, NULL, &app_err));
    ck_assert_int_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    pthread_join(other, NULL);
    sqlite3_close(db);
    outbox_store_close(store);
}
END_TEST

/* ---- what is in it ---- */

struct seen {
    struct outbox_store *store;
    int n;
    int stop_at;
    char topics[64];
};

static int see(void *ctx, const struct outbox_row *row)
{
    struct seen *seen = ctx;
    struct outbox_stats stats = {.size = sizeof stats};
    size_t n = strlen(seen->topics);
    snprintf(seen->topics + n, sizeof seen->topics - n, "%.*s ", (int)row->message->topic.n,
             row->message->topic.p);
    if (seen->store) /* the store may be called meanwhile */
        app_ok(outbox_store_stats(seen->store, 0, 30000, &stats, &app_err));
    return ++seen->n == seen->stop_at;
}

static struct outbox_store *a_store_with(const char *const *topics)
{
    struct outbox_store *store = app_store();
    for (; *topics; topics++) {
        struct outbox_new message = about(*topics);
        app_ok(outbox_save_one(store, &message, NULL, 30000, NULL, &app_err));
    }
    return store;
}

static const char *const abc[] = {"a", "b", "c", NULL};

START_TEST(rows_are_listed)
{
    struct outbox_store *store = a_store_with(abc);
    struct seen seen = {.store = store};
    app_ok(outbox_store_list(store, NULL, 0, 30000, see, &seen, &app_err));
    ck_assert_str_eq(seen.topics, "a b c ");
    seen = (struct seen){0};
    app_ok(outbox_store_list(store, NULL, 2, 30000, see, &seen, &app_err));
    ck_assert_str_eq(seen.topics, "a b ");
    seen = (struct seen){.stop_at = 1};
    app_ok(outbox_store_list(store, NULL, 0, 30000, see, &seen, &app_err));
    ck_assert_str_eq(seen.topics, "a ");
    struct outbox_filter filter = {.size = sizeof filter, .topic = outbox_cstr("[bc]")};
    seen = (struct seen){0};
    app_ok(outbox_store_list(store, &filter, 0, 30000, see, &seen, &app_err));
    ck_assert_str_eq(seen.topics, "b c ");
    filter.size = 0;
    app_refused(outbox_store_list(store, &filter, 0, 30000, see, &seen, &app_err), "has no size");
    outbox_store_close(store);
}
END_TEST

START_TEST(a_message_is_shown_by_its_id)
{
    struct outbox_store *store = a_store_with(abc);
    struct outbox_new message = about("mine");
    struct seen seen = {0};
    char id[OUTBOX_ID_SIZE];
    message.id = outbox_cstr("0a0b0c0d-0000-4000-8000-00000000000e");
    app_ok(outbox_save_one(store, &message, NULL, 30000, id, &app_err));
    app_ok(outbox_store_show(store, "0A0B0C0D-0000-4000-8000-00000000000E", 30000, see, &seen,
                             &app_err));
    ck_assert_str_eq(seen.topics, "mine ");
    app_refused(outbox_store_show(store, outbox_new_id(id), 30000, see, &seen, &app_err),
                "no message with the id");
    outbox_store_close(store);
}
END_TEST

static void fail_all(void)
{
    app_publisher.refuses = true;
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){0});
    app_ok(outbox_relay_run_once(relay, 0, NULL, &app_err));
    outbox_relay_free(relay);
    app_publisher.refuses = false;
}

START_TEST(failed_messages_are_requeued_and_discarded)
{
    struct outbox_store *store = a_store_with(abc);
    const struct outbox_filter only_b = {.size = sizeof only_b, .topic = outbox_cstr("b")};
    struct outbox_stats stats = {.size = sizeof stats};
    uint64_t n = 0;
    fail_all();
    app_ok(outbox_store_requeue(store, &only_b, 30000, &n, &app_err));
    ck_assert_uint_eq(n, 1);
    app_ok(outbox_store_discard(store, NULL, 30000, &n, &app_err));
    ck_assert_uint_eq(n, 2);
    app_ok(outbox_store_stats(store, 1, 30000, &stats, &app_err));
    ck_assert_uint_eq(stats.pending, 1);
    ck_assert_uint_eq(stats.failed, 0);
    stats.size = 0;
    app_refused(outbox_store_stats(store, 1, 30000, &stats, &app_err), "has no size");
    outbox_store_close(store);
}
END_TEST

START_TEST(a_purge_says_what_it_deletes)
{
    struct outbox_store *store = a_store_with(abc);
    struct outbox_filter filter = {.size = sizeof filter};
    uint64_t n = 7;
    fail_all();
    app_refused(outbox_store_purge(store, NULL, 30000, &n, &app_err), "needs a filter");
    app_refused(outbox_store_purge(store, &filter, 30000, &n, &app_err), "needs a filter");
    filter.statuses = OUTBOX_PENDING;
    app_refused(outbox_store_purge(store, &filter, 30000, &n, &app_err), "needs a filter");
    filter.statuses = OUTBOX_PROCESSED;
    app_ok(outbox_store_purge(store, &filter, 30000, &n, &app_err));
    ck_assert_uint_eq(n, 0);
    filter.statuses = OUTBOX_FAILED;
    app_ok(outbox_store_purge(store, &filter, 30000, &n, &app_err));
    ck_assert_uint_eq(n, 3);
    outbox_store_close(store);
}
END_TEST

START_TEST(a_store_is_checked)
{
    struct outbox_store *store;
    app_ok(outbox_store_open(app_plugin_dir(), "sqlite", app_settings, &store, &app_err));
    app_refused(outbox_store_check(store, 30000, &app_err), "outboxd init");
    app_ok(outbox_store_init(store, 30000, &app_err));
    app_ok(outbox_store_check(store, 30000, &app_err));
    outbox_store_close(store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("liboutbox_stores");
    TCase *tc = tcase_create("liboutbox_stores");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, app_set_up, app_tear_down);
    tcase_add_test(tc, the_id_of_what_was_saved_is_told);
    tcase_add_test(tc, each_of_several_messages_has_its_id);
    tcase_add_test(tc, an_id_that_is_there_writes_nothing);
    tcase_add_test(tc, a_message_without_a_size_is_refused);
    tcase_add_test(tc, threads_share_a_store);
    tcase_add_test(tc, who_saves_in_its_own_transaction_waits_for_nobody);
    tcase_add_test(tc, rows_are_listed);
    tcase_add_test(tc, a_message_is_shown_by_its_id);
    tcase_add_test(tc, failed_messages_are_requeued_and_discarded);
    tcase_add_test(tc, a_purge_says_what_it_deletes);
    tcase_add_test(tc, a_store_is_checked);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
