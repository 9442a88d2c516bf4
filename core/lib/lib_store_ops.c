/* SPDX-License-Identifier: Apache-2.0 */
/* lib_store_ops.c - liboutbox: a store made from functions of the application. */
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <stdlib.h>

/* The host is always our own, so that the plugin may look into its instance. */
static int shared_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                       struct outbox_err *err)
{
    (void)cfg;
    (void)err;
    const struct instance *ours = (const void *)host;
    *ret = ((const struct lib_store_ops *)(const void *)ours->plugin)->ctx;
    return OUTBOX_OK;
}

static void shared_close(void *ctx)
{
    (void)ctx; /* the application's */
}

/* ---- what a table may leave out ---- */

static int open_ctx(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                    struct outbox_err *err)
{
    (void)cfg;
    (void)err;
    *ret = host->shared;
    return OUTBOX_OK;
}

static void close_ctx(void *ctx)
{
    (void)ctx;
}

static int check(void *ctx, const struct outbox_call *call, struct outbox_err *err)
{
    (void)ctx;
    (void)call;
    (void)err;
    return OUTBOX_OK;
}

static int schema(void *ctx, const struct outbox_exec *exec, struct outbox_err *err)
{
    (void)ctx;
    (void)exec;
    return outbox_fail(err, OUTBOX_E_NOTSUP, "a store made from functions has no statements");
}

static int init(void *ctx, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err)
{
    (void)ctx;
    (void)call;
    (void)err;
    *ret = outbox_cstr("nothing to do");
    return OUTBOX_OK;
}

static void fill(struct outbox_store_ops *ops)
{
    ops->close = ops->close ? ops->close : close_ctx;
    ops->check = ops->check ? ops->check : check;
    ops->schema = ops->schema ? ops->schema : schema;
    ops->init = ops->init ? ops->init : init;
}

int lib_store_ops_new(const struct outbox_store_ops *ops, void *ctx, struct lib_store_ops **ret,
                      struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    struct lib_store_ops *s = calloc(1, sizeof *s);
    if (!s)
        return lib_out_of_memory(err);
    int r = lib_take("outbox_store_ops", ops, offsetof(struct outbox_store_ops, renew),
                     sizeof s->ops, &s->ops, &why);
    if (r == 0 && !s->ops.open && !ctx)
        r = outbox_fail(&why, OUTBOX_E_CONFIG, "a store without `open` needs a ctx");
    if (!s->ops.open)
        s->ops.open = open_ctx;
    fill(&s->ops);
    const struct outbox_plugin descriptor = {
        OUTBOX_PLUGIN_INIT(OUTBOX_KIND_STORE, 0),
        .name = "functions",
        .version = PACKAGE_VERSION,
        .summary = "Functions of the application.",
        .ops = &s->ops,
        .shared_open = shared_open,
        .shared_close = shared_close,
    };
    s->ctx = ctx;
    if (r == 0 &&
        (r = descriptor_negotiate(&descriptor, OUTBOX_KIND_STORE, NULL, &s->plugin, &why)) < 0) {
        free(s);
        return outbox_fail(err, r, "the store made from functions %s", why.text);
    }
    if (r < 0) {
        free(s);
        return outbox_fail(err, r, "%s", why.text);
    }
    *ret = s;
    return OUTBOX_OK;
}
