/* SPDX-License-Identifier: Apache-2.0 */
/* A relay whose store settles badly: what is published meanwhile, and what is counted. */
#include "base/clock.h"
#include "relay/relay.h"
#include "unit.h"

#include <outbox/helpers.h>
#include <outbox/store.h>

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROWS 4

/* The table: a row is free, claimed or gone. */
static enum { FREE, CLAIMED, GONE } rows[ROWS];
static struct outbox_message messages[ROWS];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;

/* What the store does, and what it saw. */
static int failures;             /* so many settles more fail */
static int failure;              /* with this result */
static unsigned stale;           /* so many settles more come too late */
static uint8_t becomes;          /* what the rest says of each item */
static int claim_result;         /* of each claim */
static unsigned claims;          /* calls */
static unsigned settles;         /* calls */
static unsigned published;       /* messages */
static unsigned probes;          /* settles that leave a message as it is */
static unsigned probe_limit;     /* the largest claim while settles failed */
static int64_t published_us[64]; /* when, of the first ones */

struct fake {
    struct outbox_batch batch;
    const struct outbox_message *msgs[ROWS];
};

static int open_fake(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    (void)host;
    (void)cfg;
    (void)err;
    *ret = calloc(1, sizeof(struct fake));
    return *ret ? OUTBOX_OK : OUTBOX_E_RETRY;
}

static void close_fake(void *self)
{
    free(self);
}

static uint64_t capabilities(void *self)
{
    (void)self;
    return OUTBOX_STORE_DELAY;
}

static int claim(void *self, const struct outbox_claim *claim, const struct outbox_call *call,
                 struct outbox_batch **ret, struct outbox_err *err)
{
    (void)call;
    (void)err;
    struct fake *f = self;
    f->batch =
        (struct outbox_batch){.size = sizeof f->batch, .messages = f->msgs, .next_due_ms = -1};
    pthread_mutex_lock(&table_lock);
    claims++;
    for (size_t i = 0; i < ROWS && f->batch.n < claim->limit; i++)
        if (rows[i] == FREE) {
            rows[i] = CLAIMED;
            f->msgs[f->batch.n++] = &messages[i];
        }
    if (published > 0 && failures > 0 && f->batch.n > probe_limit)
        probe_limit = f->batch.n;
    pthread_mutex_unlock(&table_lock);
    *ret = claim_result == OUTBOX_OK ? &f->batch : NULL;
    return claim_result == 1 ? OUTBOX_OK : claim_result;
}

static int settle(void *self, struct outbox_batch *batch, const struct outbox_settle *const *items,
                  uint64_t n, const struct outbox_call *call, uint8_t *settled,
                  struct outbox_err *err)
{
    (void)self;
    (void)call;
    int r = OUTBOX_OK;
    pthread_mutex_lock(&table_lock);
    settles++;
    probes += n == 1 && items[0]->action == OUTBOX_SETTLE_RETRY && items[0]->flags == 0;
    if (failures > 0) {
        failures--;
        r = outbox_fail(err, failure, "the table is locked");
    } else if (stale > 0) {
        stale--;
        memset(settled, OUTBOX_SETTLED_STALE, n);
    } else {
        memset(settled, becomes, n);
        for (uint64_t i = 0; i < n; i++)
            if (items[i]->action != OUTBOX_SETTLE_RETRY || items[i]->delay_ms > 0)
                rows[batch->messages[items[i]->index]->seq] = GONE;
    }
    pthread_mutex_unlock(&table_lock);
    return r;
}

static int release(void *self, struct outbox_batch *batch, const struct outbox_call *call,
                   struct outbox_err *err)
{
    (void)self;
    (void)call;
    (void)err;
    pthread_mutex_lock(&table_lock);
    for (uint32_t i = 0; i < batch->n; i++)
        if (rows[batch->messages[i]->seq] == CLAIMED)
            rows[batch->messages[i]->seq] = FREE;
    pthread_mutex_unlock(&table_lock);
    return OUTBOX_OK;
}

static int publish(void *self, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    (void)self;
    (void)msgs;
    (void)call;
    (void)err;
    pthread_mutex_lock(&table_lock);
    for (uint64_t i = 0; i < n; i++) {
        outcomes[i]->verdict = OUTBOX_ACCEPTED;
        if (published < sizeof published_us / sizeof published_us[0])
            published_us[published] = clock_monotonic_us();
        published++;
    }
    pthread_mutex_unlock(&table_lock);
    return OUTBOX_OK;
}

static void set_up(void)
{
    for (size_t i = 0; i < ROWS; i++) {
        rows[i] = FREE;
        messages[i] = (struct outbox_message){.size = sizeof messages[i],
                                              .seq = (int64_t)i,
                                              .row_id = outbox_cstr("an id"),
                                              .topic = outbox_cstr("t")};
    }
}

/* Until nothing is due any more, or for as long as the outage that is to end it lasts.
 * max_retries 0: without a publisher. */
static struct relay_report run_until(const char *outage, uint32_t workers, uint32_t max_retries)
{
    struct plugin plugin = {.desc = {.kind = OUTBOX_KIND_STORE, .name = "fake"},
                            .ops.store = {.open = open_fake,
                                          .close = close_fake,
                                          .capabilities = capabilities,
                                          .claim = claim,
                                          .settle = settle,
                                          .release = release}};
    struct plugin publisher_plugin = {
        .desc = {.kind = OUTBOX_KIND_PUBLISHER, .name = "fake"},
        .ops.publisher = {.open = open_fake, .close = close_fake, .publish = publish}};
    struct config *config = config_new("a test");
    struct relay *relay;
    struct relay_report report;
    struct outbox_err err = {.size = sizeof err};
    ck_assert_ptr_nonnull(config);
    config->store_plugin = &plugin;
    config->workers = workers;
    config->delivery.batch_size = ROWS;
    config->delivery.max_retries = max_retries;
    config->delivery.retry_min_ms = config->delivery.retry_max_ms = 10;
    config->lease_ms = config->delivery.batch_timeout_ms = 30000;
    if (max_retries > 0) {
        struct publisher_config *publisher = config_add_publisher(config, "out");
        ck_assert_ptr_nonnull(publisher);
        publisher->plugin = &publisher_plugin;
        config->routes.fallback = strdup("out");
    }
    ck_assert_int_eq(config_finish(config), OUTBOX_OK);
    const struct relay_mode mode = {.once = true, .wait_ms = *outage ? 1500 : 60000};
    ck_assert_int_eq(relay_start(config, &mode, NULL, &relay, &err), 0);
    struct pollfd ended = {.fd = relay_ended_fd(relay), .events = POLLIN};
    ck_assert_int_eq(poll(&ended, 1, 50000), 1);
    relay_finish(relay, &report);
    ck_assert_msg(*outage ? strstr(report.outage, outage) != NULL : !report.outage[0], "%s",
                  report.outage);
    relay_free(relay);
    config_free(config);
    return report;
}

static struct relay_report run(uint32_t workers, uint32_t max_retries)
{
    return run_until("", workers, max_retries);
}

START_TEST(after_a_failed_settle_nothing_is_published_until_one_passes)
{
    failures = 3;
    failure = OUTBOX_E_BROKEN; /* the batch is lost with it */
    struct relay_report report = run(2, 5);
    ck_assert_uint_eq(published, 2 * ROWS);
    ck_assert_uint_eq(report.accepted, ROWS);
    ck_assert_uint_eq(probes, 3); /* two failed */
    ck_assert_uint_eq(probe_limit, 1);
}
END_TEST

START_TEST(a_batch_that_can_be_settled_after_all_is_not_published_again)
{
    failures = 3;
    failure = OUTBOX_E_TIMEOUT;
    struct relay_report report = run(2, 5);
    ck_assert_uint_eq(published, ROWS);
    ck_assert_uint_eq(report.accepted, ROWS);
    ck_assert_uint_eq(probes, 0);
}
END_TEST

START_TEST(what_always_comes_too_late_is_sent_less_and_less)
{
    stale = 4;
    struct relay_report report = run(1, 5);
    ck_assert_uint_eq(published, 5 * ROWS);
    ck_assert_uint_eq(report.stale, 4 * ROWS);
    ck_assert_uint_eq(report.accepted, ROWS);
    /* The pauses are 50 ms at least, and each is twice as long. */
    ck_assert_int_ge(published_us[4 * ROWS] - published_us[3 * ROWS], 400000);
}
END_TEST

START_TEST(a_refused_outcome_is_not_counted_as_accepted)
{
    becomes = OUTBOX_SETTLED_REFUSED;
    struct relay_report report = run(1, 1);
    ck_assert_uint_eq(published, ROWS);
    ck_assert_uint_eq(report.accepted, 0);
    ck_assert_uint_eq(report.failed, ROWS);
}
END_TEST

START_TEST(a_refused_outcome_is_a_charged_attempt_before_the_last)
{
    becomes = OUTBOX_SETTLED_REFUSED;
    struct relay_report report = run(1, 2);
    ck_assert_uint_eq(report.accepted, 0);
    ck_assert_uint_eq(report.retried, ROWS);
}
END_TEST

START_TEST(what_went_to_quarantine_is_counted_as_nothing_else)
{
    becomes = OUTBOX_SETTLED_QUARANTINED;
    struct relay_report report = run(1, 2);
    ck_assert_uint_eq(published, ROWS);
    ck_assert_uint_eq(report.accepted + report.retried + report.failed, 0);
}
END_TEST

/* What a settle did that breaks the rules is not known, so nothing more goes out. */
START_TEST(a_store_that_settles_by_no_rule_ends_the_run_and_is_named)
{
    failures = INT_MAX;
    failure = 42;
    run_until("the store did not take what was sent: store-fake is broken: in `settle` it returned "
              "42, which is neither OUTBOX_OK nor negative",
              2, 5);
    ck_assert_uint_eq(published, ROWS);
    ck_assert_uint_le(settles, 20);
}
END_TEST

START_TEST(so_does_one_that_says_what_nobody_knows_of_a_message)
{
    becomes = OUTBOX_SETTLED_QUARANTINED + 1;
    run_until("in `settle` it set the unknown number 4 for a message", 2, 5);
    ck_assert_uint_eq(published, ROWS);
    ck_assert_uint_le(settles, 20);
}
END_TEST

START_TEST(so_does_one_that_was_cancelled_by_nobody)
{
    failures = INT_MAX;
    failure = OUTBOX_E_CANCELLED;
    run_until("in `settle` it returned OUTBOX_E_CANCELLED, though nobody cancelled the call", 2, 5);
    ck_assert_uint_eq(published, ROWS);
    ck_assert_uint_le(settles, 20);
}
END_TEST

START_TEST(a_store_that_claims_by_no_rule_is_paused_and_named)
{
    static const struct {
        int result; /* 1: OUTBOX_OK without a batch */
        const char *outage;
    } cases[] = {
        {1, "store-fake is broken: in `claim` it returned OUTBOX_OK, and no result"},
        {42, "store-fake is broken: in `claim` it returned 42, which is neither"},
        {OUTBOX_E_CANCELLED, "store-fake is broken: in `claim` it returned OUTBOX_E_CANCELLED"},
    };
    claim_result = cases[_i].result;
    run_until(cases[_i].outage, 2, 5);
    ck_assert_uint_eq(published, 0);
    ck_assert_uint_le(claims, 10);
}
END_TEST

START_TEST(without_a_publisher_a_relay_ends_too)
{
    struct relay_report report = run(1, 0);
    ck_assert_uint_eq(report.unrouted, ROWS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("settles");
    TCase *tc = tcase_create("settles");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, NULL);
    tcase_add_test(tc, after_a_failed_settle_nothing_is_published_until_one_passes);
    tcase_add_test(tc, a_batch_that_can_be_settled_after_all_is_not_published_again);
    tcase_add_test(tc, what_always_comes_too_late_is_sent_less_and_less);
    tcase_add_test(tc, a_refused_outcome_is_not_counted_as_accepted);
    tcase_add_test(tc, a_refused_outcome_is_a_charged_attempt_before_the_last);
    tcase_add_test(tc, what_went_to_quarantine_is_counted_as_nothing_else);
    tcase_add_test(tc, a_store_that_settles_by_no_rule_ends_the_run_and_is_named);
    tcase_add_test(tc, so_does_one_that_says_what_nobody_knows_of_a_message);
    tcase_add_test(tc, so_does_one_that_was_cancelled_by_nobody);
    tcase_add_loop_test(tc, a_store_that_claims_by_no_rule_is_paused_and_named, 0, 3);
    tcase_add_test(tc, without_a_publisher_a_relay_ends_too);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
