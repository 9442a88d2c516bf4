/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/property.h"

#include "common/utf8.h"

#include <outbox/helpers.h>

#include <stddef.h>
#include <string.h>

#define PREFIX "properties."

struct property_kind {
    const char *option; /* properties.NAME */
    amqp_flags_t flag;
    size_t at;     /* its amqp_bytes_t; of a number that is no text, unused */
    uint64_t most; /* of a number; 0: it is none */
    const char *range;
};

#define TEXT(NAME, FLAG, MEMBER)                                                                  \
    {                                                                                             \
        PREFIX NAME, AMQP_BASIC_##FLAG##_FLAG, offsetof(amqp_basic_properties_t, MEMBER), 0, NULL \
    }
static const struct property_kind kinds[PROPERTY_KINDS] = {
    TEXT("app-id", APP_ID, app_id),
    TEXT("content-encoding", CONTENT_ENCODING, content_encoding),
    TEXT("content-type", CONTENT_TYPE, content_type),
    TEXT("correlation-id", CORRELATION_ID, correlation_id),
    TEXT("reply-to", REPLY_TO, reply_to),
    TEXT("type", TYPE, type),
    TEXT("user-id", USER_ID, user_id),
    {PREFIX "expiration", AMQP_BASIC_EXPIRATION_FLAG, offsetof(amqp_basic_properties_t, expiration),
     UINT32_MAX, "is no number of milliseconds, 0 to 4294967295"},
    {PREFIX "priority", AMQP_BASIC_PRIORITY_FLAG, 0, UINT8_MAX, "is no number, 0 to 255"},
};
#undef TEXT

/* ---- values ---- */

/* Digits and nothing else. */
static bool is_number(struct outbox_str text, uint64_t most, uint64_t *ret)
{
    uint64_t value = 0;
    for (uint64_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.p[i] - '0');
        if (value > most)
            return false;
    }
    *ret = value;
    return text.n > 0;
}

/* What is wrong with it ("is longer than 255 bytes"), or NULL. */
static const char *set(const struct property_kind *kind, struct outbox_str value,
                       amqp_basic_properties_t *ret)
{
    uint64_t number = 0;
    const char *fault = short_text_fault(value.p, (size_t)value.n);
    if (!fault && kind->most > 0 && !is_number(value, kind->most, &number))
        fault = kind->range;
    if (fault)
        return fault;
    if (kind->flag == AMQP_BASIC_PRIORITY_FLAG)
        ret->priority = (uint8_t)number;
    else
        *(amqp_bytes_t *)(void *)((char *)ret + kind->at) = bytes_of(value.p, (size_t)value.n);
    ret->_flags |= kind->flag;
    return NULL;
}

/* ---- the section ---- */

static int unknown(const char *key, const char *option, struct outbox_err *err)
{
    char names[256];
    size_t n = 0;
    names[0] = '\0';
    for (size_t i = 0; i < PROPERTY_KINDS && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "",
                              kinds[i].option + strlen(PREFIX));
    return outbox_fail_option(err, option,
                              "%s: AMQP has no property `%.60s` to be set; there are %s", option,
                              key, names);
}

static int read_one(const char *key, const char *text, struct properties *ret,
                    struct outbox_err *err)
{
    amqp_basic_properties_t unused = {0};
    char option[64];
    size_t k = 0;
    snprintf(option, sizeof option, PREFIX "%s", key);
    while (k < PROPERTY_KINDS && strcmp(kinds[k].option, option) != 0)
        k++;
    if (k == PROPERTY_KINDS || ret->n == PROPERTY_KINDS)
        return unknown(key, option, err);
    struct property *p = &ret->list[ret->n++];
    p->kind = &kinds[k];
    ret->has_type |= kinds[k].flag == AMQP_BASIC_TYPE_FLAG;
    int r = template_parse(kinds[k].option, text, &p->value, err);
    if (r < 0)
        return r;
    const char *fault = p->value.n_parts == 0 ? "is empty"
                        : p->value.fixed      ? set(p->kind, outbox_cstr(text), &unused)
                                              : NULL;
    return fault ? outbox_fail_option(err, option, "%s: it %s", option, fault) : OUTBOX_OK;
}

int properties_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct properties *ret, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    *ret = (struct properties){.n = 0};
    for (uint64_t i = 0; r == 0 && i < host->option_count(cfg, "properties"); i++)
        r = read_one(host->option_key(cfg, "properties", i).p,
                     host->option_item(cfg, "properties", i).p, ret, err);
    return r;
}

/* ---- the message ---- */

static bool has_all_headers(const struct outbox_template *t, const struct outbox_message *msg)
{
    for (uint32_t i = 0; i < t->n_parts; i++)
        if (!outbox_template_value(&t->parts[i], msg).p)
            return false;
    return true;
}

/* p NULL: none. */
static int value_of(const struct outbox_template *t, const struct outbox_message *msg,
                    struct arena *arena, struct outbox_str *ret, struct outbox_err *err)
{
    char text[SHORT_MAX + 1];
    size_t n = 0;
    *ret = (struct outbox_str){NULL, 0};
    if (!has_all_headers(t, msg))
        return OUTBOX_OK;
    *ret = outbox_template_value(&t->parts[0], msg);
    if (t->n_parts == 1)
        return OUTBOX_OK;
    int r = outbox_template_render(t, msg, text, sizeof text, &n, err);
    if (r == 0 && arena_str(arena, text, n, ret) < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return r;
}

int properties_set(const struct properties *all, const struct outbox_message *msg,
                   struct arena *arena, amqp_basic_properties_t *ret, struct outbox_err *err)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct property *p = &all->list[i];
        struct outbox_str value;
        if (ret->_flags & p->kind->flag)
            continue; /* the header content-type goes first */
        char shown[64];
        int r = value_of(&p->value, msg, arena, &value, err);
        if (r < 0)
            return r;
        const char *fault = value.n > 0 ? set(p->kind, value, ret) : NULL;
        if (!fault)
            continue;
        utf8_printable(value.p, (size_t)value.n, shown, sizeof shown);
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s %s: `%s`", p->kind->option, fault, shown);
    }
    return OUTBOX_OK;
}

bool properties_take(const struct properties *all, struct outbox_str header)
{
    for (size_t i = 0; i < all->n; i++) {
        const struct outbox_template *t = &all->list[i].value;
        if (t->n_parts == 1 && t->parts[0].kind == OUTBOX_TEMPLATE_HEADER &&
            t->parts[0].n == header.n && memcmp(t->parts[0].text, header.p, t->parts[0].n) == 0)
            return true;
    }
    return false;
}

/* By whoever sets them in any case. */
#define COUNTED (AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG)

size_t properties_size(const amqp_basic_properties_t *props)
{
    size_t n = 0;
    for (size_t i = 0; i < PROPERTY_KINDS; i++) {
        const struct property_kind *kind = &kinds[i];
        if (!(props->_flags & kind->flag & ~(amqp_flags_t)COUNTED))
            continue;
        n += 1;
        if (kind->flag != AMQP_BASIC_PRIORITY_FLAG)
            n += ((const amqp_bytes_t *)(const void *)((const char *)props + kind->at))->len;
    }
    return n;
}
