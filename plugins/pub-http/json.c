/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - is it JSON? A payload goes into an event as it is, so that numbers of any length and
 * precision stay what they are; json-c takes more than JSON, and would change them. */
#include "http.h"

#define DEPTH_MAX 512

/* How many bytes the character at p has; 0: it is no UTF-8. */
static size_t utf8_length(const unsigned char *p, const unsigned char *end)
{
    size_t n = *p < 0x80 ? 1 : *p >= 0xC2 && *p < 0xE0 ? 2 : *p >= 0xE0 && *p < 0xF0 ? 3 : 4;
    if ((*p >= 0x80 && *p < 0xC2) || *p > 0xF4 || (size_t)(end - p) < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((*p == 0xE0 && p[1] < 0xA0) || (*p == 0xED && p[1] > 0x9F) || (*p == 0xF0 && p[1] < 0x90) ||
        (*p == 0xF4 && p[1] > 0x8F))
        return 0;
    return n;
}

int json_is_utf8(struct outbox_str s)
{
    const unsigned char *p = (const unsigned char *)s.p, *end = p ? p + s.n : NULL;
    while (p < end) {
        size_t n = utf8_length(p, end);
        if (n == 0)
            return 0;
        p += n;
    }
    return 1;
}

void json_add_string(struct text *t, struct outbox_str s)
{
    uint64_t from = 0;
    text_add(t, "\"", 1);
    for (uint64_t i = 0; i < s.n; i++) {
        unsigned char b = (unsigned char)s.p[i];
        char escape[8];
        if (b >= 0x20 && b != '"' && b != '\\' && b != 0x7F)
            continue;
        text_add(t, s.p + from, (size_t)(i - from));
        snprintf(escape, sizeof escape, "\\u%04x", b);
        text_adds(t, b == '"' ? "\\\"" : b == '\\' ? "\\\\" : escape);
        from = i + 1;
    }
    text_add(t, s.n ? s.p + from : "", (size_t)(s.n - from));
    text_add(t, "\"", 1);
}

/* ---- what it reads ---- */

struct reader {
    const unsigned char *p, *end;
};

static void skip_blanks(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static int take(struct reader *r, char c)
{
    if (r->p == r->end || *r->p != (unsigned char)c)
        return 0;
    r->p++;
    return 1;
}

static int take_word(struct reader *r, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
        return 0;
    r->p += n;
    return 1;
}

static int take_digits(struct reader *r)
{
    const unsigned char *from = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    return r->p > from;
}

static int take_number(struct reader *r)
{
    take(r, '-');
    if (!take(r, '0') && !take_digits(r))
        return 0;
    if (take(r, '.') && !take_digits(r))
        return 0;
    if (!take(r, 'e') && !take(r, 'E'))
        return 1;
    if (!take(r, '+'))
        take(r, '-');
    return take_digits(r);
}

static int take_escape(struct reader *r)
{
    if (take(r, 'u')) {
        for (int i = 0; i < 4; i++, r->p++)
            if (r->p == r->end || outbox_url_hex((char)*r->p) < 0)
                return 0;
        return 1;
    }
    if (r->p == r->end || *r->p == '\0' || !strchr("\"\\/bfnrt", *r->p))
        return 0;
    r->p++;
    return 1;
}

static int take_string(struct reader *r)
{
    if (!take(r, '"'))
        return 0;
    while (r->p < r->end && *r->p != '"') {
        size_t n = *r->p < 0x20 ? 0 : utf8_length(r->p, r->end);
        if (n == 0)
            return 0;
        if (take(r, '\\')) {
            if (!take_escape(r))
                return 0;
            continue;
        }
        r->p += n;
    }
    return take(r, '"');
}

static int take_scalar(struct reader *r)
{
    if (r->p == r->end)
        return 0;
    switch (*r->p) {
    case '"':
        return take_string(r);
    case 't':
        return take_word(r, "true");
    case 'f':
        return take_word(r, "false");
    case 'n':
        return take_word(r, "null");
    default:
        return take_number(r);
    }
}

static int take_name(struct reader *r)
{
    skip_blanks(r);
    if (!take_string(r))
        return 0;
    skip_blanks(r);
    return take(r, ':');
}

/* Closes what ends behind a value. -1: it is wrong; 1: one more value follows; 0: all is closed. */
static int close_all(struct reader *r, const char *open, int *depth)
{
    for (;;) {
        skip_blanks(r);
        if (*depth == 0)
            return 0;
        if (take(r, ','))
            return open[*depth - 1] == '[' || take_name(r) ? 1 : -1;
        if (!take(r, open[*depth - 1] == '[' ? ']' : '}'))
            return -1;
        --*depth;
    }
}

int json_is_valid(struct outbox_str s)
{
    struct reader r = {(const unsigned char *)s.p, (const unsigned char *)s.p + s.n};
    char open[DEPTH_MAX];
    int depth = 0, more = 1;
    if (!s.p)
        return 0;
    while (more > 0) {
        int is_list, is_empty = 0;
        skip_blanks(&r);
        is_list = take(&r, '[');
        if (is_list || take(&r, '{')) {
            if (depth == DEPTH_MAX)
                return 0;
            open[depth++] = is_list ? '[' : '{';
            skip_blanks(&r);
            is_empty = r.p < r.end && *r.p == (is_list ? ']' : '}');
            if (!is_empty && !is_list && !take_name(&r))
                return 0;
            if (!is_empty)
                continue;
        } else if (!take_scalar(&r)) {
            return 0;
        }
        more = close_all(&r, open, &depth);
    }
    return more == 0 && r.p == r.end;
}
