/* SPDX-License-Identifier: Apache-2.0 */
/* A relay in an application runs once, becomes idle, and logs to a function. */
#include "embedding.h"
#include "unit.h"

#include <outbox/helpers.h>
#include <pthread.h>
#include <unistd.h>

/* ---- once ---- */

START_TEST(a_relay_runs_once)
{
    struct outbox_relay_counts counts = {.size = sizeof counts};
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){0});
    for (uint64_t round = 1; round <= 2; round++) {
        app_send(0);
        app_send(0);
        app_ok(outbox_relay_run_once(relay, 0, &counts, &app_err));
        ck_assert_uint_eq(counts.accepted, 2);
        ck_assert_uint_eq(counts.due + counts.delayed + counts.failed, 0);
        ck_assert_uint_eq(app_counts(relay).accepted, 2 * round);
    }
    app_ok(outbox_relay_start(relay, &app_err));
    app_refused(outbox_relay_run_once(relay, 0, NULL, &app_err), "runs already");
    outbox_relay_free(relay);
}
END_TEST

START_TEST(what_is_left_is_told)
{
    struct outbox_relay_counts counts = {.size = sizeof counts};
    struct outbox_store *store = app_store();
    const struct outbox_new tomorrow = {
        .size = sizeof tomorrow, .topic = outbox_cstr("t"), .delay_ms = 86400000};
    app_ok(outbox_save_one(store, &tomorrow, NULL, 30000, NULL, &app_err));
    app_send(0);
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){0});
    app_ok(outbox_relay_run_once(relay, 0, &counts, &app_err));
    ck_assert_uint_eq(counts.accepted, 1);
    ck_assert_uint_eq(counts.delayed, 1);
    outbox_relay_free(relay);
    outbox_store_close(store);
}
END_TEST

/* It reaches over the wait until nothing becomes due. */
START_TEST(once_waits_for_what_is_due_soon)
{
    struct outbox_store *store = app_store();
    const struct outbox_new soon = {
        .size = sizeof soon, .topic = outbox_cstr("t"), .delay_ms = 300};
    app_ok(outbox_save_one(store, &soon, NULL, 30000, NULL, &app_err));
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){0});
    app_ok(outbox_relay_run_once(relay, 30000, NULL, &app_err));
    ck_assert_uint_eq(app_counts(relay).accepted, 1);
    outbox_relay_free(relay);
    outbox_store_close(store);
}
END_TEST

/* ---- idle ---- */

START_TEST(idle_means_settled_and_counted)
{
    app_publisher.wait_ms = 30;
    struct outbox_relay *relay =
        app_relay((struct outbox_relay_options){.poll_interval_ms = 20, .batch_size = 2});
    app_ok(outbox_relay_start(relay, &app_err));
    for (uint64_t n = 1; n <= 20; n++) {
        app_send(0);
        if (n % 4 == 0) {
            app_ok(outbox_relay_wait_idle(relay, 60000, &app_err));
            ck_assert_uint_eq(app_counts(relay).accepted, n);
            ck_assert_int_eq(app_publisher.calls, app_publisher.returned);
        }
    }
    outbox_relay_free(relay);
}
END_TEST

START_TEST(a_relay_that_is_busy_is_not_idle)
{
    app_publisher.wait_ms = 2000;
    app_send(0);
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){.workers = 1});
    app_ok(outbox_relay_start(relay, &app_err));
    while (app_publisher.calls == 0)
        usleep(1000);
    ck_assert_int_eq(outbox_relay_wait_idle(relay, 20, &app_err), OUTBOX_E_TIMEOUT);
    ck_assert_msg(strstr(app_err.text, "a worker publishes to here") != NULL, "%s", app_err.text);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(only_a_relay_that_runs_becomes_idle)
{
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){0});
    app_refused(outbox_relay_wait_idle(relay, 10, &app_err), "does not run");
    outbox_relay_free(relay);
}
END_TEST

/* ---- the log ---- */

struct heard {
    pthread_mutex_t lock;
    int n;
    bool told; /* that the publisher is unavailable, with its name and reason */
    bool whole;
};

static void hear(void *ctx, const struct outbox_log_line *line)
{
    struct heard *heard = ctx;
    bool publisher = false, reason = false;
    pthread_mutex_lock(&heard->lock);
    heard->n++;
    for (uint64_t i = 0; i < line->n_fields; i++) {
        publisher |= strcmp(line->fields[i].name, "publisher") == 0 &&
                     strcmp(line->fields[i].value, "here") == 0;
        reason |= strstr(line->fields[i].value, "a \"full\" disk") != NULL;
    }
    if (publisher && reason && line->level == OUTBOX_LOG_WARNING) {
        heard->told = true;
        heard->whole = strncmp(line->line, line->text, strlen(line->text)) == 0 &&
                       strstr(line->line, " publisher=here") &&
                       strstr(line->line, "a \\\"full\\\" disk");
    }
    pthread_mutex_unlock(&heard->lock);
}

static int break_down(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                      const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                      struct outbox_err *err)
{
    (void)ctx;
    (void)messages;
    (void)n;
    (void)call;
    (void)outcomes;
    return outbox_fail(err, OUTBOX_E_RETRY, "a \"full\" disk");
}

/* What the relay logs up to this level, when its publisher fails. */
static struct heard log_of(int32_t level)
{
    struct heard heard = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct outbox_relay_options options = {
        .size = sizeof options, .log_fn = hear, .log_ctx = &heard, .log_level = level};
    struct outbox_relay *relay;
    app_ok(outbox_relay_new(&options, &relay, &app_err));
    app_ok(outbox_relay_set_store(relay, app_plugin_dir(), "sqlite", app_settings, &app_err));
    app_ok(outbox_relay_add_function(relay, "here", break_down, NULL, &app_err));
    ck_assert_int_eq(outbox_relay_run_once(relay, 0, NULL, &app_err), OUTBOX_E_RETRY);
    outbox_relay_free(relay);
    return heard;
}

START_TEST(the_log_goes_to_a_function)
{
    app_send(0);
    struct heard heard = log_of(0);
    ck_assert(heard.told);
    ck_assert(heard.whole);
}
END_TEST

START_TEST(no_more_is_logged_than_the_level)
{
    app_send(0);
    ck_assert_int_eq(log_of(OUTBOX_LOG_ERROR).n, 0);
}
END_TEST

/* ---- structs ---- */

/* Of a newer version: more than this one knows. */
struct newer {
    struct outbox_relay_options options;
    uint64_t more;
};

START_TEST(a_struct_without_a_size_is_refused)
{
    struct outbox_relay_options options = {.workers = 1};
    struct outbox_relay_counts counts = {.size = 0};
    struct outbox_relay *relay = NULL;
    app_refused(outbox_relay_new(&options, &relay, &app_err),
                "outbox_relay_options has no size: set .size");
    options.size = 8;
    app_refused(outbox_relay_new(&options, &relay, &app_err), "a size of 8, less than any");
    app_ok(outbox_relay_new(NULL, &relay, &app_err));
    ck_assert_int_eq(outbox_relay_count(relay, &counts), OUTBOX_E_CONFIG);
    app_refused(outbox_relay_run_once(relay, 0, &counts, &app_err), "outbox_relay_counts");
    outbox_relay_free(relay);
}
END_TEST

START_TEST(a_newer_struct_is_taken_unless_it_says_more)
{
    struct newer newer = {.options = {.size = sizeof newer, .workers = 1}};
    struct outbox_relay *relay = NULL;
    app_ok(outbox_relay_new(&newer.options, &relay, &app_err));
    outbox_relay_free(relay);
    newer.more = 1;
    app_refused(outbox_relay_new(&newer.options, &relay, &app_err), "install a newer one");
}
END_TEST

/* As a program that was built with the first version. */
START_TEST(an_older_struct_gets_what_it_has_room_for)
{
    struct outbox_relay_counts counts = {.unrouted = 77};
    app_send(0);
    struct outbox_relay *relay = app_relay((struct outbox_relay_options){0});
    counts.size = offsetof(struct outbox_relay_counts, unrouted);
    app_ok(outbox_relay_run_once(relay, 0, &counts, &app_err));
    ck_assert_uint_eq(counts.accepted, 1);
    ck_assert_uint_eq(counts.unrouted, 77);
    ck_assert_uint_eq(counts.size, offsetof(struct outbox_relay_counts, unrouted));
    outbox_relay_free(relay);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("liboutbox_run");
    TCase *tc = tcase_create("liboutbox_run");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, app_set_up, app_tear_down);
    tcase_add_test(tc, a_relay_runs_once);
    tcase_add_test(tc, what_is_left_is_told);
    tcase_add_test(tc, once_waits_for_what_is_due_soon);
    tcase_add_test(tc, idle_means_settled_and_counted);
    tcase_add_test(tc, a_relay_that_is_busy_is_not_idle);
    tcase_add_test(tc, only_a_relay_that_runs_becomes_idle);
    tcase_add_test(tc, the_log_goes_to_a_function);
    tcase_add_test(tc, no_more_is_logged_than_the_level);
    tcase_add_test(tc, a_struct_without_a_size_is_refused);
    tcase_add_test(tc, a_newer_struct_is_taken_unless_it_says_more);
    tcase_add_test(tc, an_older_struct_gets_what_it_has_room_for);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
