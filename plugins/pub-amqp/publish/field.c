/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/field.h"

#include "publish/template.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is read, and where to. */
struct reading {
    struct json_text text; /* known to be valid */
    struct arena *arena;
    struct outbox_err *err;
};

static int read_value(struct reading *in, amqp_field_value_t *ret);

static int no_memory(const struct reading *in)
{
    return outbox_fail(in->err, OUTBOX_E_RETRY, "out of memory");
}

/* ---- scalars ---- */

static int read_string(const struct reading *in, const struct json_scalar *scalar,
                       struct outbox_str *ret)
{
    *ret = scalar->raw;
    if (scalar->raw.n == 0 || !memchr(scalar->raw.p, '\\', (size_t)scalar->raw.n))
        return OUTBOX_OK;
    char *text = arena_alloc(in->arena, (size_t)scalar->raw.n + 1);
    if (!text)
        return no_memory(in);
    *ret = (struct outbox_str){text, json_scalar_text(scalar, text)};
    return OUTBOX_OK;
}

/* Whatever the locale of the program has between the digits. */
static double read_double(const char *text)
{
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    double value = c ? strtod_l(text, NULL, c) : (double)NAN;
    if (c)
        freelocale(c);
    return value;
}

/* Something that is no digit stands behind it. */
static void set_number(struct outbox_str raw, amqp_field_value_t *ret)
{
    bool is_integer = !memchr(raw.p, '.', (size_t)raw.n) && !memchr(raw.p, 'e', (size_t)raw.n) &&
                      !memchr(raw.p, 'E', (size_t)raw.n);
    if (is_integer) {
        errno = 0;
        ret->kind = AMQP_FIELD_KIND_I64;
        ret->value.i64 = strtoll(raw.p, NULL, 10);
        if (errno == ERANGE)
            field_set_text(raw, ret); /* as a double it would lose digits */
        return;
    }
    ret->kind = AMQP_FIELD_KIND_F64;
    ret->value.f64 = read_double(raw.p);
    if (!isfinite(ret->value.f64))
        field_set_text(raw, ret);
}

static int read_scalar(const struct reading *in, const struct json_scalar *scalar,
                       amqp_field_value_t *ret)
{
    struct outbox_str text;
    int r = OUTBOX_OK;
    if (scalar->is_string) {
        r = read_string(in, scalar, &text);
        field_set_text(text, ret);
    } else if (*scalar->raw.p == 't' || *scalar->raw.p == 'f') {
        ret->kind = AMQP_FIELD_KIND_BOOLEAN;
        ret->value.boolean = *scalar->raw.p == 't';
    } else if (*scalar->raw.p == 'n') {
        ret->kind = AMQP_FIELD_KIND_VOID;
    } else {
        set_number(scalar->raw, ret);
    }
    return r;
}

/* ---- lists and objects ---- */

/* Room for one more behind `n` items of `size`; NULL: no memory. */
static void *grown(struct arena *arena, void *items, size_t n, size_t size)
{
    /* Full at 4, 8, 16 and so on. */
    if (n != 0 && (n < 4 || (n & (n - 1)) != 0))
        return items;
    void *more = arena_array(arena, n == 0 ? 4 : 2 * n, size);
    if (more && n > 0)
        memcpy(more, items, n * size);
    return more;
}

static int read_list(struct reading *in, amqp_field_value_t *ret)
{
    amqp_field_value_t *items = NULL;
    size_t n = 0;
    int r = OUTBOX_OK;
    if (!json_next_is(&in->text, ']')) {
        do {
            items = grown(in->arena, items, n, sizeof *items);
            r = items ? read_value(in, &items[n++]) : no_memory(in);
        } while (r == 0 && json_next_is(&in->text, ','));
        json_next_is(&in->text, ']');
    }
    ret->kind = AMQP_FIELD_KIND_ARRAY;
    ret->value.array = (amqp_array_t){(int)n, items};
    return r;
}

static int read_name(struct reading *in, amqp_bytes_t *ret)
{
    struct json_scalar scalar;
    struct outbox_str text;
    json_scalar(&in->text, &scalar);
    json_next_is(&in->text, ':');
    int r = read_string(in, &scalar, &text);
    if (r < 0)
        return r;
    const char *fault = short_text_fault(text.p, (size_t)text.n);
    *ret = bytes_of(text.p, (size_t)text.n);
    return fault ? outbox_fail(in->err, OUTBOX_E_CONFIG, "a name in the JSON of a header %s", fault)
                 : OUTBOX_OK;
}

static int read_object(struct reading *in, amqp_field_value_t *ret)
{
    amqp_table_entry_t *entries = NULL;
    size_t n = 0;
    int r = OUTBOX_OK;
    if (!json_next_is(&in->text, '}')) {
        do {
            entries = grown(in->arena, entries, n, sizeof *entries);
            r = entries ? read_name(in, &entries[n].key) : no_memory(in);
            if (r == 0)
                r = read_value(in, &entries[n++].value);
        } while (r == 0 && json_next_is(&in->text, ','));
        json_next_is(&in->text, '}');
    }
    ret->kind = AMQP_FIELD_KIND_TABLE;
    ret->value.table = (amqp_table_t){(int)n, entries};
    return r;
}

static int read_value(struct reading *in, amqp_field_value_t *ret)
{
    struct json_scalar scalar;
    if (json_next_is(&in->text, '['))
        return read_list(in, ret);
    if (json_next_is(&in->text, '{'))
        return read_object(in, ret);
    json_scalar(&in->text, &scalar);
    return read_scalar(in, &scalar, ret);
}

/* Most texts begin as no JSON does. */
static bool may_be_json(const char *p)
{
    return strchr("{[\"-0123456789tfn \t\r\n", *p) != NULL;
}

int field_read_json(struct outbox_str text, struct arena *arena, amqp_field_value_t *ret,
                    struct outbox_err *err)
{
    struct reading in = {{text.p, text.p + text.n}, arena, err};
    if (text.n > 0 && text.n < INT_MAX && may_be_json(text.p) &&
        json_is_valid(text.p, (size_t)text.n, FIELD_DEPTH))
        return read_value(&in, ret);
    field_set_text(text, ret);
    return OUTBOX_OK;
}

/* ---- sizes ---- */

size_t field_table_size(const amqp_table_t *table)
{
    size_t n = 4;
    for (int i = 0; i < table->num_entries; i++)
        n += 1 + table->entries[i].key.len +
             (table->entries[i].value.kind == AMQP_FIELD_KIND_UTF8 /* as nearly all are */
                  ? 1 + 4 + table->entries[i].value.value.bytes.len
                  : field_size(&table->entries[i].value));
    return n;
}

size_t field_size(const amqp_field_value_t *field)
{
    size_t n = 4;
    switch (field->kind) {
    case AMQP_FIELD_KIND_VOID:
        return 1;
    case AMQP_FIELD_KIND_BOOLEAN:
        return 1 + 1;
    case AMQP_FIELD_KIND_I64:
    case AMQP_FIELD_KIND_F64:
        return 1 + 8;
    case AMQP_FIELD_KIND_TABLE:
        return 1 + field_table_size(&field->value.table);
    case AMQP_FIELD_KIND_ARRAY:
        for (int i = 0; i < field->value.array.num_entries; i++)
            n += field_size(&field->value.array.entries[i]);
        return 1 + n;
    default:
        return 1 + 4 + field->value.bytes.len;
    }
}
