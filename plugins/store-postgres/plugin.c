/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - store-postgres: what it is, its options, its life. */
#include "claim/claim_mode.h"

#include <stdlib.h>

#define KEEP_BYTES (256 << 10)

/* The choices of an option, and what each means. */
static const char *const claim_choices[] = {"locks", "leases", NULL};
static const struct claim_mode *const claim_modes[] = {&locks_mode, &leases_mode};
static const char *const prepare_choices[] = {"auto", "on", "off", NULL}; /* enum prepare */

static const struct outbox_option options[] = {
    {"conninfo", NULL,
     "How to connect, as libpq takes it: host=... dbname=..., postgresql://..., service=...", NULL,
     0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET},
    {"password", NULL, "The password, where conninfo, PGPASSFILE or ~/.pgpass does not have it.",
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
     "How to connect for waking, where conninfo leads to a pooler; it must lead to the server "
     "itself; default: conninfo.",
     NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_MAY_BE_SECRET},
};

/* Which of the choices the host made sure it is. */
static size_t chosen(const struct outbox_host *host, const struct outbox_cfg *cfg,
                     const char *option, const char *const *choices)
{
    struct outbox_str value = host->option_text(cfg, option);
    size_t i = 0;
    while (choices[i + 1] && !outbox_str_eq(value, outbox_cstr(choices[i])))
        i++;
    return i;
}

static void close_store(void *instance)
{
    struct store *s = instance;
    if (!s)
        return;
    if (s->claim.held) {
        struct outbox_call call = {.size = sizeof call, .timeout_ms = 1000, .cancel_fd = -1};
        op_release(s, &s->claim.held->batch, &call, NULL);
    }
    conn_free(&s->listener.conn);
    conn_free(&s->conn);
    claim_batch_free(s);
    PQclear(s->page.rows);
    arena_free(&s->claim.arena);
    arena_free(&s->page.arena);
    table_name_free(&s->name);
    free(s);
}

static int open_store(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                      struct outbox_err *err)
{
    const char *conninfo = host->option_text(cfg, "conninfo").p;
    const char *notify_conninfo = host->option_text(cfg, "notify_conninfo").p;
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    s->host = host;
    s->mode = claim_modes[chosen(host, cfg, "claim", claim_choices)];
    s->notify = host->option_int(cfg, "notify") != 0;
    s->claim.bound = INT64_MIN;
    s->claim.arena = (struct arena)ARENA_INIT(KEEP_BYTES);
    s->backlog.due_us = s->backlog.lease_us = INT64_MAX;
    int r = connect_check_conninfo("conninfo", conninfo, err);
    if (r == 0 && notify_conninfo)
        r = connect_check_conninfo("notify_conninfo", notify_conninfo, err);
    if (r == 0)
        r = table_name_parse(host->option_text(cfg, "table").p, &s->name, err);
    if (r == 0 &&
        (conn_init(&s->conn, host, cfg, "conninfo", &s->name) < 0 ||
         (s->notify && conn_init(&s->listener.conn, host, cfg,
                                 notify_conninfo ? "notify_conninfo" : "conninfo", &s->name) < 0)))
        r = outbox_fail(err, OUTBOX_E_RETRY, "cannot prepare a connection: %m");
    s->conn.prepare = s->listener.conn.prepare =
        (enum prepare)chosen(host, cfg, "prepare", prepare_choices);
    if (r == 0)
        *ret = s;
    else
        close_store(s);
    return r;
}

static uint64_t capabilities(void *instance)
{
    const struct store *s = instance;
    return s->mode->capabilities | OUTBOX_STORE_DELAY | (s->notify ? OUTBOX_STORE_WAITS : 0);
}

static const struct outbox_store_ops ops = {
    .size = sizeof ops,
    .open = open_store,
    .close = close_store,
    .capabilities = capabilities,
    .check = op_check,
    .schema = op_schema,
    .init = op_init,
    .claim = op_claim,
    .settle = op_settle,
    .release = op_release,
    .renew = op_renew,
    .wait = op_wait,
    .wait_stop = op_wait_stop,
    .list = op_list,
    .requeue = op_requeue,
    .discard = op_discard,
    .purge = op_purge,
    .stats = op_stats,
    .relay_put = op_relay_put,
    .relay_list = op_relay_list,
    .save = op_save,
};

OUTBOX_DEFINE_PLUGIN(OUTBOX_KIND_STORE, 0, "postgres", PACKAGE_VERSION,
                     "Messages in a table of a PostgreSQL database.", NULL, ops, options)
