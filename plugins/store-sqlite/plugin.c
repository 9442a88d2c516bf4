/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - store-sqlite: what it is, its options, its life. */
#include "db.h"
#include "fit.h"
#include "lives.h"

#include <stdlib.h>
#include <string.h>

#define TABLE_MAX 60
#define KEEP_BYTES (256 << 10)

static const struct outbox_option options[] = {
    {"path", NULL, "The database file, on a local disk; `outboxd init` makes it.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED},
    {"table", "outbox_messages", "The table of messages; its companions are named after it.", NULL,
     0, 0, OUTBOX_OPT_TEXT, 0},
    {"busy_timeout", "5s",
     "How long a call waits for another process that writes, before it fails and is tried again "
     "later.",
     NULL, 1, 600000, OUTBOX_OPT_DURATION, 0},
};

static bool table_is_valid(const char *name)
{
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    size_t n = strlen(name);
    return n > 0 && n <= TABLE_MAX && strspn(name, chars) == n && !strchr("0123456789", name[0]) &&
           sqlite3_strnicmp(name, "sqlite_", 7) != 0;
}

static void close_store(void *instance)
{
    struct store *s = instance;
    if (!s)
        return;
    if (s->claim.batch) {
        struct outbox_call call = {.size = sizeof call, .timeout_ms = 1000, .cancel_fd = -1};
        settle_release(s, &s->claim.batch->batch, &call, NULL);
    }
    db_close(s);
    lives_end(s);
    arena_free(&s->claim.arena);
    arena_free(&s->page_arena);
    free(s->path);
    free(s->table);
    free(s);
}

static int open_store(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                      struct outbox_err *err)
{
    struct outbox_str path = host->option_text(cfg, "path");
    struct outbox_str table = host->option_text(cfg, "table");
    if (path.n == 0 || path.p[0] == ':' || strncmp(path.p, "file:", 5) == 0)
        return outbox_fail_option(
            err, "path",
            "path: it must be the name of a file, neither empty, nor :memory:, nor a URI");
    if (!table_is_valid(table.p))
        return outbox_fail_option(
            err, "table",
            "table: `%.80s` cannot be a table's name; letters, digits and _ make "
            "one, at most %d",
            table.p, TABLE_MAX);
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    s->host = host;
    s->watch.inotify_fd = -1;
    s->lives.fd = -1;
    s->call.cancel_fd = -1;
    s->busy_ms = host->option_int(cfg, "busy_timeout");
    s->claim.arena = (struct arena)ARENA_INIT(KEEP_BYTES);
    s->page_arena = (struct arena)ARENA_INIT(0);
    s->path = strdup(path.p);
    s->table = strdup(table.p);
    if (!s->path || !s->table) {
        close_store(s);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    *ret = s;
    return OUTBOX_OK;
}

static uint64_t capabilities(void *instance)
{
    (void)instance;
    return OUTBOX_STORE_DELAY | OUTBOX_STORE_PARTIAL | OUTBOX_STORE_RENEWS | OUTBOX_STORE_WAITS;
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    int r = connect_enter(instance, call, err);
    if (r == 0)
        r = fit_check(instance, err);
    return r < 0 ? r : fit_warn(instance, err);
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
    .release = settle_release,
    .renew = lease_renew,
    .wait = wait_for_news,
    .list = list,
    .requeue = admin_requeue,
    .discard = admin_discard,
    .purge = admin_purge,
    .stats = stats,
    .relay_put = relays_put,
    .relay_list = relays_list,
    .save = save,
};

OUTBOX_DEFINE_PLUGIN(OUTBOX_KIND_STORE, 0, "sqlite", PACKAGE_VERSION,
                     "Messages in a table of an SQLite database.", NULL, ops, options)
