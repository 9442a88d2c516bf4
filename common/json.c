/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json.h"

#include "common/utf8.h"

#include <limits.h>
#include <string.h>

/* ---- the grammar ---- */

static void skip_blanks(struct json_text *t)
{
    while (t->p < t->end && (*t->p == ' ' || *t->p == '\t' || *t->p == '\r' || *t->p == '\n'))
        t->p++;
}

static bool skip(struct json_text *t, char c)
{
    bool is = t->p < t->end && *t->p == c;
    t->p += is;
    return is;
}

bool json_next_is(struct json_text *t, char c)
{
    skip_blanks(t);
    return skip(t, c);
}

bool json_at_end(struct json_text *t)
{
    skip_blanks(t);
    return t->p == t->end;
}

/* -1: none. */
static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The number of \uXXXX at p, or -1. */
static int32_t unicode_escape(const char *p, const char *end)
{
    int32_t c = 0;
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        c = c << 4 | digit;
    }
    return c;
}

static const char escapes[] = "\"\\/bfnrt", escaped[] = "\"\\/\b\f\n\r\t";

/* Behind the opening quote. */
static bool skip_string(struct json_text *t)
{
    for (; t->p < t->end && *t->p != '"'; t->p++)
        if (*t->p == '\\') {
            if (unicode_escape(t->p, t->end) >= 0)
                t->p += 5;
            else if (++t->p == t->end || !memchr(escapes, *t->p, sizeof escapes - 1))
                return false;
        }
    return skip(t, '"');
}

static bool skip_digits(struct json_text *t)
{
    const char *from = t->p;
    while (t->p < t->end && *t->p >= '0' && *t->p <= '9')
        t->p++;
    return t->p > from;
}

static bool skip_number(struct json_text *t)
{
    skip(t, '-');
    if (!skip(t, '0') && !skip_digits(t))
        return false;
    if (skip(t, '.') && !skip_digits(t))
        return false;
    if (!skip(t, 'e') && !skip(t, 'E'))
        return true;
    if (!skip(t, '+'))
        skip(t, '-');
    return skip_digits(t);
}

static bool skip_word(struct json_text *t)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(t->end - t->p) >= n && memcmp(t->p, words[i], n) == 0) {
            t->p += n;
            return true;
        }
    }
    return false;
}

bool json_scalar(struct json_text *t, struct json_scalar *ret)
{
    ret->is_string = json_next_is(t, '"');
    ret->raw.p = t->p;
    bool ok = ret->is_string ? skip_string(t) : skip_word(t) || skip_number(t);
    ret->raw.n = (uint64_t)(t->p - ret->raw.p) - (ok && ret->is_string);
    return ok;
}

static bool skip_value(struct json_text *t, int depth)
{
    struct json_scalar name;
    bool is_object = json_next_is(t, '{');
    if (!is_object && !skip(t, '['))
        return json_scalar(t, &name);
    char close = is_object ? '}' : ']';
    if (depth == 0)
        return false;
    if (json_next_is(t, close))
        return true;
    do
        if ((is_object && (!json_scalar(t, &name) || !name.is_string || !json_next_is(t, ':'))) ||
            !skip_value(t, depth - 1))
            return false;
    while (json_next_is(t, ','));
    return json_next_is(t, close);
}

bool json_is_valid(const char *text, size_t n, int depth)
{
    struct json_text t = {text, text + n};
    return utf8_is_clean(text, n) && skip_value(&t, depth) && json_at_end(&t);
}

bool json_value(struct json_text *t, int depth, struct outbox_str *ret)
{
    skip_blanks(t);
    ret->p = t->p;
    bool ok = skip_value(t, depth);
    ret->n = (uint64_t)(t->p - ret->p);
    return ok;
}

/* ---- the values ---- */

static char *put_char(char *o, int32_t c)
{
    if (c < 0x80) {
        *o++ = (char)c;
        return o;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *o++ = (char)(0xF00 >> (more + 1) | c >> 6 * more);
    while (more-- > 0)
        *o++ = (char)(0x80 | (c >> 6 * more & 0x3F));
    return o;
}

/* A character that is written as one escape or as two; half of one is U+FFFD. Returns what is
 * behind it. */
static const char *unescape_unicode(const char *p, const char *end, int32_t c, char **o)
{
    p += 6;
    if (c >= 0xD800 && c < 0xDC00) {
        int32_t low = unicode_escape(p, end);
        if (low >= 0xDC00 && low < 0xE000) {
            c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
            p += 6;
        }
    }
    *o = put_char(*o, c >= 0xD800 && c < 0xE000 ? 0xFFFD : c);
    return p;
}

/* JSON without the blanks between its tokens, which may be ends of lines. */
static size_t copy_tokens(const char *p, size_t n, char *out)
{
    bool in_string = false;
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '"')
            in_string = !in_string;
        if (in_string && p[i] == '\\')
            out[used++] = p[i++];
        if (in_string || !strchr(" \t\r\n", p[i]))
            out[used++] = p[i];
    }
    return used;
}

size_t json_scalar_text(const struct json_scalar *scalar, char *out)
{
    const char *p = scalar->raw.p, *end = p + scalar->raw.n;
    char *o = out;
    if (!scalar->is_string)
        return copy_tokens(p, (size_t)scalar->raw.n, out);
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        o = mempcpy(o, p, (size_t)((escape ? escape : end) - p));
        if (!escape)
            break;
        int32_t c = unicode_escape(escape, end);
        if (c >= 0) {
            p = unescape_unicode(escape, end, c, &o);
        } else {
            const char *at = memchr(escapes, escape[1], sizeof escapes - 1);
            *o++ = escaped[at - escapes];
            p = escape + 2;
        }
    }
    return (size_t)(o - out);
}

struct json_object *json_read_object(const char *text, size_t n, int depth)
{
    struct json_tokener *tokener;
    /* It counts scalars as a level, too. */
    if (n > INT_MAX || !json_is_valid(text, n, depth) ||
        !(tokener = json_tokener_new_ex(depth + 1)))
        return NULL;
    struct json_object *object = json_tokener_parse_ex(tokener, text, (int)n);
    bool whole = json_tokener_get_error(tokener) == json_tokener_success;
    json_tokener_free(tokener);
    if (whole && json_object_is_type(object, json_type_object))
        return object;
    json_object_put(object);
    return NULL;
}
