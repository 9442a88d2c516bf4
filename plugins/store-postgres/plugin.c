/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - store-postgres: what it is, its options, its life. */
#include "postgres.h"

#include <stdlib.h>
#include <string.h>

#define KEEP_BYTES (256 << 10)
#define SCRATCH_BYTES (512 << 10)

static const char *const claim_choices[] = {"locks", "leases", NULL};
static const char *const prepare_choices[] = {"auto", "on", "off", NULL};

static const struct outbox_option options[] = {
    {"conninfo", NULL,
     "How to connect, as libpq takes it: host=... dbname=..., postgresql://..., service=...", NULL,
     0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET},
    {"password", NULL, "The password, where conninfo, PGPASSFILE or ~/.pgpass does not say it.",
     NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_SECRET},
    {"table", "outbox_messages",
     "The table of messages, with its schema or without; its companions are named after it.", NULL,
     0, 0, OUTBOX_OPT_TEXT, 0},
    {"claim", "locks",
     "How rows are held: by locks in an open transaction (cheap, free at once when a relay dies), "
     "or "
     "by leases in the rows (for batches that take long).",
     claim_choices, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"prepare", "auto", "Prepared statements; auto: not through a pooler.", prepare_choices, 0, 0,
     OUTBOX_OPT_CHOICE, 0},
    {"notify", "off",
     "Wake up when something is inserted, by a trigger that `outboxd init` makes; producers pay a "
     "little for it.",
     NULL, 0, 0, OUTBOX_OPT_BOOL, 0},
    {"notify_conninfo", NULL,
     "How to connect for that, where conninfo leads to a pooler; must reach the server itself.",
     NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_MAY_BE_SECRET},
};

static void close_store(void *instance)
{
    struct store *s = instance;
    if (!s)
        return;
    if (s->held) {
        struct outbox_call call = {.size = sizeof call, .timeout_ms = 1000, .cancel_fd = -1};
        release(s, &s->held->batch, &call, NULL);
    }
    close_store(s->watch);
    db_close(s);
    claim_forget(s);
    PQclear(s->page);
    arena_free(&s->claim_arena);
    arena_free(&s->page_arena);
    arena_free(&s->scratch);
    timed_call_free(s->bounded);
    name_free(&s->name);
    free(s->schema);
    free(s->conninfo);
    if (s->password)
        explicit_bzero(s->password, strlen(s->password));
    free(s->password);
    free(s);
}

static char *copy(struct outbox_str text)
{
    return text.p ? strndup(text.p, (size_t)text.n) : NULL;
}

/* An instance over one connection string. NULL without memory. */
static struct store *new_store(const struct outbox_host *host, const struct outbox_cfg *cfg,
                               struct outbox_str conninfo)
{
    struct outbox_str password = host->option_text(cfg, "password");
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->host = host;
    s->cancel_fd = -1;
    s->bound = s->searched = INT64_MIN;
    s->outlook.delayed_us = s->outlook.lease_us = INT64_MAX;
    s->claim_arena = (struct arena)ARENA_INIT(KEEP_BYTES);
    s->page_arena = (struct arena)ARENA_INIT(0);
    s->scratch = (struct arena)ARENA_INIT(SCRATCH_BYTES);
    s->bounded = timed_call_new();
    s->conninfo = copy(conninfo);
    s->password = copy(password);
    s->claiming = host->option_text(cfg, "claim").p[1] == 'e' ? CLAIM_LEASES : CLAIM_LOCKS;
    struct outbox_str prepare = host->option_text(cfg, "prepare");
    s->preparing = outbox_str_eq(prepare, outbox_cstr("on"))    ? PREPARE_ON
                   : outbox_str_eq(prepare, outbox_cstr("off")) ? PREPARE_OFF
                                                                : PREPARE_AUTO;
    s->notify = host->option_int(cfg, "notify") != 0;
    if (s->bounded && s->conninfo && (s->password || !password.p))
        return s;
    close_store(s);
    return NULL;
}

static int open_store(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                      struct outbox_err *err)
{
    struct outbox_str conninfo = host->option_text(cfg, "conninfo");
    struct outbox_str notify_conninfo = host->option_text(cfg, "notify_conninfo");
    const char *table = host->option_text(cfg, "table").p;
    struct table_name name = {NULL, NULL};
    if (!notify_conninfo.p)
        notify_conninfo = conninfo;
    int r = conninfo_check("conninfo", conninfo.p, err);
    if (r == 0)
        r = conninfo_check("notify_conninfo", notify_conninfo.p, err);
    if (r == 0)
        r = name_parse(table, &name, err);
    if (r < 0)
        return r;
    struct store *s = new_store(host, cfg, conninfo);
    if (s)
        s->name = name;
    else
        name_free(&name);
    if (s && s->notify) {
        s->watch = new_store(host, cfg, notify_conninfo);
        if (!s->watch || name_parse(table, &s->watch->name, NULL) < 0) {
            close_store(s);
            s = NULL;
        }
    }
    if (!s)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    *ret = s;
    return OUTBOX_OK;
}

static uint64_t capabilities(void *instance)
{
    const struct store *s = instance;
    uint64_t held = s->claiming == CLAIM_LOCKS ? OUTBOX_STORE_FREES_ON_DEATH
                                               : OUTBOX_STORE_PARTIAL | OUTBOX_STORE_RENEWS;
    return held | OUTBOX_STORE_DELAY | (s->notify ? OUTBOX_STORE_WAITS : 0);
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    int r = db_enter(instance, call, err);
    return r < 0 ? r : schema_check(instance, err);
}

static const struct outbox_store_ops ops = {
    .size = sizeof ops,
    .open = open_store,
    .close = close_store,
    .capabilities = capabilities,
    .check = check,
    .schema = schema_render,
    .init = schema_init,
    .claim = claim,
    .settle = settle,
    .release = release,
    .renew = renew,
    .wait = wait_for_news,
    .wait_stop = wait_rest,
    .list = list,
    .requeue = requeue,
    .discard = discard,
    .purge = purge,
    .stats = stats,
    .relay_put = relay_put,
    .relay_list = relay_list,
    .save = save,
};

static const struct outbox_plugin plugin = {
    OUTBOX_PLUGIN_INIT(OUTBOX_KIND_STORE, 0),
    "postgres",
    PACKAGE_VERSION,
    "Messages in a table of a PostgreSQL database.",
    NULL,
    &ops,
    options,
    sizeof options / sizeof options[0],
    NULL,
};

OUTBOX_EXPORT_PLUGIN(plugin)
