/* SPDX-License-Identifier: Apache-2.0 */
/* How many messages a relay claims: less after a claim that failed, or that may have killed a
 * relay of its name. */
#include "relay/relay.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <string.h>

#define MOST 16
#define PASSES 3 /* a claim of so many does not fail */
#define NOW INT64_C(1700000000000000)

static uint32_t limits[64]; /* of the claims so far */
static size_t n_claims, n_wanted;
static bool has_dead; /* a relay of its name ended uncleanly */
static struct outbox_message messages[MOST];
static const struct outbox_message *pointers[MOST];
static struct outbox_batch batch;

static int open_fake(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    (void)host;
    (void)cfg;
    (void)err;
    *ret = &batch;
    return OUTBOX_OK;
}

static void close_fake(void *self)
{
    (void)self;
}

/* A message each time, until there were so many claims as are wanted. */
static int claim(void *self, const struct outbox_claim *claim, const struct outbox_call *call,
                 struct outbox_batch **ret, struct outbox_err *err)
{
    (void)self;
    (void)call;
    if (n_claims < sizeof limits / sizeof limits[0])
        limits[n_claims++] = claim->limit;
    if (!has_dead && n_claims <= 3 && claim->limit > PASSES)
        return outbox_fail(err, OUTBOX_E_TIMEOUT, "too many for me");
    batch = (struct outbox_batch){.size = sizeof batch,
                                  .n = n_claims < n_wanted,
                                  .messages = pointers,
                                  .next_due_ms = -1,
                                  .more = n_claims < n_wanted};
    *ret = &batch;
    return OUTBOX_OK;
}

static int release(void *self, struct outbox_batch *claimed, const struct outbox_call *call,
                   struct outbox_err *err)
{
    (void)self;
    (void)claimed;
    (void)call;
    (void)err;
    return OUTBOX_OK;
}

static int settle(void *self, struct outbox_batch *claimed,
                  const struct outbox_settle *const *items, uint64_t n,
                  const struct outbox_call *call, uint8_t *settled, struct outbox_err *err)
{
    (void)self;
    (void)claimed;
    (void)items;
    (void)call;
    (void)err;
    memset(settled, OUTBOX_SETTLED, (size_t)n);
    return OUTBOX_OK;
}

static int relay_list(void *self, const struct outbox_call *call, struct outbox_relay_page **ret,
                      struct outbox_err *err)
{
    static const struct outbox_relay_row dead = {.size = sizeof dead,
                                                 .id = {"1", 1},
                                                 .name = {"mine", 4},
                                                 .state = {"{}", 2},
                                                 .started_us = 1,
                                                 .alive_us = 1};
    static const struct outbox_relay_row *const rows[] = {&dead};
    static struct outbox_relay_page page;
    (void)self;
    (void)call;
    (void)err;
    page =
        (struct outbox_relay_page){.size = sizeof page, .n = has_dead, .rows = rows, .now_us = NOW};
    *ret = &page;
    return OUTBOX_OK;
}

static int relay_put(void *self, const struct outbox_relay_row *row, const struct outbox_call *call,
                     struct outbox_err *err)
{
    (void)self;
    (void)row;
    (void)call;
    (void)err;
    return OUTBOX_OK;
}

/* Until so many claims were made; each message is a dead letter, so that no publisher is needed. */
static void run(size_t claims)
{
    struct plugin plugin = {.desc = {.kind = OUTBOX_KIND_STORE, .name = "fake"},
                            .ops.store = {.open = open_fake,
                                          .close = close_fake,
                                          .claim = claim,
                                          .settle = settle,
                                          .release = release,
                                          .relay_list = relay_list,
                                          .relay_put = relay_put}};
    struct plugin publisher_plugin = {.desc = {.kind = OUTBOX_KIND_PUBLISHER, .name = "fake"},
                                      .ops.publisher = {.open = open_fake, .close = close_fake}};
    struct config *config = config_new("a test");
    struct publisher_config *publisher = config ? config_add_publisher(config, "nobody") : NULL;
    struct relay *relay;
    struct relay_report report;
    struct outbox_err err = {.size = sizeof err};
    ck_assert_ptr_nonnull(publisher);
    n_wanted = claims;
    messages[0] = (struct outbox_message){.size = sizeof messages[0],
                                          .seq = 1,
                                          .id = {"m", 1},
                                          .row_id = {"m", 1},
                                          .topic = {"t", 1},
                                          .defect = {"none", 4}};
    pointers[0] = &messages[0];
    free(config->name);
    config->name = strdup("mine");
    publisher->plugin = &publisher_plugin;
    config->store_plugin = &plugin;
    config->workers = 1;
    config->delivery.batch_size = MOST;
    config->lease_ms = config->delivery.batch_timeout_ms = 30000;
    ck_assert_int_eq(config_finish(config), OUTBOX_OK);
    const struct relay_mode once = {.once = true, .wait_ms = 30000};
    ck_assert_int_eq(relay_start(config, &once, NULL, &relay, &err), 0);
    struct pollfd ended = {.fd = relay_ended_fd(relay), .events = POLLIN};
    ck_assert_int_eq(poll(&ended, 1, 30000), 1);
    relay_finish(relay, &report);
    relay_free(relay);
    config_free(config);
    ck_assert_uint_eq(n_claims, claims);
}

static void assert_limits(const uint32_t *wanted, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(limits[i] == wanted[i], "claim %zu was for %u, not %u", i, limits[i],
                      wanted[i]);
}

START_TEST(a_claim_that_failed_halves_the_next_one_and_a_batch_doubles_it)
{
    static const uint32_t wanted[] = {16, 8, 4, 2, 4, 8, 16, 16};
    run(8);
    assert_limits(wanted, 8);
}
END_TEST

START_TEST(after_a_relay_that_was_killed_the_first_claims_are_small)
{
    static const uint32_t wanted[] = {1, 2, 4, 8, 16, 16};
    has_dead = true;
    run(6);
    assert_limits(wanted, 6);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("claim_size");
    TCase *tc = tcase_create("claim_size");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_claim_that_failed_halves_the_next_one_and_a_batch_doubles_it);
    tcase_add_test(tc, after_a_relay_that_was_killed_the_first_claims_are_small);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
