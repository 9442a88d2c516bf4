/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-postgres: what it is, its options, its instances. */
#include "inbox.h"

/* What close waits for each of two threads that may be left behind, ms: OUTBOX_CLOSE_MS for all. */
#define CLOSE_MS 400

static const struct outbox_option options[] = {
    {"conninfo", NULL,
     "How to connect, as libpq takes it: host=... dbname=..., postgresql://..., service=...", NULL,
     0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET},
    {"password", NULL, "The password, instead of one in conninfo.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     OUTBOX_OPT_SECRET},
    {"table", "outbox_inbox", "The table, with its schema or without.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     0},
    {"source", NULL, "What the column source gets; without it nothing.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"notify", NULL, "A channel: receivers that listen to it wake up.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     0},
    {"application_name", "outboxd", "The name of the connection at the server.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"connect_timeout", "5s", "For one host: TCP, TLS and the login.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, 0},
    {"publish_timeout", "10s", "How long writing a batch may take.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
};

static void close_instance(void *instance)
{
    struct instance *x = instance;
    if (!x)
        return;
    session_close(x);
    apart_free(x->connecting, CLOSE_MS);
    apart_free(x->cancelling, CLOSE_MS);
    outbox_reasons_clear(&x->reasons);
    free(x);
}

static int open_instance(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                         struct outbox_err *err)
{
    struct instance *x = calloc(1, sizeof *x);
    int r;
    if (!x)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    x->host = host;
    x->cfg = cfg;
    r = settings_read(host, cfg, &x->settings, err);
    if (r == OUTBOX_OK) {
        x->connecting = apart_new();
        x->cancelling = apart_new();
        if (!x->connecting || !x->cancelling)
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory or descriptors");
    }
    return outbox_opened(r, x, close_instance, ret);
}

static uint64_t capabilities(void *instance)
{
    (void)instance;
    return OUTBOX_PUB_KEEPS_ORDER | OUTBOX_PUB_KEEPALIVE;
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct instance *x = instance;
    int r;
    outbox_deadline_begin(&x->d, x->host, call);
    r = session_enter(x, err);
    return r == OUTBOX_OK ? table_look(x, err) : r;
}

/* A server that ends sessions which are idle is not the outage that a server is that hangs up. */
static int keepalive(void *instance, struct outbox_keepalive *ret, struct outbox_err *err)
{
    struct instance *x = instance;
    (void)err;
    ret->verdict = OUTBOX_ACCEPTED;
    session_has_ended(x);
    if (!x->db && x->dismissed && !x->is_idle_end) {
        ret->verdict = OUTBOX_UNAVAILABLE;
        ret->reason = outbox_cstr(x->text);
    }
    return OUTBOX_OK;
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_instance,
    .close = close_instance,
    .capabilities = capabilities,
    .check = check,
    .publish = publish,
    .keepalive = keepalive,
};

OUTBOX_DEFINE_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "postgres", PACKAGE_VERSION,
                     "Writes messages into an inbox table of another PostgreSQL database.", NULL,
                     ops, options)
