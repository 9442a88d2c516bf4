/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/table_name.h"
#include "common/utf8.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PostgreSQL cuts names at 63 bytes; those of indexes are the table's and a little more. */
#define SCHEMA_MAX 63
#define TABLE_MAX 50

void table_name_free(struct table_name *name)
{
    free(name->schema);
    free(name->table);
    *name = (struct table_name){NULL, NULL};
}

/* One part, in double quotes or plain, up to a dot, into out[]; *text moves behind it. */
static bool take_part(const char **text, char *out, size_t max)
{
    const char *p = *text;
    bool quoted = *p == '"', ends = !quoted;
    size_t n = 0;
    for (p += quoted; *p; p++) {
        if (quoted && *p == '"' && *++p != '"') { /* a doubled one is one of the name's */
            ends = true;
            break;
        }
        if (!quoted && (*p == '.' || *p == '"'))
            break;
        out[n++] = *p;
    }
    out[n] = '\0';
    *text = p;
    return ends && n > 0 && n <= max && utf8_is_clean(out, n);
}

int table_name_parse(const char *text, struct table_name *ret, struct outbox_err *err)
{
    const char *p = text;
    struct table_name name = {malloc(strlen(text) + 1), malloc(strlen(text) + 1)};
    if (!name.schema || !name.table) {
        table_name_free(&name);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    bool in_schema = take_part(&p, name.schema, SCHEMA_MAX) && *p == '.';
    if (in_schema) {
        p++;
    } else {
        p = text;
        free(name.schema);
        name.schema = NULL;
    }
    if (take_part(&p, name.table, TABLE_MAX) && !*p) {
        *ret = name;
        return OUTBOX_OK;
    }
    table_name_free(&name);
    return outbox_fail_option(
        err, "table",
        "table: `%.100s` cannot be a table's name; NAME or SCHEMA.NAME is one, "
        "either part in double quotes if it has a dot, and NAME has at most %d "
        "bytes",
        text, TABLE_MAX);
}

/* ---- into statements ---- */

static void put_quoted(FILE *f, const char *name, const char *suffix, size_t suffix_n)
{
    putc('"', f);
    for (; *name; name++) {
        if (*name == '"')
            putc('"', f);
        putc(*name, f);
    }
    fwrite(suffix, 1, suffix_n, f);
    putc('"', f);
}

/* A mark {t}, {t_X} or {n_X} at p; how long it is, or 0. */
static size_t mark_at(const char *p)
{
    if (p[0] != '{' || (p[1] != 't' && p[1] != 'n') || (p[2] != '}' && p[2] != '_'))
        return 0;
    const char *end = strchr(p, '}');
    return end ? (size_t)(end - p) + 1 : 0;
}

char *table_name_render(const struct table_name *name, const char *schema, const char *sql)
{
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    if (!f)
        return NULL;
    if (name->schema)
        schema = name->schema;
    while (*sql) {
        size_t mark = mark_at(sql);
        if (!mark) {
            putc(*sql++, f);
            continue;
        }
        if (sql[1] == 't' && schema) {
            put_quoted(f, schema, "", 0);
            putc('.', f);
        }
        put_quoted(f, name->table, sql + 2, mark - 3);
        sql += mark;
    }
    if (fclose(f) != 0) {
        free(out);
        return NULL;
    }
    return out;
}
