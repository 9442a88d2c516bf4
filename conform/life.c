/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/life.h"

#include "conform/publish.h"
#include "conform/target.h"

#include <string.h>

#define ROUTES 10000

/* ---- any kind ---- */

static void open_it(struct instance *instance)
{
    const struct setup *s = target();
    struct outbox_err err = {.size = sizeof err};
    const struct instance_setup setup = {
        .plugin = s->plugin, .cfg = s->options, .label = s->section, .log = target_log()};
    if (instance_open(instance, &setup, &err) < 0)
        ck_abort_msg("%s", err.text);
}

START_TEST(it_is_opened_and_closed_100_times)
{
    int64_t end = now_ms() + 5000; /* how long that may take is another test's */
    struct instance instance;
    for (int i = 0; i < 100 && now_ms() < end; i++) {
        open_it(&instance);
        instance_close(&instance);
    }
}
END_TEST

START_TEST(closing_nothing_is_allowed)
{
    target()->plugin->ops.publisher.close(NULL); /* it stands for all kinds, see instance.c */
}
END_TEST

/* ---- rules ---- */

static void route(struct instance *instance, const struct outbox_message *msg,
                  struct outbox_decision *ret)
{
    struct outbox_err err = {.size = sizeof err};
    *ret = (struct outbox_decision){.size = sizeof *ret};
    int r = instance->plugin->ops.rule.route(instance->self, msg, ret, &err);
    ck_assert_msg(r == OUTBOX_OK, "route returned %d: %s", r, err.text);
}

/* Some that applications write; each is asked for alone. */
START_TEST(it_names_publishers_of_the_file)
{
    static const char *const texts[] = {"orders.created", "", "\0\1\xff", "gr\xc3\xbc\xc3\x9f\x65"};
    const struct config *config = target()->config;
    struct batch *b = batch_new(sizeof texts / sizeof texts[0]);
    struct instance instance;
    open_it(&instance);
    for (uint64_t i = 0; i < b->n; i++) {
        struct outbox_decision decision;
        batch_set_id(b, i, 1);
        b->msgs[i].topic = b->msgs[i].key = batch_copy(b, texts[i], strlen(texts[i]));
        b->msgs[i].payload = i == 1 ? (struct outbox_str){NULL, 0} : b->msgs[i].topic;
        route(&instance, &b->msgs[i], &decision);
        ck_assert_msg(decision.n == 0 || decision.publishers, "%llu names, and no array of them",
                      (unsigned long long)decision.n);
        for (uint64_t k = 0; k < decision.n; k++)
            ck_assert_msg(config->n_publishers == 0 ||
                              config_find_publisher(config, decision.publishers[k], NULL) !=
                                  ROUTE_NONE,
                          "it names `%s`, and the file has no [publisher %s]",
                          decision.publishers[k], decision.publishers[k]);
    }
    instance_close(&instance);
    batch_free(b);
}
END_TEST

START_TEST(a_decision_takes_microseconds)
{
    struct batch *b = batch_new(1);
    struct outbox_decision decision;
    struct instance instance;
    open_it(&instance);
    batch_set_id(b, 0, 2);
    int64_t began = now_ms();
    for (int i = 0; i < ROUTES && now_ms() - began < 10000; i++)
        route(&instance, &b->msgs[0], &decision);
    ck_assert_msg(now_ms() - began < 5000, "%d decisions took %lld ms; the host waits for each",
                  ROUTES, (long long)(now_ms() - began));
    instance_close(&instance);
    batch_free(b);
}
END_TEST

void life_add(const struct kit_sink *sink, uint32_t kind)
{
    const struct kit_test like = {.timeout_s = 60};
    kit_add(sink, &like, it_is_opened_and_closed_100_times, 0, 1, 0);
    kit_add(sink, &like, closing_nothing_is_allowed, 0, 1, 0);
    if (kind != OUTBOX_KIND_RULE)
        return;
    kit_add(sink, &like, it_names_publishers_of_the_file, 0, 1, 0);
    kit_add(sink, &like, a_decision_takes_microseconds, 0, 1, 0);
}
