/* SPDX-License-Identifier: Apache-2.0 */
/* lib_function.c - liboutbox: a publisher made from the application's own function. */
#include "lib/liboutbox.h"

#include <stdlib.h>

/* The host of this plugin is always our own, so that the plugin may look into its instance. */
static int open_function(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                         struct outbox_err *err)
{
    (void)cfg;
    (void)err;
    const struct instance *ours = (const void *)host;
    *ret = (void *)(uintptr_t)ours->plugin;
    return OUTBOX_OK;
}

static void close_function(void *instance)
{
    (void)instance; /* the relay's */
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    (void)instance;
    (void)call;
    (void)err;
    return OUTBOX_OK;
}

static int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    const struct lib_function *f = instance;
    return f->fn(f->ctx, msgs, n, call, outcomes, err);
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_function,
    .close = close_function,
    .check = check,
    .publish = publish,
};

static const struct outbox_plugin descriptor = {
    OUTBOX_PLUGIN_INIT(OUTBOX_KIND_PUBLISHER, 0),
    "function",
    PACKAGE_VERSION,
    "A function of the application.",
    NULL,
    &ops,
    NULL,
    0,
    NULL,
};

struct lib_function *lib_function_new(outbox_publish_fn fn, void *ctx)
{
    struct lib_function *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    if (descriptor_negotiate(&descriptor, OUTBOX_KIND_PUBLISHER, NULL, &f->plugin, NULL) < 0) {
        free(f);
        return NULL;
    }
    f->fn = fn;
    f->ctx = ctx;
    return f;
}
