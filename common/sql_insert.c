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
    const struct outbox_arg *given[SQL_INSERT_COLUMNS]; /* all of them */
    enum sql_insert_column columns[SQL_INSERT_COLUMNS];
    uint64_t n;
};

static void add(struct insert *in, enum sql_insert_column column, struct outbox_arg arg)
{
    if (arg.type != OUTBOX_ARG_INT && !arg.s.p)
        return;
    arg.size = sizeof arg;
    in->columns[in->n] = column;
    in->args[in->n] = arg;
    in->given[in->n] = &in->args[in->n];
    in->n++;
}

#define TEXT(text) ((struct outbox_arg){.type = OUTBOX_ARG_TEXT, .s = (text)})

static void fill(struct insert *in, const struct outbox_new *message, const char *headers)
{
    add(in, SQL_INSERT_ID, TEXT(message->id));
    add(in, SQL_INSERT_TOPIC, TEXT(message->topic));
    add(in, SQL_INSERT_KEY, TEXT(message->key));
    add(in, SQL_INSERT_PAYLOAD,
        (struct outbox_arg){.type = OUTBOX_ARG_BLOB, .s = message->payload});
    add(in, SQL_INSERT_HEADERS, TEXT(outbox_cstr(headers)));
    if (message->delay_ms > 0)
        add(in, SQL_INSERT_AVAILABLE,
            (struct outbox_arg){.type = OUTBOX_ARG_INT,
                                .i = in->dialect->available(in->dialect->ctx, message->delay_ms)});
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
    int r = message->n_headers ? headers_render(message->headers, message->n_headers, &headers) : 0;
    if (r < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r > 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the headers are not valid UTF-8, or a name is longer than 1 KiB");
    fill(&in, message, headers);
    char *sql = make_sql(&in);
    r = sql ? exec->run(exec->ctx, sql, in.given, in.n, err)
            : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    free(sql);
    free(headers);
    return r;
}

int sql_insert_fail_exists(const struct outbox_new *message, struct outbox_err *err)
{
    return outbox_fail(err, OUTBOX_E_EXISTS, "a message with the id %.*s is there already",
                       message->id.n < 80 ? (int)message->id.n : 80,
                       message->id.n ? message->id.p : "");
}
