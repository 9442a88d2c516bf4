/* SPDX-License-Identifier: Apache-2.0 */
/* A relay on a store that breaks the contract: it publishes nothing, and says whose fault it is. */
#include "relay/relay.h"
#include "unit.h"

#include <outbox/store.h>

#include <poll.h>
#include <string.h>

static struct outbox_message messages[2] = {{.size = sizeof messages[0], .seq = 2},
                                            {.size = sizeof messages[0], .seq = 1}};
static const struct outbox_message *const msgs[2] = {&messages[0], &messages[1]};
static struct outbox_batch batch = {
    .size = sizeof batch, .n = 2, .messages = msgs, .next_due_ms = -1};
static int opened, held;

static int open_fake(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    (void)host;
    (void)cfg;
    (void)err;
    opened++;
    *ret = &held;
    return OUTBOX_OK;
}

static void close_fake(void *self)
{
    (void)self;
}

static int claim(void *self, const struct outbox_claim *claim, const struct outbox_call *call,
                 struct outbox_batch **ret, struct outbox_err *err)
{
    (void)self;
    (void)claim;
    (void)call;
    (void)err;
    held++;
    *ret = &batch;
    return OUTBOX_OK;
}

static int release(void *self, struct outbox_batch *claimed, const struct outbox_call *call,
                   struct outbox_err *err)
{
    (void)self;
    (void)call;
    (void)err;
    held -= claimed == &batch;
    return OUTBOX_OK;
}

/* The relay is one that gives up soon. */
START_TEST(a_batch_that_is_out_of_order_is_given_back_and_the_plugin_named)
{
    struct plugin plugin = {
        .desc = {.kind = OUTBOX_KIND_STORE, .name = "fake"},
        .ops.store = {.open = open_fake, .close = close_fake, .claim = claim, .release = release}};
    struct plugin publisher_plugin = {.desc = {.kind = OUTBOX_KIND_PUBLISHER, .name = "fake"},
                                      .ops.publisher = {.open = open_fake, .close = close_fake}};
    struct config *config = config_new("a test");
    struct publisher_config *publisher = config ? config_add_publisher(config, "nobody") : NULL;
    struct relay *relay;
    struct relay_report report;
    struct outbox_err err = {.size = sizeof err};
    ck_assert_ptr_nonnull(publisher);
    publisher->plugin = &publisher_plugin;
    config->store_plugin = &plugin;
    config->workers = 1;
    config->delivery.batch_size = 2;
    config->lease_ms = config->delivery.batch_timeout_ms = 30000;
    ck_assert_int_eq(config_finish(config), OUTBOX_OK);
    ck_assert_int_eq(relay_start(config, &(struct relay_mode){.once = true, .wait_ms = 1500}, NULL,
                                 &relay, &err),
                     0);
    struct pollfd ended = {.fd = relay_ended_fd(relay), .events = POLLIN};
    ck_assert_int_eq(poll(&ended, 1, 30000), 1);
    relay_finish(relay, &report);
    ck_assert_msg(strstr(report.outage, "store-fake claimed") != NULL, "%s", report.outage);
    ck_assert_int_eq(held, 0);
    ck_assert_int_ge(opened,
                     6); /* three and a worker's two; and its store anew for the next claim */
    relay_free(relay);
    config_free(config);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broken_store");
    TCase *tc = tcase_create("broken_store");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_batch_that_is_out_of_order_is_given_back_and_the_plugin_named);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
