/* SPDX-License-Identifier: Apache-2.0 */
/* Publishers in an application: functions with reasons, with options, and around a plugin. */
#include "base/clock.h"
#include "embedding.h"
#include "unit.h"

#include <outbox/helpers.h>
#include <pthread.h>
#include <unistd.h>

static const struct outbox_relay_options one_worker = {.workers = 1, .poll_interval_ms = 20};

/* A relay whose one publisher is this function. */
static struct outbox_relay *relay_to(struct outbox_relay_options options, outbox_publish_fn fn,
                                     void *ctx)
{
    struct outbox_relay *relay;
    options.size = sizeof options;
    app_ok(outbox_relay_new(&options, &relay, &app_err));
    app_ok(outbox_relay_set_store(relay, app_plugin_dir(), "sqlite", app_settings, &app_err));
    app_ok(outbox_relay_add_function(relay, "here", fn, ctx, &app_err));
    return relay;
}

static void set_options(struct outbox_relay *relay, struct outbox_publisher_options options)
{
    options.size = sizeof options;
    app_ok(outbox_relay_set_publisher(relay, "here", &options, &app_err));
}

static struct outbox_relay_counts once(struct outbox_relay *relay)
{
    struct outbox_relay_counts counts = {.size = sizeof counts};
    app_ok(outbox_relay_run_once(relay, 0, &counts, &app_err));
    return counts;
}

/* ---- outcomes ---- */

static int reject_with_reasons(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                               const struct outbox_call *call,
                               struct outbox_outcome *const *outcomes, struct outbox_err *err)
{
    (void)ctx;
    (void)call;
    (void)err;
    for (uint64_t i = 0; i < n; i++) {
        char where[16];
        snprintf(where, sizeof where, "seq %lld", (long long)messages[i]->seq);
        outbox_outcome_set(outcomes[i], OUTBOX_REJECTED, "refused at %s", where);
        memset(where, 'x', sizeof where);
    }
    return OUTBOX_OK;
}

START_TEST(a_formatted_reason_lives_until_it_is_settled)
{
    for (int i = 0; i < 3; i++)
        app_send(0);
    struct outbox_relay *relay = relay_to(one_worker, reject_with_reasons, NULL);
    ck_assert_uint_eq(once(relay).failed, 3);
    outbox_relay_free(relay);
    ck_assert(app_finds("SELECT 1 FROM outbox_messages WHERE last_error = 'refused at seq 2'"));
    ck_assert(app_finds("SELECT 1 FROM outbox_messages WHERE last_error = 'refused at seq 3'"));
}
END_TEST

START_TEST(outcomes_can_be_made_for_tests)
{
    struct outbox_outcome **outcomes = outbox_outcomes_new(3);
    struct outbox_outcome foreign = {.size = sizeof foreign};
    outbox_outcome_set(outcomes[0], OUTBOX_LATER, "%s", "first");
    outbox_outcome_set(outcomes[0], OUTBOX_LATER, "not the %s", outcomes[0]->reason.p);
    outbox_outcome_set(outcomes[2], OUTBOX_ACCEPTED, NULL);
    ck_assert_int_eq(outbox_outcome_set_rest(outcomes, 3, OUTBOX_RETRY, "the %s", "rest"), 0);
    ck_assert_uint_eq(outcomes[0]->verdict, OUTBOX_LATER);
    ck_assert_str_eq(outcomes[0]->reason.p, "not the first");
    ck_assert_uint_eq(outcomes[1]->verdict, OUTBOX_RETRY);
    ck_assert_str_eq(outcomes[1]->reason.p, "the rest");
    ck_assert_uint_eq(outcomes[2]->verdict, OUTBOX_ACCEPTED);
    ck_assert_ptr_null(outcomes[2]->reason.p);
    outbox_outcome_set(&foreign, OUTBOX_RETRY, "has no memory for it");
    ck_assert_uint_eq(foreign.verdict, OUTBOX_RETRY);
    ck_assert_ptr_null(foreign.reason.p);
    outbox_outcomes_free(outcomes);
    outbox_outcomes_free(NULL);
}
END_TEST

static int negative(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                    const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                    struct outbox_err *err)
{
    (void)ctx;
    (void)messages;
    (void)n;
    (void)call;
    (void)outcomes;
    return outbox_fail(err, OUTBOX_E_RETRY, "nobody is there");
}

static int charging(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                    const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                    struct outbox_err *err)
{
    (void)ctx;
    (void)messages;
    (void)call;
    (void)err;
    return outbox_outcome_set_rest(outcomes, n, OUTBOX_RETRY, "try %s", "again");
}

/* What the header says loudly. */
START_TEST(a_negative_result_pauses_and_charges_nothing)
{
    app_send(0);
    struct outbox_relay *relay = relay_to(one_worker, negative, NULL);
    ck_assert_int_eq(outbox_relay_run_once(relay, 0, NULL, &app_err), OUTBOX_E_RETRY);
    ck_assert_msg(strstr(app_err.text, "publisher here") && strstr(app_err.text, "nobody is there"),
                  "%s", app_err.text);
    ck_assert_uint_eq(app_counts(relay).retried + app_counts(relay).failed, 0);
    ck_assert(app_finds("SELECT 1 FROM outbox_messages WHERE status = 'pending' AND retries = 0"));
    outbox_relay_free(relay);
}
END_TEST

START_TEST(retry_for_the_rest_charges_all)
{
    app_send(0);
    app_send(0);
    struct outbox_relay *relay = relay_to(one_worker, charging, NULL);
    ck_assert_uint_eq(once(relay).retried, 2);
    ck_assert(app_finds("SELECT 1 FROM outbox_messages WHERE status = 'pending' AND retries = 1"
                        " AND last_error = 'try again' AND seq = 2"));
    outbox_relay_free(relay);
}
END_TEST

/* ---- options ---- */

START_TEST(a_publisher_has_a_batch_size_of_its_own)
{
    for (int i = 0; i < 4; i++)
        app_send(0);
    struct outbox_relay *relay = relay_to(one_worker, app_deliver, &app_publisher);
    set_options(relay, (struct outbox_publisher_options){.batch_size = 2});
    ck_assert_uint_eq(once(relay).accepted, 4);
    ck_assert_int_eq(app_publisher.calls, 2);
    outbox_relay_free(relay);
}
END_TEST

START_TEST(a_publisher_has_retries_of_its_own)
{
    app_send(0);
    struct outbox_relay *relay = relay_to(one_worker, charging, NULL);
    set_options(relay, (struct outbox_publisher_options){.max_retries = 1});
    ck_assert_uint_eq(once(relay).failed, 1);
    outbox_relay_free(relay);
}
END_TEST

struct crowd {
    _Atomic int now;
    _Atomic int most;
    int patience_ms; /* a call waits so long for a second one */
};

static int crowded(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    struct crowd *crowd = ctx;
    int now = ++crowd->now;
    (void)messages;
    (void)call;
    (void)err;
    if (now > crowd->most)
        crowd->most = now;
    for (int64_t end = clock_monotonic_us() + crowd->patience_ms * 1000;
         crowd->most < 2 && clock_monotonic_us() < end;)
        usleep(1000);
    crowd->now--;
    return outbox_outcome_set_rest(outcomes, n, OUTBOX_ACCEPTED, NULL);
}

/* `concurrency` 0: no limit, so that the test would see it. */
static int most_at_once(uint32_t concurrency)
{
    struct crowd crowd = {.patience_ms = concurrency ? 60 : 10000};
    for (int i = 0; i < 8; i++)
        app_send(0);
    struct outbox_relay *relay =
        relay_to((struct outbox_relay_options){.workers = 4, .batch_size = 1}, crowded, &crowd);
    set_options(relay, (struct outbox_publisher_options){.concurrency = concurrency});
    ck_assert_uint_eq(once(relay).accepted, 8);
    outbox_relay_free(relay);
    return crowd.most;
}

START_TEST(no_more_calls_than_concurrency_are_under_way)
{
    ck_assert_int_gt(most_at_once(0), 1);
    ck_assert_int_eq(most_at_once(1), 1);
}
END_TEST

struct life {
    _Atomic int checks;
    _Atomic bool works;
    int closed;
    int calls;
};

static int life_check(void *ctx, const struct outbox_call *call, struct outbox_err *err)
{
    struct life *life = ctx;
    ck_assert_uint_gt(call->timeout_ms, 0);
    life->checks++;
    return life->works ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "not yet");
}

static int life_publish(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                        const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                        struct outbox_err *err)
{
    struct life *life = ctx;
    (void)messages;
    (void)call;
    life->calls++;
    if (!life->works)
        return outbox_fail(err, OUTBOX_E_RETRY, "down");
    return outbox_outcome_set_rest(outcomes, n, OUTBOX_ACCEPTED, NULL);
}

static void life_close(void *ctx)
{
    ((struct life *)ctx)->closed++;
}

START_TEST(a_paused_function_is_checked_and_closed_once)
{
    struct life life = {0};
    app_send(0);
    struct outbox_relay *relay = relay_to(one_worker, life_publish, &life);
    set_options(relay, (struct outbox_publisher_options){
                           .check = life_check, .close = life_close, .concurrency = 1});
    app_ok(outbox_relay_start(relay, &app_err));
    while (life.checks == 0)
        usleep(1000);
    ck_assert_int_eq(outbox_relay_wait_idle(relay, 50, &app_err), OUTBOX_E_TIMEOUT);
    ck_assert_msg(strstr(app_err.text, "publisher here is unavailable") != NULL, "%s",
                  app_err.text);
    ck_assert_int_eq(life.calls, 1);
    life.works = true;
    app_ok(outbox_relay_wait_idle(relay, 60000, &app_err));
    ck_assert_uint_eq(app_counts(relay).accepted, 1);
    app_ok(outbox_relay_stop(relay, 60000, &app_err));
    ck_assert_int_eq(life.closed, 0);
    outbox_relay_free(relay);
    ck_assert_int_eq(life.closed, 1);
}
END_TEST

START_TEST(options_of_a_publisher_are_checked)
{
    static const struct outbox_setting exec[] = {
        {"command", "/bin/true"}, {"timeout", "5s"}, {NULL, NULL}};
    struct outbox_publisher_options options = {.size = sizeof options, .batch_size = 100001};
    struct outbox_relay *relay = relay_to(one_worker, app_deliver, &app_publisher);
    app_refused(outbox_relay_set_publisher(relay, "here", &options, &app_err), "batch_size");
    options = (struct outbox_publisher_options){.size = sizeof options, .retry_min_ms = 400000};
    app_refused(outbox_relay_set_publisher(relay, "here", &options, &app_err), "retry_min");
    options = (struct outbox_publisher_options){.batch_size = 1};
    app_refused(outbox_relay_set_publisher(relay, "here", &options, &app_err), "has no size");
    options.size = sizeof options;
    app_refused(outbox_relay_set_publisher(relay, "there", &options, &app_err), "no publisher");
    app_ok(outbox_relay_add_publisher(relay, "program", "exec", exec, &app_err));
    options.concurrency = 1;
    app_refused(outbox_relay_set_publisher(relay, "program", &options, &app_err),
                "are for functions");
    options = (struct outbox_publisher_options){.size = sizeof options, .batch_timeout_ms = 4000};
    app_refused(outbox_relay_set_publisher(relay, "program", &options, &app_err), "batch_timeout");
    options.batch_timeout_ms = 6000;
    app_ok(outbox_relay_set_publisher(relay, "program", &options, &app_err));
    outbox_relay_free(relay);
}
END_TEST

/* ---- around a plugin ---- */

struct tee {
    struct outbox_publisher *inner;
    _Atomic uint64_t accepted;
};

static int counted(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    struct tee *tee = ctx;
    int r = outbox_publisher_publish(tee->inner, messages, n, call, outcomes, err);
    for (uint64_t i = 0; i < n; i++)
        tee->accepted += outcomes[i]->verdict == OUTBOX_ACCEPTED;
    return r;
}

static struct outbox_publisher *exec_publisher(const char *command)
{
    const struct outbox_setting settings[] = {{"command", command}, {NULL, NULL}};
    struct outbox_publisher *publisher;
    app_ok(outbox_publisher_open(app_plugin_dir(), "exec", settings, &publisher, &app_err));
    return publisher;
}

START_TEST(a_function_wraps_a_plugin)
{
    struct tee tee = {exec_publisher("/bin/true"), 0};
    for (int i = 0; i < 5; i++)
        app_send(0);
    struct outbox_relay *relay =
        relay_to((struct outbox_relay_options){.workers = 2, .batch_size = 1}, counted, &tee);
    ck_assert_uint_eq(once(relay).accepted, 5);
    ck_assert_uint_eq(tee.accepted, 5);
    outbox_relay_free(relay);
    outbox_publisher_close(tee.inner);
}
END_TEST

START_TEST(the_reasons_of_a_wrapped_plugin_are_kept)
{
    struct tee tee = {exec_publisher("/bin/sh -c \"echo no such customer >&2; exit 1\""), 0};
    app_send(0);
    struct outbox_relay *relay = relay_to(one_worker, counted, &tee);
    ck_assert_uint_eq(once(relay).retried, 1);
    outbox_relay_free(relay);
    outbox_publisher_close(tee.inner);
    ck_assert(app_finds("SELECT 1 FROM outbox_messages WHERE last_error LIKE '%customer%'"));
}
END_TEST

START_TEST(a_plugin_publishes_without_a_relay)
{
    struct outbox_publisher *publisher = exec_publisher("/bin/sh -c \"exit 1\"");
    const struct outbox_message message = {.size = sizeof message,
                                           .id = outbox_cstr("i"),
                                           .row_id = outbox_cstr("i"),
                                           .topic = outbox_cstr("t"),
                                           .key = outbox_cstr("")};
    const struct outbox_message *const messages[] = {&message};
    const struct outbox_call call = {.size = sizeof call, .timeout_ms = 10000, .cancel_fd = -1};
    struct outbox_outcome **outcomes = outbox_outcomes_new(1);
    app_ok(outbox_publisher_check(publisher, &call, &app_err));
    app_ok(outbox_publisher_publish(publisher, messages, 1, &call, outcomes, &app_err));
    ck_assert_uint_eq(outcomes[0]->verdict, OUTBOX_RETRY);
    ck_assert_ptr_nonnull(outcomes[0]->reason.p);
    outbox_outcomes_free(outcomes);
    outbox_publisher_close(publisher);
    app_refused(outbox_publisher_open(app_plugin_dir(), "exec", NULL, &publisher, &app_err),
                "`command`");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("liboutbox_publishers");
    TCase *tc = tcase_create("liboutbox_publishers");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, app_set_up, app_tear_down);
    tcase_add_test(tc, a_formatted_reason_lives_until_it_is_settled);
    tcase_add_test(tc, outcomes_can_be_made_for_tests);
    tcase_add_test(tc, a_negative_result_pauses_and_charges_nothing);
    tcase_add_test(tc, retry_for_the_rest_charges_all);
    tcase_add_test(tc, a_publisher_has_a_batch_size_of_its_own);
    tcase_add_test(tc, a_publisher_has_retries_of_its_own);
    tcase_add_test(tc, no_more_calls_than_concurrency_are_under_way);
    tcase_add_test(tc, a_paused_function_is_checked_and_closed_once);
    tcase_add_test(tc, options_of_a_publisher_are_checked);
    tcase_add_test(tc, a_function_wraps_a_plugin);
    tcase_add_test(tc, the_reasons_of_a_wrapped_plugin_are_kept);
    tcase_add_test(tc, a_plugin_publishes_without_a_relay);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
