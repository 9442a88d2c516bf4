/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/template.h"

#include "common/utf8.h"

#include <outbox/helpers.h>

#include <stdlib.h>
#include <string.h>

enum { LITERAL, TOPIC, KEY, HEADER };

struct template_part {
    int kind;
    char *text; /* of a literal, the name of a header */
    size_t n;
};

/* ---- parsing ---- */

static int add(struct template *t, int kind, const char *p, size_t n, struct outbox_err *err)
{
    struct template_part *grown = realloc(t->parts, (t->n_parts + 1) * sizeof *grown);
    char *copy = grown ? strndup(p, n) : NULL;
    if (grown)
        t->parts = grown;
    if (!copy)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    t->parts[t->n_parts++] = (struct template_part){kind, copy, n};
    t->fixed = kind == LITERAL && t->n_parts == 1 ? copy : NULL;
    return OUTBOX_OK;
}

/* What stands between braces. */
static int add_field(struct template *t, const char *p, size_t n, struct outbox_err *err)
{
    if (n == 5 && memcmp(p, "topic", 5) == 0)
        return add(t, TOPIC, "", 0, err);
    if (n == 3 && memcmp(p, "key", 3) == 0)
        return add(t, KEY, "", 0, err);
    if (n > 7 && memcmp(p, "header.", 7) == 0)
        return add(t, HEADER, p + 7, n - 7, err);
    return outbox_fail_option(err, t->option,
                              "%s: {%.*s} is unknown; there are {topic}, {key} and {header.NAME}",
                              t->option, n < 80 ? (int)n : 80, p);
}

static int parse(struct template *t, const char *text, struct outbox_err *err)
{
    size_t literals = 0;
    while (*text) {
        size_t n = strcspn(text, "{}");
        literals += n;
        const char *fault =
            literals > SHORT_MAX ? "is longer than 255 bytes" : short_fault(text, n);
        int r = fault   ? outbox_fail_option(err, t->option, "%s: it %s", t->option, fault)
                : n > 0 ? add(t, LITERAL, text, n, err)
                        : OUTBOX_OK;
        text += n;
        const char *end = *text == '{' ? strchr(text, '}') : NULL;
        if (r == 0 && *text && !end)
            return outbox_fail_option(err, t->option, "%s: a `%c` without its `%c`", t->option,
                                      *text, *text == '{' ? '}' : '{');
        if (r == 0 && end)
            r = add_field(t, text + 1, (size_t)(end - text) - 1, err);
        if (r < 0)
            return r;
        text = end ? end + 1 : text;
    }
    return OUTBOX_OK;
}

int template_parse(const char *option, const char *text, struct template *ret,
                   struct outbox_err *err)
{
    *ret = (struct template){.option = option, .fixed = ""};
    int r = parse(ret, text, err);
    if (r < 0)
        template_free(ret);
    return r;
}

void template_free(struct template *t)
{
    for (size_t i = 0; i < t->n_parts; i++)
        free(t->parts[i].text);
    free(t->parts);
    *t = (struct template){0};
}

/* ---- names ---- */

/* Is this byte sequence all of printable ASCII? Nearly every name is. */
static bool is_plain(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)(p[i] - 0x20) >= 0x7F - 0x20)
            return false;
    return true;
}

const char *short_text_fault(const char *p, size_t n)
{
    if (n > SHORT_MAX)
        return "is longer than 255 bytes";
    if (is_plain(p, n))
        return NULL;
    if (n > 0 && memchr(p, '\0', n))
        return "holds a NUL";
    return utf8_is_clean(p, n) ? NULL : "is not valid UTF-8";
}

const char *short_fault(const char *p, size_t n)
{
    const char *fault = short_text_fault(p, n);
    if (fault)
        return fault;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i], next = i + 1 < n ? (unsigned char)p[i + 1] : 0;
        if (c < 0x20 || c == 0x7F || (c == 0xC2 && next < 0xA0))
            return "holds a control character";
    }
    return NULL;
}

/* ---- rendering ---- */

static bool find_header(const struct outbox_message *msg, const struct template_part *part,
                        struct outbox_str *ret)
{
    for (uint64_t i = 0; i < msg->n_headers; i++) {
        *ret = msg->headers[i].value;
        if (outbox_str_eq(msg->headers[i].name, (struct outbox_str){part->text, part->n}))
            return true;
    }
    return false;
}

int template_render(const struct template *t, const struct outbox_message *msg,
                    char out[SHORT_MAX + 1], size_t *ret_n, struct outbox_err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_parts; i++) {
        const struct template_part *part = &t->parts[i];
        struct outbox_str text = {part->text, part->n};
        if (part->kind == HEADER && !find_header(msg, part, &text))
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "%s needs the header `%.255s`, which the message lacks", t->option,
                               part->text);
        if (part->kind == TOPIC)
            text = msg->topic;
        else if (part->kind == KEY)
            text = msg->key;
        if (text.n > SHORT_MAX - n)
            return outbox_fail(err, OUTBOX_E_CONFIG, "%s is longer than 255 bytes", t->option);
        if (text.n > 0)
            memcpy(out + n, text.p, (size_t)text.n);
        n += (size_t)text.n;
    }
    const char *fault = t->fixed ? NULL : short_fault(out, n);
    if (fault)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s %s", t->option, fault);
    out[n] = '\0';
    *ret_n = n;
    return OUTBOX_OK;
}
