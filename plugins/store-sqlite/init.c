/* SPDX-License-Identifier: Apache-2.0 */
/* init.c - the table is created, upgraded, or found to be up to date. */
#include "connect.h"
#include "db.h"
#include "operations.h"
#include "schema.h"
#include "upgrade.h"

#include <inttypes.h>
#include <stdio.h>

static int bring_up_to_date(struct store *s, const char **ret_what, int64_t *ret_rows,
                            struct outbox_err *err)
{
    enum schema_form form;
    int r = schema_form(s, &form, err);
    if (r < 0)
        return r;
    switch (form) {
    case SCHEMA_MISSING:
        *ret_what = "created";
        r = schema_create(s, s->table, "", err);
        return r < 0 ? r : schema_complete(s, err);
    case SCHEMA_OLD:
        *ret_what = "upgraded";
        return upgrade(s, ret_rows, err);
    default:
        *ret_what = "is up to date";
        r = db_exec(s, SCHEMA_SET_VERSION, err); /* a dump of the schema alone leaves it out */
        return r < 0 ? r : schema_check(s, err);
    }
}

int init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
         struct outbox_err *err)
{
    struct store *s = instance;
    const char *what = "";
    int64_t rows = 0;
    char text[512], kept[64] = "";
    int r = connect_enter_init(s, call, err);
    /* Producers first: wait for them as long as the caller does. */
    s->call.lock_deadline_us = s->call.deadline_us;
    /* Rewriting names in views and triggers would point them to the table's temporary name. */
    if (r == 0)
        r = db_exec(s, "PRAGMA legacy_alter_table = ON", err);
    /* An upgrade sorts the whole table, which need not fit in memory. */
    if (r == 0)
        r = db_exec(s, "PRAGMA temp_store = DEFAULT", err);
    if (r == 0)
        r = db_begin(s, err);
    if (r < 0)
        return r;
    r = db_end(s, bring_up_to_date(s, &what, &rows, err), err);
    if (r < 0)
        return r;
    if (rows > 0)
        snprintf(kept, sizeof kept, ", %" PRId64 " rows kept", rows);
    int n = snprintf(text, sizeof text, "%.300s: table %s %s (schema %d)%s", s->path, s->table,
                     what, SCHEMA_VERSION, kept);
    arena_reset(&s->page_arena);
    return arena_str(&s->page_arena, text, (size_t)n, ret) < 0
               ? outbox_fail(err, OUTBOX_E_RETRY, "out of memory")
               : OUTBOX_OK;
}
