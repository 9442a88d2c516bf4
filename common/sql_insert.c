/* SPDX-License-Identifier: Apache-2.0 */
#include "common/sql_insert.h"

#include "common/headers.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"id", "topic", "key", "payload", "headers", "available_at"};

struct insert {
    const struct sql_insert_dialect *dialect;
    struct outbox_arg args[SQL_INSERT_COLUMNS];
    enum sql_insert_column columns[SQL_INSERT_COLUMNS];
    uint64_t n;
};

static void add(struct insert *in, enum sql_insert_column column, uint32_t type,
                struct outbox_str s, int64_t i)
{
    in->columns[in->n] = column;
    in->args[in->n++] =
        (struct outbox_arg){.size = sizeof(struct outbox_arg), .type = type, .s = s, .i = i};
}

static void add_text(struct insert *in, enum sql_insert_column column, struct outbox_str text)
{
    if (text.p)
        add(in, column, OUTBOX_ARG_TEXT, text, 0);
}

static void fill(struct insert *in, const struct outbox_new *message, const char *headers)
{
    const struct outbox_str none = {NULL, 0};
    add_text(in, SQL_INSERT_ID, message->id);
    add_text(in, SQL_INSERT_TOPIC, message->topic);
    add_text(in, SQL_INSERT_KEY, message->key);
    if (message->payload.p)
        add(in, SQL_INSERT_PAYLOAD, OUTBOX_ARG_BLOB, message->payload, 0);
    add_text(in, SQL_INSERT_HEADERS, outbox_cstr(headers));
    if (message->delay_ms > 0)
        add(in, SQL_INSERT_AVAILABLE, OUTBOX_ARG_INT, none,
            in->dialect->available(in->dialect->ctx, message->delay_ms));
}

/* For free(); NULL without memory. */
static char *make_sql(const struct insert *in)
{
    char *sql = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&sql, &n);
    if (!f)
        return NULL;
    fprintf(f, "INSERT INTO %s (", in->dialect->table);
    for (uint64_t i = 0; i < in->n; i++)
        fprintf(f, "%s%s", i ? ", " : "", names[in->columns[i]]);
    fputs(") VALUES (", f);
    for (uint64_t i = 0; i < in->n; i++) {
        const char *value = in->dialect->values[in->columns[i]];
        const char *number = strstr(value, "%d");
        fprintf(f, "%s%.*s%d%s", i ? ", " : "", (int)(number - value), value, (int)i + 1,
                number + 2);
    }
    fputs(")", f);
    if (fclose(f) != 0) {
        free(sql);
        return NULL;
    }
    return sql;
}

static int run(const struct insert *in, const struct outbox_exec *exec, struct outbox_err *err)
{
    const struct outbox_arg *args[SQL_INSERT_COLUMNS];
    char *sql = make_sql(in);
    for (uint64_t i = 0; i < in->n; i++)
        args[i] = &in->args[i];
    int r = sql ? exec->run(exec->ctx, sql, args, in->n, err)
                : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    free(sql);
    return r;
}

static bool is_text(struct outbox_str text)
{
    return !text.p || utf8_is_clean(text.p, (size_t)text.n);
}

int sql_insert_message(const struct sql_insert_dialect *dialect, const struct outbox_new *message,
                       const struct outbox_exec *exec, struct outbox_err *err)
{
    struct insert in = {.dialect = dialect};
    char *headers = NULL;
    if (!message->topic.p || message->topic.n == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "a message needs a topic");
    if (!is_text(message->id) || !is_text(message->topic) || !is_text(message->key))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the id, topic or key is not valid UTF-8, or has a NUL");
    int r = 0;
    if (message->n_headers > 0)
        r = headers_render(message->headers, message->n_headers, &headers);
    if (r < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r > 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the headers are not valid UTF-8, or a name is longer than 1 KiB");
    fill(&in, message, headers);
    r = run(&in, exec, err);
    free(headers);
    return r;
}
