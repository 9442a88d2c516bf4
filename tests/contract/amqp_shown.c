/* SPDX-License-Identifier: Apache-2.0 */
#include "amqp_shown.h"

#include <check.h>
#include <stdio.h>

static void add_table(const amqp_table_t *table, const char *behind, FILE *to);

static void add_field(const amqp_field_value_t *field, FILE *to)
{
    switch (field->kind) {
    case AMQP_FIELD_KIND_UTF8:
        fprintf(to, "%.*s", (int)field->value.bytes.len, (char *)field->value.bytes.bytes);
        break;
    case AMQP_FIELD_KIND_I64:
        fprintf(to, "(long)%lld", (long long)field->value.i64);
        break;
    case AMQP_FIELD_KIND_F64:
        fprintf(to, "(double)%g", field->value.f64);
        break;
    case AMQP_FIELD_KIND_BOOLEAN:
        fprintf(to, "(bool)%d", field->value.boolean);
        break;
    case AMQP_FIELD_KIND_VOID:
        fputs("(void)", to);
        break;
    case AMQP_FIELD_KIND_TABLE:
        fputc('{', to);
        add_table(&field->value.table, ",", to);
        fputc('}', to);
        break;
    default:
        ck_assert_int_eq(field->kind, AMQP_FIELD_KIND_ARRAY);
        fputc('[', to);
        for (int i = 0; i < field->value.array.num_entries; i++) {
            fputs(i > 0 ? "," : "", to);
            add_field(&field->value.array.entries[i], to);
        }
        fputc(']', to);
    }
}

static void add_table(const amqp_table_t *table, const char *behind, FILE *to)
{
    for (int i = 0; i < table->num_entries; i++) {
        fprintf(to, "%.*s=", (int)table->entries[i].key.len, (char *)table->entries[i].key.bytes);
        add_field(&table->entries[i].value, to);
        fputs(behind, to);
    }
}

void shown_headers(const amqp_table_t *table, char *to, size_t cap)
{
    FILE *f = fmemopen(to, cap, "w");
    ck_assert_ptr_nonnull(f);
    add_table(table, ";", f);
    fclose(f);
}

void shown_properties(const amqp_basic_properties_t *p, char *to, size_t cap)
{
    const struct {
        const char *name;
        amqp_flags_t flag;
        amqp_bytes_t value;
    } texts[] = {
        {"app-id", AMQP_BASIC_APP_ID_FLAG, p->app_id},
        {"content-encoding", AMQP_BASIC_CONTENT_ENCODING_FLAG, p->content_encoding},
        {"correlation-id", AMQP_BASIC_CORRELATION_ID_FLAG, p->correlation_id},
        {"expiration", AMQP_BASIC_EXPIRATION_FLAG, p->expiration},
        {"reply-to", AMQP_BASIC_REPLY_TO_FLAG, p->reply_to},
        {"user-id", AMQP_BASIC_USER_ID_FLAG, p->user_id},
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (p->_flags & texts[i].flag)
            n += (size_t)snprintf(to + n, cap - n, "%s=%.*s;", texts[i].name,
                                  (int)texts[i].value.len, (char *)texts[i].value.bytes);
    if (p->_flags & AMQP_BASIC_PRIORITY_FLAG)
        snprintf(to + n, cap - n, "priority=%d;", p->priority);
}
