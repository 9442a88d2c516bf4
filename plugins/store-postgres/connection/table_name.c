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

/* One part, in double quotes or plain, up to a dot; *text moves behind it. NULL: bad, or
 * (*ret_no_memory) there was none. */
static char *take_part(const char **text, bool *ret_no_memory)
{
    const char *p = *text;
    size_t n = 0;
    bool quoted = *p == '"', ends = !quoted;
    char *part = malloc(strlen(p) + 1);
    if (!part) {
        *ret_no_memory = true;
        return NULL;
    }
    while (!quoted && *p && *p != '.' && *p != '"')
        part[n++] = *p++;
    for (p += quoted; !ends && *p; p++) {
        ends = *p == '"' && *++p != '"'; /* a doubled one is one of the name's */
        if (ends)
            break;
        part[n++] = *p;
    }
    part[n] = '\0';
    *text = p;
    if (!ends || n == 0 || !utf8_is_clean(part, n)) {
        free(part);
        return NULL;
    }
    return part;
}

static bool fits(const char *part, size_t max)
{
    return !part || strlen(part) <= max;
}

int table_name_parse(const char *text, struct table_name *ret, struct outbox_err *err)
{
    const char *p = text;
    bool no_memory = false;
    struct table_name name = {NULL, take_part(&p, &no_memory)};
    if (name.table && *p == '.') {
        p++;
        name.schema = name.table;
        name.table = take_part(&p, &no_memory);
    }
    if (no_memory) {
        table_name_free(&name);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    if (!name.table || *p || !fits(name.schema, SCHEMA_MAX) || !fits(name.table, TABLE_MAX)) {
        table_name_free(&name);
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "table: `%.100s` cannot be a table's name; NAME or SCHEMA.NAME is one, "
                           "either part in double quotes if it has a dot, and NAME has at most %d "
                           "bytes",
                           text, TABLE_MAX);
    }
    *ret = name;
    return OUTBOX_OK;
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
