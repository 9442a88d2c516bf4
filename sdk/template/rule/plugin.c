/* SPDX-License-Identifier: Apache-2.0 */
/* rule-@name@.c - sends the messages whose header has a value to one publisher. */
#include <outbox/plugin.h>

#include <stdlib.h>

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION "0.1.0"
#endif

struct rule {
    const char *header;
    struct outbox_str value;
    const char *publishers[1]; /* what a decision points at; valid until close */
};

static const struct outbox_option options[] = {
    {"field", NULL, "The header to look at.", NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED},
    {"value", NULL, "The value that it must have.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     OUTBOX_OPT_REQUIRED},
    /* The host refuses a name that is no publisher of the file. */
    {"then", NULL, "The publisher of such messages.", NULL, 0, 0, OUTBOX_OPT_PUBLISHER,
     OUTBOX_OPT_REQUIRED},
};

static void close_instance(void *instance)
{
    free(instance);
}

static int open_instance(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                         struct outbox_err *err)
{
    struct rule *x = calloc(1, sizeof *x);
    int r = OUTBOX_OK;
    if (!x)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    x->header = host->option_text(cfg, "field").p;
    x->value = host->option_text(cfg, "value");
    x->publishers[0] = host->option_text(cfg, "then").p;
    if (!*x->header)
        r = outbox_fail_option(err, "field", "field: it is empty");
    return outbox_opened(r, x, close_instance, ret);
}

/* No input or output, microseconds, and the same message always gets the same answer. */
static int route(void *instance, const struct outbox_message *msg, struct outbox_decision *ret,
                 struct outbox_err *err)
{
    struct rule *x = instance;
    (void)err;
    if (outbox_str_eq(outbox_header_value(msg, x->header), x->value)) {
        ret->publishers = x->publishers;
        ret->n = 1;
        ret->reason = outbox_cstr("the header has the value");
    } /* else n stays 0, and the next route is tried */
    return OUTBOX_OK;
}

static const struct outbox_rule_ops ops = {
    .size = sizeof ops,
    .open = open_instance,
    .close = close_instance,
    .route = route,
};

OUTBOX_DEFINE_PLUGIN(OUTBOX_KIND_RULE, 0, "@name@", PLUGIN_VERSION,
                     "Sends messages by the value of a header.", NULL, ops, options)
