/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_case.h"

struct fake fake;

void fake_set_up(void)
{
    fake = (struct fake){0};
}

void fake_tear_down(void)
{
    free_made();
    fake_stop(&fake);
}

static void configure(struct outbox_cfg *cfg)
{
    struct outbox_err err = {.size = sizeof err};
    char url[64];
    options_set(cfg, "url", fake_url(&fake, url), &err);
    options_set(cfg, "mode", "queue", &err);
    options_set(cfg, "queue", "q", &err);
}

const struct publisher_kind fake_kind = {.plugin = "amqp", .configure = configure};

struct instance *publisher_against(void (*on_message)(struct fake *, uint64_t tag, const char *id))
{
    fake.on_message = on_message;
    fake_start(&fake);
    return a_publisher(NULL);
}

struct outbox_keepalive keepalive(struct instance *instance)
{
    struct outbox_keepalive ret = {.size = sizeof ret};
    struct outbox_err err = {.size = sizeof err};
    int64_t began = now_ms();
    ck_assert_int_eq(instance->plugin->ops.publisher.keepalive(instance->self, &ret, &err),
                     OUTBOX_OK);
    ck_assert_int_lt(now_ms() - began, 400 + LATE_MS);
    return ret;
}
