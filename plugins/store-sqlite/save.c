/* SPDX-License-Identifier: Apache-2.0 */
/* save.c - messages are written: in a producer's transaction, or in one of our own. */
#include "headers.h"
#include "sqlite.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGS_MAX 6

struct insert {
    FILE *columns;
    FILE *values;
    char *column_text;
    char *value_text;
    size_t n1, n2;
    struct outbox_arg args[ARGS_MAX];
    uint64_t n;
};

static void add(struct insert *in, const char *column, uint32_t type, struct outbox_str s,
                int64_t i)
{
    fprintf(in->columns, "%s%s", in->n ? ", " : "", column);
    fprintf(in->values, "%s?%llu", in->n ? ", " : "", (unsigned long long)in->n + 1);
    in->args[in->n++] =
        (struct outbox_arg){.size = sizeof(struct outbox_arg), .type = type, .s = s, .i = i};
}

/* Only what is given: the table's defaults do the rest. */
static int fill(struct store *s, struct insert *in, const struct outbox_new *row, char **headers,
                struct outbox_err *err)
{
    struct outbox_str none = {NULL, 0};
    if (row->id.p)
        add(in, "id", OUTBOX_ARG_TEXT, row->id, 0);
    add(in, "topic", OUTBOX_ARG_TEXT, row->topic, 0);
    if (row->key.p)
        add(in, "key", OUTBOX_ARG_TEXT, row->key, 0);
    if (row->payload.p)
        add(in, "payload", OUTBOX_ARG_BLOB, row->payload, 0);
    if (row->n_headers > 0) {
        *headers = headers_render(row->headers, row->n_headers);
        if (!*headers)
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "the headers are not valid UTF-8, or a name is longer than 1 KiB");
        add(in, "headers", OUTBOX_ARG_TEXT, outbox_cstr(*headers), 0);
    }
    if (row->delay_ms > 0)
        add(in, "available_at", OUTBOX_ARG_INT, none, db_now_plus(s, row->delay_ms));
    return OUTBOX_OK;
}

static bool is_text(struct outbox_str text)
{
    return !text.p || text_is_clean(text.p, (size_t)text.n);
}

static int run(struct store *s, struct insert *in, const struct outbox_exec *exec,
               struct outbox_err *err)
{
    const struct outbox_arg *args[ARGS_MAX];
    char *mixed = NULL, *sql = NULL;
    for (uint64_t i = 0; i < in->n; i++)
        args[i] = &in->args[i];
    if (asprintf(&mixed, "INSERT INTO \"{t}\" (%s) VALUES (%s)", in->column_text, in->value_text) <
        0)
        mixed = NULL;
    sql = mixed ? db_render(s, mixed) : NULL;
    int r = sql ? exec->run(exec->ctx, sql, args, in->n, err)
                : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    free(mixed);
    free(sql);
    return r;
}

static int save_one(struct store *s, const struct outbox_new *row, const struct outbox_exec *exec,
                    struct outbox_err *err)
{
    struct insert in = {0};
    char *headers = NULL;
    int r = OUTBOX_OK;
    if (!row->topic.p || row->topic.n == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "a message needs a topic");
    if (!is_text(row->id) || !is_text(row->topic) || !is_text(row->key))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the id, topic or key is not valid UTF-8, or has a NUL");
    in.columns = open_memstream(&in.column_text, &in.n1);
    in.values = open_memstream(&in.value_text, &in.n2);
    if (in.columns && in.values)
        r = fill(s, &in, row, &headers, err);
    else
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (in.columns && fclose(in.columns) != 0 && r == 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (in.values && fclose(in.values) != 0 && r == 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == 0)
        r = run(s, &in, exec, err);
    free(in.column_text);
    free(in.value_text);
    free(headers);
    return r;
}

/* ---- in a transaction of our own ---- */

static int run_here(void *ctx, const char *sql, const struct outbox_arg *const *args, uint64_t n,
                    struct outbox_err *err)
{
    struct store *s = ctx;
    sqlite3_stmt *q = db_prepare(s, sql, err);
    if (!q)
        return s->failure;
    for (uint64_t i = 0; i < n; i++) {
        if (args[i]->type == OUTBOX_ARG_INT)
            sqlite3_bind_int64(q, (int)i + 1, args[i]->i);
        else if (args[i]->type == OUTBOX_ARG_BLOB)
            db_bind_blob(q, (int)i + 1, args[i]->s);
        else
            db_bind(q, (int)i + 1, args[i]->s);
    }
    int code = sqlite3_step(q);
    sqlite3_finalize(q);
    if (code == SQLITE_DONE)
        return OUTBOX_OK;
    if (code == SQLITE_CONSTRAINT_UNIQUE)
        return outbox_fail(err, OUTBOX_E_CONFIG, "there is a message with this id already");
    return db_fail(s, err);
}

int save(void *instance, const struct outbox_new *const *rows, uint64_t n,
         const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err)
{
    struct store *s = instance;
    const struct outbox_exec here = {.size = sizeof here, .ctx = s, .run = run_here};
    int r = OUTBOX_OK;
    if (!exec) {
        r = db_enter(s, call, err);
        if (r == 0)
            r = db_begin(s, err);
    }
    if (r < 0)
        return r;
    for (uint64_t i = 0; r == 0 && i < n; i++)
        r = save_one(s, rows[i], exec ? exec : &here, err);
    if (exec)
        return r;
    return r < 0 ? db_rollback(s, r) : db_commit(s, err);
}
