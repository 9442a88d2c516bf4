/* SPDX-License-Identifier: Apache-2.0 */
/* A relay in an application: what its options do, and what is said of mistakes. */
#include "base/clock.h"
#include "embedding.h"
#include "unit.h"

#include <sys/stat.h>
#include <unistd.h>

#define FAILED_FIRST "SELECT 1 FROM outbox_messages WHERE seq = 1 AND status = 'failed'"
#define HELD_BY_NAME                                         \
    "SELECT 1 FROM outbox_messages WHERE status = 'pending'" \
    " AND last_error LIKE '%named the publisher `heer`%'"

/* ---- options ---- */

/* Until the relay has done with n messages, or a minute has passed. */
static struct outbox_relay_counts after(struct outbox_relay *relay, uint64_t n)
{
    struct outbox_relay_counts counts;
    int64_t end = clock_monotonic_us() + INT64_C(60000000);
    app_ok(outbox_relay_start(relay, &app_err));
    do {
        usleep(1000);
        counts = app_counts(relay);
        ck_assert_int_lt(clock_monotonic_us(), end);
    } while (counts.accepted + counts.failed < n);
    app_ok(outbox_relay_stop(relay, 60000, &app_err));
    return counts;
}

START_TEST(a_batch_holds_no_more_than_batch_bytes)
{
    static const struct outbox_relay_options options[] = {{.workers = 1},
                                                          {.workers = 1, .batch_bytes = 350}};
    for (size_t i = 0; i < 2; i++) {
        for (int n = 0; n < 4; n++)
            app_send(100);
        app_publisher.calls = 0;
        struct outbox_relay *relay = app_relay(options[i]);
        ck_assert_uint_eq(after(relay, 4).accepted, 4);
        ck_assert_int_eq(app_publisher.calls, i ? 2 : 1);
        outbox_relay_free(relay);
    }
}
END_TEST

START_TEST(what_is_over_max_message_fails_at_once)
{
    app_send(100);
    app_send(101);
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){.max_message = 100});
    struct outbox_relay_counts counts = after(relay, 2);
    ck_assert_uint_eq(counts.accepted, 1);
    ck_assert_uint_eq(counts.failed, 1);
    ck_assert_int_eq(app_publisher.calls, 1);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(what_has_too_many_headers_fails_at_once)
{
    struct outbox_header headers[] = {{outbox_cstr("a"), outbox_cstr("1")},
                                      {outbox_cstr("b"), outbox_cstr("2")}};
    struct outbox_store *store = app_store();
    struct outbox_new message = {
        .size = sizeof message, .topic = outbox_cstr("t"), .headers = headers, .n_headers = 1};
    app_ok(outbox_save_one(store, &message, NULL, 30000, NULL, &app_err));
    message.n_headers = 2;
    app_ok(outbox_save_one(store, &message, NULL, 30000, NULL, &app_err));
    outbox_store_close(store);
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){.max_headers = 1});
    struct outbox_relay_counts counts = after(relay, 2);
    ck_assert_uint_eq(counts.accepted, 1);
    ck_assert_uint_eq(counts.failed, 1);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(failed_messages_are_kept_for_retention_failed)
{
    app_send(0);
    app_publisher.refuses = true;
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){0});
    ck_assert_uint_eq(after(relay, 1).failed, 1);
    outbox_relay_free(relay);
    usleep(1100000); /* older than a second now; a relay tidies when it starts */
    app_send(0);
    relay = app_relay((struct outbox_relay_options){.retention_ms = 1000});
    ck_assert_uint_eq(after(relay, 1).failed, 1);
    outbox_relay_free(relay);
    ck_assert(app_finds(FAILED_FIRST));
    relay = app_relay((struct outbox_relay_options){.retention_failed_ms = 1000});
    app_ok(outbox_relay_start(relay, &app_err));
    for (int64_t end = clock_monotonic_us() + INT64_C(50000000); app_finds(FAILED_FIRST);
         usleep(10000))
        ck_assert_int_lt(clock_monotonic_us(), end);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(options_that_make_no_sense_are_refused)
{
    static const struct outbox_relay_options bad[] = {
        {.workers = 65},
        {.batch_size = 100001},
        {.max_retries = 1000001},
        {.batch_timeout_ms = OUTBOX_NEVER},
        {.batch_timeout_ms = 9},
        {.lease_ms = 999},
        {.lease_ms = OUTBOX_NEVER},
        {.poll_interval_ms = OUTBOX_NEVER},
        {.retry_min_ms = OUTBOX_NEVER, .retry_max_ms = OUTBOX_NEVER},
        {.retry_max_ms = OUTBOX_NEVER},
        {.retry_min_ms = 300001},
        {.batch_timeout_ms = -1},
        {.retention_ms = -2},
        {.batch_bytes = UINT64_MAX},
        {.max_message = (UINT64_C(1) << 31) + 1},
        {.retention_failed_ms = 999},
        {.shutdown_timeout_ms = 99},
        {.shutdown_timeout_ms = OUTBOX_NEVER},
        {.max_headers = 1000001},
        {.max_header_bytes = 63},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct outbox_relay_options options = bad[i];
        struct outbox_relay *relay = NULL;
        options.size = sizeof options;
        ck_assert_msg(outbox_relay_new(&options, &relay, &app_err) == OUTBOX_E_CONFIG, "row %zu",
                      i);
        ck_assert_uint_gt(strlen(app_err.text), 10);
    }
}
END_TEST

/* ---- mistakes ---- */

START_TEST(the_order_of_the_calls_is_told)
{
    struct outbox_relay *relay;
    struct outbox_router *router = outbox_router_new();
    app_ok(outbox_relay_new(NULL, &relay, &app_err));
    app_refused(outbox_relay_start(relay, &app_err), "needs a store and a publisher");
    app_refused(outbox_relay_add_publisher(relay, "here", "exec", NULL, &app_err),
                "the store comes before");
    app_refused(outbox_relay_set_store(relay, app_plugin_dir(), "sqlite", NULL, &app_err),
                "`path`");
    app_refused(outbox_relay_set_store(relay, app_plugin_dir(), "nothing", app_settings, &app_err),
                "no store");
    app_ok(outbox_relay_set_store(relay, app_plugin_dir(), "sqlite", app_settings, &app_err));
    app_refused(outbox_relay_set_store(relay, app_plugin_dir(), "sqlite", app_settings, &app_err),
                "already");
    app_refused(outbox_relay_add_function(relay, "No Name", app_deliver, NULL, &app_err),
                "cannot be");
    app_ok(outbox_relay_add_function(relay, "here", app_deliver, &app_publisher, &app_err));
    app_refused(outbox_relay_add_function(relay, "here", app_deliver, NULL, &app_err), "already");
    app_ok(outbox_router_set_fallback(router, "nowhere"));
    app_refused(outbox_relay_set_router(relay, router, &app_err), "`nowhere`");
    app_ok(outbox_router_set_fallback(router, "here"));
    app_ok(outbox_relay_set_router(relay, router, &app_err));
    app_refused(outbox_relay_set_router(relay, router, &app_err), "already");
    app_refused(outbox_relay_add_function(relay, "late", app_deliver, NULL, &app_err),
                "before the router");
    outbox_router_free(router);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(secrets_come_from_files_and_are_not_shown)
{
    char file[128];
    const struct outbox_setting from_file[] = {{"conninfo_file", file}, {NULL, NULL}};
    const struct outbox_setting bad[] = {{"conninfo", "host=x password=hush${"}, {NULL, NULL}};
    struct outbox_store *store;
    snprintf(file, sizeof file, "%s/conninfo", app_dir);
    app_refused(outbox_store_open(app_plugin_dir(), "postgres", from_file, &store, &app_err),
                "cannot be read");
    FILE *f = fopen(file, "w");
    fputs("host=nowhere.invalid password=hush${\n", f);
    fclose(f);
    chmod(file, 0644);
    app_refused(outbox_store_open(app_plugin_dir(), "postgres", from_file, &store, &app_err),
                "others can read");
    chmod(file, 0600);
    app_ok(outbox_store_open(app_plugin_dir(), "postgres", from_file, &store, &app_err));
    outbox_store_close(store);
    app_refused(outbox_store_open(app_plugin_dir(), "postgres", bad, &store, &app_err),
                "conninfo: a `${`");
    ck_assert_ptr_null(strstr(app_err.text, "hush"));
}
END_TEST

START_TEST(a_publishers_own_timeout_must_fit_its_batch)
{
    const struct outbox_setting exec[] = {
        {"command", "/bin/true"}, {"timeout", "15s"}, {NULL, NULL}};
    struct outbox_relay *relay;
    app_ok(outbox_relay_new(NULL, &relay, &app_err));
    app_ok(outbox_relay_set_store(relay, app_plugin_dir(), "sqlite", app_settings, &app_err));
    app_refused(outbox_relay_add_publisher(relay, "a", "exec", exec, &app_err), "batch_timeout");
    outbox_relay_free(relay);
}
END_TEST

/* A folder with a plugin of the tests beside the store. */
static const char *plugins_of_tests(void)
{
    static char folder[128];
    char from[4096], to[256];
    snprintf(folder, sizeof folder, "%s/plugins", app_dir);
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    snprintf(from, sizeof from, "%s/store-sqlite.so", app_plugin_dir());
    snprintf(to, sizeof to, "%s/store-sqlite.so", folder);
    ck_assert_int_eq(symlink(from, to), 0);
    snprintf(from, sizeof from, "%s/tests/fixtures/pub-options.so", getenv("OUTBOX_TEST_BUILDDIR"));
    snprintf(to, sizeof to, "%s/pub-options.so", folder);
    ck_assert_int_eq(symlink(from, to), 0);
    return folder;
}

START_TEST(an_option_names_a_publisher_of_the_relay)
{
    struct outbox_setting settings[] = {
        {"url", "u"}, {"password", "p"}, {"spare", "hear"}, {"client.a.b", "x"}, {NULL, NULL}};
    const char *folder = plugins_of_tests();
    app_send(0); /* so that there are tables */
    for (int right = 0; right < 2; right++) {
        struct outbox_relay *relay;
        struct outbox_router *router = outbox_router_new();
        app_ok(outbox_router_set_fallback(router, "here"));
        app_ok(outbox_relay_new(NULL, &relay, &app_err));
        app_ok(outbox_relay_set_store(relay, folder, "sqlite", app_settings, &app_err));
        app_ok(outbox_relay_add_publisher(relay, "there", "options", settings, &app_err));
        app_ok(outbox_relay_add_function(relay, "here", app_deliver, &app_publisher, &app_err));
        app_ok(outbox_relay_set_router(relay, router, &app_err));
        if (right)
            app_ok(outbox_relay_start(relay, &app_err));
        else
            app_refused(outbox_relay_start(relay, &app_err),
                        "spare: there is no [publisher hear]; did you mean `here`?");
        settings[2].value = "here";
        outbox_router_free(router);
        outbox_relay_free(relay);
    }
}
END_TEST

static const char *misspelt(void *ctx, const struct outbox_message *message)
{
    (void)ctx;
    (void)message;
    return "heer";
}

START_TEST(a_function_that_names_no_publisher_keeps_the_message)
{
    struct outbox_router *router = outbox_router_new();
    struct outbox_relay *relay;
    app_send(0);
    app_ok(outbox_router_add_function(router, misspelt, NULL));
    app_ok(outbox_router_set_fallback(router, "here"));
    app_ok(outbox_relay_new(NULL, &relay, &app_err));
    app_ok(outbox_relay_set_store(relay, app_plugin_dir(), "sqlite", app_settings, &app_err));
    app_ok(outbox_relay_add_function(relay, "here", app_deliver, &app_publisher, &app_err));
    app_ok(outbox_relay_set_router(relay, router, &app_err));
    outbox_router_free(router);
    app_ok(outbox_relay_start(relay, &app_err));
    for (int64_t end = clock_monotonic_us() + INT64_C(60000000); !app_finds(HELD_BY_NAME);
         usleep(10000)) {
        ck_assert_int_lt(clock_monotonic_us(), end);
        ck_assert_int_eq(app_publisher.calls, 0);
    }
    outbox_relay_free(relay);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("liboutbox_options");
    TCase *tc = tcase_create("liboutbox_options");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, app_set_up, app_tear_down);
    tcase_add_test(tc, a_batch_holds_no_more_than_batch_bytes);
    tcase_add_test(tc, what_is_over_max_message_fails_at_once);
    tcase_add_test(tc, what_has_too_many_headers_fails_at_once);
    tcase_add_test(tc, failed_messages_are_kept_for_retention_failed);
    tcase_add_test(tc, options_that_make_no_sense_are_refused);
    tcase_add_test(tc, the_order_of_the_calls_is_told);
    tcase_add_test(tc, secrets_come_from_files_and_are_not_shown);
    tcase_add_test(tc, a_publishers_own_timeout_must_fit_its_batch);
    tcase_add_test(tc, an_option_names_a_publisher_of_the_relay);
    tcase_add_test(tc, a_function_that_names_no_publisher_keeps_the_message);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
