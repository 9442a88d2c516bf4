/* SPDX-License-Identifier: Apache-2.0 */
/* checked_case.h - what cases of the layer that checks plugins share: a plugin of the program's
 * own, opened through the layer, and the rules that are told of it. Include it in one file. */
#pragma once

#include "plugin/checked.h"
#include "plugin/instance.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <string.h>

static char rules[256]; /* that were told, with a blank before each */
static const struct plugin *checked;
static struct instance instance;
static struct outbox_err err = {.size = sizeof err};
static const struct outbox_call call = {.size = sizeof call, .timeout_ms = 20000, .cancel_fd = -1};

static void heard(void *ctx, const char *of, const char *operation, const char *rule,
                  const char *what)
{
    (void)ctx;
    (void)of;
    (void)operation;
    (void)what;
    snprintf(rules + strlen(rules), sizeof rules - strlen(rules), " %s", rule);
}

static int open_fake(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *why)
{
    (void)host;
    (void)cfg;
    (void)why;
    *ret = &instance;
    return OUTBOX_OK;
}

static void close_fake(void *self)
{
    (void)self;
}

static int check(void *self, const struct outbox_call *given, struct outbox_err *why)
{
    (void)self;
    (void)given;
    (void)why;
    return OUTBOX_OK;
}

static void open_checked(const struct plugin *plugin)
{
    const struct checker checker = {.report = heard};
    ck_assert_int_eq(checked_plugin_new(plugin, &checker, &checked), OUTBOX_OK);
    const struct instance_setup setup = {.plugin = checked, .label = "fake"};
    ck_assert_int_eq(instance_open(&instance, &setup, &err), OUTBOX_OK);
}

static void close_checked(void)
{
    instance_close(&instance);
    checked_plugin_free(checked);
}

static struct outbox_message message(int64_t seq)
{
    return (struct outbox_message){.size = sizeof(struct outbox_message),
                                   .seq = seq,
                                   .id = outbox_cstr("id"),
                                   .topic = outbox_cstr("t"),
                                   .key = outbox_cstr(""),
                                   .payload = outbox_cstr("hello"),
                                   .row_id = outbox_cstr("row")};
}
