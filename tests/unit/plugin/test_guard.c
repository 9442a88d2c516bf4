/* SPDX-License-Identifier: Apache-2.0 */
/* What the host makes of the results of plugins, and what it logs of those that break the rules. */
#include "plugin/current_call.h"
#include "plugin/guard.h"
#include "plugin/publisher.h"
#include "plugin/store.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

static int answer, took_ms, opened_with;
static uint32_t verdict;
static uint64_t bits;
static bool unblocks;
static int log_fd;
static struct log *the_log;
static struct publisher publisher;
static struct store store;
static struct outbox_err err = {.size = sizeof err};

/* ---- a plugin that does as it is told ---- */

static int result(void)
{
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    if (unblocks)
        pthread_sigmask(SIG_UNBLOCK, &term, NULL);
    poll(NULL, 0, took_ms);
    return answer;
}

static int open_fake(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *why)
{
    (void)host;
    (void)cfg;
    (void)why;
    *ret = &answer;
    return opened_with;
}

static void close_fake(void *self)
{
    (void)self;
    result();
}

static uint64_t capabilities(void *self)
{
    (void)self;
    return bits;
}

static int check(void *self, const struct outbox_call *call, struct outbox_err *why)
{
    (void)self;
    (void)call;
    (void)why;
    return result();
}

static int publish(void *self, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *why)
{
    (void)msgs;
    outcomes[n - 1]->verdict = verdict;
    outcomes[0]->verdict = OUTBOX_ACCEPTED;
    return check(self, call, why);
}

static int keepalive(void *self, struct outbox_keepalive *ret, struct outbox_err *why)
{
    (void)self;
    (void)why;
    ret->verdict = verdict;
    return result();
}

static int claim(void *self, const struct outbox_claim *how, const struct outbox_call *call,
                 struct outbox_batch **ret, struct outbox_err *why)
{
    (void)how;
    (void)ret;
    return check(self, call, why);
}

static int settle(void *self, struct outbox_batch *batch, const struct outbox_settle *const *items,
                  uint64_t n, const struct outbox_call *call, uint8_t *settled,
                  struct outbox_err *why)
{
    (void)batch;
    (void)items;
    settled[n - 1] = (uint8_t)verdict;
    return check(self, call, why);
}

static const struct plugin publisher_plugin = {
    .desc = {.kind = OUTBOX_KIND_PUBLISHER, .name = "x", .version = "1"},
    .ops.publisher = {.open = open_fake,
                      .close = close_fake,
                      .capabilities = capabilities,
                      .check = check,
                      .publish = publish,
                      .keepalive = keepalive}};
static const struct plugin store_plugin = {
    .desc = {.kind = OUTBOX_KIND_STORE, .name = "x", .version = "1"},
    .ops.store = {.open = open_fake,
                  .close = close_fake,
                  .capabilities = capabilities,
                  .check = check,
                  .claim = claim,
                  .settle = settle}};

/* ---- calls ---- */

static int open_publisher(void)
{
    const struct instance_setup setup = {.plugin = &publisher_plugin, .log = the_log};
    return publisher_open(&publisher, &setup, "mail", &err);
}

static void set_up(void)
{
    answer = took_ms = opened_with = 0;
    verdict = OUTBOX_ACCEPTED;
    bits = OUTBOX_PUB_KEEPALIVE;
    unblocks = false;
    log_fd = memfd_create("log", MFD_CLOEXEC);
    the_log = log_new(log_fd, OUTBOX_LOG_INFO, LOG_LOGFMT);
    ck_assert_int_eq(open_publisher(), OUTBOX_OK);
    bits = 0;
    ck_assert_int_eq(store_open(&store, &store_plugin, NULL, the_log, &err), OUTBOX_OK);
}

static void tear_down(void)
{
    publisher_close(&publisher);
    store_close(&store);
    log_free(the_log);
    close(log_fd);
}

static struct outbox_outcome outcomes[2];

static int publish_two(int cancel_fd)
{
    static const struct outbox_message message = {.size = sizeof message};
    static const struct outbox_message *const msgs[] = {&message, &message};
    struct outbox_outcome *const to[] = {&outcomes[0], &outcomes[1]};
    struct outbox_call call = store_call(100, cancel_fd);
    return publisher_publish(&publisher, msgs, 2, &call, to, &err);
}

/* How often the log says this. */
static int logged(const char *text)
{
    static char all[65536];
    ssize_t size = pread(log_fd, all, sizeof all - 1, 0);
    int n = 0;
    all[size > 0 ? size : 0] = '\0';
    for (const char *at = all; (at = strstr(at, text)); at++)
        n++;
    return n;
}

#define ck_assert_text(said) ck_assert_msg(strstr(err.text, said) != NULL, "%s", err.text)

/* ---- results ---- */

START_TEST(a_reason_without_an_end_gets_one)
{
    memset(err.text, 'x', sizeof err.text);
    ck_assert_int_eq(guard_end(&store.instance, "check", NULL, OUTBOX_E_RETRY, &err),
                     OUTBOX_E_RETRY);
    ck_assert_uint_eq(strnlen(err.text, sizeof err.text), sizeof err.text - 1);
}
END_TEST

START_TEST(a_missing_reason_and_an_unknown_class_are_replaced)
{
    answer = OUTBOX_E_EXISTS - 1;
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_E_RETRY);
    ck_assert_str_eq(err.text, "store-x failed without a reason");
    ck_assert_int_eq(store_check(&store, NULL, NULL), OUTBOX_E_RETRY);
    answer = OUTBOX_E_EXISTS;
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_E_EXISTS);
    ck_assert_int_eq(logged("broken"), 0);
}
END_TEST

START_TEST(a_positive_result_is_a_defect_that_is_logged_once)
{
    answer = 42;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(publish_two(-1), OUTBOX_E_RETRY);
    ck_assert_str_eq(err.text, "pub-x is broken: in `publish` it returned 42, which is neither "
                               "OUTBOX_OK nor negative");
    ck_assert_int_eq(logged("level=error msg=\"a plugin is broken\" plugin=pub-x instance="
                            "\"publisher mail\" operation=publish"),
                     1);
    ck_assert_int_eq(publisher_check(&publisher, NULL, &err), OUTBOX_E_RETRY);
    ck_assert_int_eq(logged("operation=check"), 1);
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_E_RETRY);
    ck_assert_int_eq(logged("plugin=store-x instance=store operation=check"), 1);
    ck_assert_int_eq(logged("\n"), 3);
}
END_TEST

START_TEST(who_says_cancelled_was_cancelled)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    answer = OUTBOX_E_CANCELLED;
    ck_assert_int_eq(publish_two(-1), OUTBOX_E_RETRY);
    ck_assert_int_eq(publish_two(fd), OUTBOX_E_RETRY);
    ck_assert_text("it returned OUTBOX_E_CANCELLED, though nobody cancelled the call");
    eventfd_write(fd, 1);
    ck_assert_int_eq(publish_two(fd), OUTBOX_E_CANCELLED);
    close(fd);
    ck_assert_int_eq(logged("cancelled"), 1);
}
END_TEST

/* ---- numbers ---- */

START_TEST(an_unknown_outcome_is_as_unset_and_fails_the_call)
{
    verdict = OUTBOX_UNAVAILABLE + 1;
    ck_assert_int_eq(publish_two(-1), OUTBOX_E_RETRY);
    ck_assert_text("it set the unknown outcome 6");
    ck_assert_uint_eq(outcomes[0].verdict, OUTBOX_ACCEPTED);
    ck_assert_uint_eq(outcomes[1].verdict, OUTBOX_UNSET);
    ck_assert_int_eq(logged("operation=publish"), 1);
    for (verdict = OUTBOX_UNSET; verdict <= OUTBOX_UNAVAILABLE; verdict++)
        ck_assert_int_eq(publish_two(-1), OUTBOX_OK);
}
END_TEST

START_TEST(an_unknown_verdict_of_keepalive_fails_the_call)
{
    struct outbox_keepalive ret;
    verdict = OUTBOX_REJECTED;
    ck_assert_int_eq(publisher_keepalive(&publisher, &ret, &err), OUTBOX_E_RETRY);
    ck_assert_text("it set the unknown verdict 4");
    verdict = OUTBOX_UNAVAILABLE;
    ck_assert_int_eq(publisher_keepalive(&publisher, &ret, &err), OUTBOX_OK);
}
END_TEST

START_TEST(a_store_that_settles_in_an_unknown_way_has_failed)
{
    uint8_t settled[2] = {0};
    verdict = OUTBOX_SETTLED_QUARANTINED + 1;
    ck_assert_int_eq(store_settle(&store, NULL, NULL, 2, NULL, settled, &err), OUTBOX_E_RETRY);
    ck_assert_text("store-x is broken: in `settle` it set the unknown number 4");
    verdict = OUTBOX_SETTLED_QUARANTINED;
    ck_assert_int_eq(store_settle(&store, NULL, NULL, 2, NULL, settled, &err), OUTBOX_OK);
}
END_TEST

START_TEST(a_store_that_claims_no_batch_has_failed)
{
    struct outbox_batch *batch;
    ck_assert_int_eq(store_claim(&store, NULL, NULL, &batch, &err), OUTBOX_E_RETRY);
    ck_assert_text("it returned OUTBOX_OK, and no result");
}
END_TEST

/* ---- opening ---- */

START_TEST(a_critical_capability_that_is_unknown_is_refused)
{
    publisher_close(&publisher);
    bits = UINT64_C(1) << 32 | OUTBOX_PUB_KEEPS_ORDER;
    ck_assert_int_eq(open_publisher(), OUTBOX_OK);
    publisher_close(&publisher);
    bits |= 0x40;
    ck_assert_int_eq(open_publisher(), OUTBOX_E_CONFIG);
    ck_assert_str_eq(err.text, "publisher mail: pub-x 1 asks for what this host does not know "
                               "(capabilities 0x40): upgrade outboxd, or take an older version of "
                               "the plugin");
    store_close(&store);
    bits = 0x100;
    ck_assert_int_eq(store_open(&store, &store_plugin, NULL, the_log, &err), OUTBOX_E_CONFIG);
    ck_assert_text("capabilities 0x100");
}
END_TEST

START_TEST(an_open_with_a_result_that_it_cannot_have_is_refused)
{
    publisher_close(&publisher);
    opened_with = 3;
    ck_assert_int_eq(open_publisher(), OUTBOX_E_CONFIG);
    ck_assert_text("pub-x is broken: in `open` it returned 3, and an instance");
    opened_with = OUTBOX_E_CANCELLED;
    ck_assert_int_eq(open_publisher(), OUTBOX_E_RETRY);
    ck_assert_text("pub-x is broken: in `open` it returned OUTBOX_E_CANCELLED");
}
END_TEST

/* ---- the thread ---- */

START_TEST(a_mask_that_a_call_changed_is_set_back_and_told)
{
    struct current_call call;
    sigset_t term, before, after;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, &before);
    current_call_init(&call);
    current_call_adopt(&call, true);
    publish_two(-1);
    ck_assert_int_eq(logged("blocks"), 0);
    unblocks = true;
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(publish_two(-1), OUTBOX_OK);
    publisher_close(&publisher);
    ck_assert_int_eq(store_check(&store, NULL, &err), OUTBOX_OK);
    unblocks = false;
    pthread_sigmask(SIG_SETMASK, &before, &after);
    current_call_destroy(&call);
    ck_assert(sigismember(&after, SIGTERM));
    ck_assert_int_eq(logged("operation=publish defect=\"it changed which signals"), 1);
    ck_assert_int_eq(logged("operation=close defect=\"it changed which signals"), 1);
    ck_assert_int_eq(logged("instance=store operation=check defect=\"it changed which signals"), 1);
}
END_TEST

static void *call_late(void *call)
{
    current_call_adopt(call, false);
    took_ms = 2600;
    publish_two(-1);
    return NULL;
}

START_TEST(a_late_call_is_told_while_it_lasts_and_when_it_is_over)
{
    struct current_call call;
    pthread_t thread;
    current_call_init(&call);
    ck_assert_int_eq(pthread_create(&thread, NULL, call_late, &call), 0);
    while (logged("has not returned") == 0 && pthread_tryjoin_np(thread, NULL) != 0) {
        current_call_watch(&call);
        poll(NULL, 0, 10);
    }
    ck_assert_int_eq(logged("level=warning msg=\"a plugin's call has not returned, though its "
                            "time-out is over\" plugin=pub-x instance=\"publisher mail\" "
                            "operation=publish seconds_late=1"),
                     1);
    ck_assert_int_eq(logged("came back"), 0);
    current_call_watch(&call);
    pthread_join(thread, NULL);
    current_call_watch(&call);
    current_call_destroy(&call);
    ck_assert_int_eq(logged("has not returned"), 1);
    ck_assert_int_eq(logged("came back late\" plugin=pub-x instance=\"publisher mail\" "
                            "operation=publish seconds_late="),
                     1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("guard");
    TCase *tc = tcase_create("guard");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_reason_without_an_end_gets_one);
    tcase_add_test(tc, a_missing_reason_and_an_unknown_class_are_replaced);
    tcase_add_test(tc, a_positive_result_is_a_defect_that_is_logged_once);
    tcase_add_test(tc, who_says_cancelled_was_cancelled);
    tcase_add_test(tc, an_unknown_outcome_is_as_unset_and_fails_the_call);
    tcase_add_test(tc, an_unknown_verdict_of_keepalive_fails_the_call);
    tcase_add_test(tc, a_store_that_settles_in_an_unknown_way_has_failed);
    tcase_add_test(tc, a_store_that_claims_no_batch_has_failed);
    tcase_add_test(tc, a_critical_capability_that_is_unknown_is_refused);
    tcase_add_test(tc, an_open_with_a_result_that_it_cannot_have_is_refused);
    tcase_add_test(tc, a_mask_that_a_call_changed_is_set_back_and_told);
    tcase_add_test(tc, a_late_call_is_told_while_it_lasts_and_when_it_is_over);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
