/* SPDX-License-Identifier: Apache-2.0 */
#include "base/value.h"

#include "base/array.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SPACES " \t\r\n\v\f"
#define DIGITS "0123456789"
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"

/* ---- comments, quotes ---- */

static bool is_space(char c)
{
    return c != '\0' && strchr(SPACES, c);
}

/* The end of the quoted part that begins at p (a `"`): at its closing quote, or NULL. */
static const char *closing_quote(const char *p)
{
    for (p++; *p; p++) {
        if (*p == '\\' && p[1])
            p++;
        else if (*p == '"')
            return p;
    }
    return NULL;
}

/* Where the comment begins, or the end. A quote that is never closed is an ordinary character. */
static const char *end_of_value(const char *raw)
{
    for (const char *p = raw; *p; p++) {
        if (*p == '"') {
            const char *close = closing_quote(p);
            p = close ? close : p;
        } else if ((*p == ';' || *p == '#') && p > raw && is_space(p[-1])) {
            return p;
        }
    }
    return raw + strlen(raw);
}

/* Copies what stands between quotes, without the backslashes before `"` and `\`. */
static size_t unescape(const char *from, const char *to, char *out)
{
    size_t n = 0;
    for (; from < to; from++) {
        if (*from == '\\' && (from[1] == '"' || from[1] == '\\'))
            from++;
        out[n++] = *from;
    }
    return n;
}

char *value_unquote(const char *raw)
{
    const char *end = end_of_value(raw);
    while (raw < end && is_space(*raw))
        raw++;
    while (end > raw && is_space(end[-1]))
        end--;
    char *out = malloc((size_t)(end - raw) + 1);
    if (!out)
        return NULL;
    size_t n = (size_t)(end - raw);
    if (*raw == '"' && n > 1 && closing_quote(raw) == end - 1)
        n = unescape(raw + 1, end - 1, out);
    else
        memcpy(out, raw, n);
    out[n] = '\0';
    return out;
}

/* ---- ${NAME} ---- */

static int find_variable(const char *at, const char **ret_end, const char **ret_value,
                         struct outbox_err *err)
{
    char name[128];
    const char *end = strchr(at, '}');
    size_t n = end ? (size_t)(end - at) - 2 : 0;
    if (!end || n == 0 || n >= sizeof name)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "`${` begins the name of an environment variable, but no `}` ends it; "
                           "write `$${` for a literal `${`");
    memcpy(name, at + 2, n);
    name[n] = '\0';
    if (strspn(name, LETTERS DIGITS) != n || strspn(name, DIGITS) > 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "what stands between `${` and `}` is not the name of an environment "
                           "variable; write `$${` for a literal `${`");
    *ret_value = getenv(name);
    *ret_end = end + 1;
    if (!*ret_value)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the environment variable %s is not set", name);
    if (!utf8_is_clean(*ret_value, strlen(*ret_value)))
        return outbox_fail(err, OUTBOX_E_CONFIG, "the environment variable %s is not valid UTF-8",
                           name);
    return OUTBOX_OK;
}

int value_expand(const char *text, char **ret, struct outbox_err *err)
{
    char *out = NULL;
    size_t size = 0;
    int r = OUTBOX_OK;
    bool whole = true;
    FILE *f = open_memstream(&out, &size);
    if (!f)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    while (*text && r == 0) {
        const char *value = "";
        if (strncmp(text, "$${", 3) == 0) {
            whole &= fputs("${", f) >= 0;
            text += 3;
        } else if (strncmp(text, "${", 2) == 0) {
            r = find_variable(text, &text, &value, err);
            if (r == 0)
                whole &= fputs(value, f) >= 0;
        } else {
            whole &= fputc(*text++, f) != EOF;
        }
    }
    /* Without memory glibc drops the end or all of the text, and fclose succeeds all the same. */
    if ((fclose(f) != 0 || !out || !whole) && r == 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r < 0)
        free(out);
    else
        *ret = out;
    return r;
}

/* ---- words ---- */

void value_items_free(struct value_items *items)
{
    for (size_t i = 0; i < items->n; i++)
        free(items->items[i]);
    free(items->items);
    *items = (struct value_items){NULL, 0};
}

static int add_item(struct value_items *items, const char *text, struct outbox_err *err)
{
    char **item = array_add(&items->items, &items->n, sizeof *item);
    return item ? value_expand(text, item, err) : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
}

/* Copies one word to out and returns where it ends, or NULL when a quote is left open. */
static const char *copy_word(const char *p, char *out)
{
    while (*p && !is_space(*p)) {
        if (*p != '"') {
            *out++ = *p++;
            continue;
        }
        const char *close = closing_quote(p);
        if (!close)
            return NULL;
        out += unescape(p + 1, close, out);
        p = close + 1;
    }
    *out = '\0';
    return p;
}

int value_argv(const char *text, struct value_items *ret, struct outbox_err *err)
{
    *ret = (struct value_items){NULL, 0};
    int r = OUTBOX_OK;
    char *word = malloc(strlen(text) + 1);
    if (!word)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (const char *p = text; r == 0;) {
        while (is_space(*p))
            p++;
        if (!*p)
            break;
        p = copy_word(p, word);
        r = p ? add_item(ret, word, err)
              : outbox_fail(err, OUTBOX_E_CONFIG, "a double quote is not closed");
    }
    if (r == 0 && ret->n == 0)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "is empty; a program and its arguments are wanted");
    free(word);
    if (r < 0)
        value_items_free(ret);
    return r;
}

int value_list(const char *text, struct value_items *ret, struct outbox_err *err)
{
    *ret = (struct value_items){NULL, 0};
    int r = OUTBOX_OK;
    char *copy = strdup(text);
    if (!copy)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    char *rest = copy;
    while (r == 0 && text[strspn(text, SPACES)] && rest) {
        char *item = strsep(&rest, ",");
        item += strspn(item, SPACES);
        size_t n = strlen(item);
        while (n > 0 && is_space(item[n - 1]))
            item[--n] = '\0';
        r = n > 0 ? add_item(ret, item, err)
                  : outbox_fail(err, OUTBOX_E_CONFIG, "there is nothing between two commas");
    }
    free(copy);
    if (r < 0)
        value_items_free(ret);
    return r;
}

/* ---- numbers ---- */

/* Digits only; returns what follows them, or NULL. INT64_MAX stands for more. */
static const char *read_digits(const char *text, int64_t *ret)
{
    char *end;
    if (!isdigit((unsigned char)*text))
        return NULL;
    *ret = strtoimax(text, &end, 10);
    return end;
}

int value_int(const char *text, int64_t *ret, struct outbox_err *err)
{
    bool negative = *text == '-';
    const char *end = read_digits(text + negative, ret);
    if (!end || *end)
        return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is not a whole number", text);
    if (*ret == INT64_MAX)
        return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is too large", text);
    if (negative)
        *ret = -*ret;
    return OUTBOX_OK;
}

int value_bool(const char *text, int64_t *ret, struct outbox_err *err)
{
    static const char *const yes[] = {"yes", "true", "on", "1"};
    static const char *const no[] = {"no", "false", "off", "0"};
    for (size_t i = 0; i < 4; i++)
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *ret = strcasecmp(text, yes[i]) == 0;
            return OUTBOX_OK;
        }
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is neither yes nor no", text);
}

#define DURATION_MAX (INT64_C(36500) * 86400000) /* a hundred years */
#define SIZE_MAX_BYTES (INT64_C(1) << 50)

struct unit {
    const char *name;
    int64_t factor;
};
/* The largest first; each divides the one before. */
static const struct unit durations[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000},
                                        {"s", 1000},     {"ms", 1},      {NULL, 0}};
static const struct unit sizes[] = {
    {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"", 1}, {NULL, 0}};

/* Everything up to `max` can be added to a time or another size without a thought. */
static int read_with_unit(const char *text, const struct unit *units, int64_t max,
                          const char *example, int64_t *ret, struct outbox_err *err)
{
    int64_t n;
    const char *unit = read_digits(text, &n);
    if (unit && n == 0 && !*unit) {
        *ret = 0;
        return OUTBOX_OK;
    }
    for (; unit && units->name; units++) {
        if (strcmp(unit, units->name) != 0)
            continue;
        if (n > max / units->factor)
            return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is too much", text);
        *ret = n * units->factor;
        return OUTBOX_OK;
    }
    if (unit && !*unit) /* only durations: a size may be in bytes */
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "`%.80s` has no unit; write %.80ss or %.80sm (units: ms s m h d)", text,
                           text, text);
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` cannot be read; write it like %s", text,
                       example);
}

int value_duration(const char *text, int64_t *ret, struct outbox_err *err)
{
    if (strcmp(text, "never") == 0) {
        *ret = OUTBOX_NEVER;
        return OUTBOX_OK;
    }
    return read_with_unit(text, durations, DURATION_MAX, "250ms, 10s, 5m, 2h, 1d, 0 or never", ret,
                          err);
}

int value_size(const char *text, int64_t *ret, struct outbox_err *err)
{
    return read_with_unit(text, sizes, SIZE_MAX_BYTES, "512, 64K, 16M or 1G", ret, err);
}

/* In the largest unit that divides it. */
static const char *show(int64_t n, const struct unit *units, struct value_text *buffer)
{
    while (n % units->factor != 0)
        units++;
    /* cppcheck-suppress ctuuninitvar; it is written here */
    snprintf(buffer->text, sizeof buffer->text, "%" PRId64 "%s", n / units->factor,
             n == 0 ? "" : units->name);
    return buffer->text;
}

const char *value_show_duration(int64_t ms, struct value_text *buffer)
{
    if (ms != OUTBOX_NEVER)
        return show(ms, durations, buffer);
    snprintf(buffer->text, sizeof buffer->text, "never");
    return buffer->text;
}

const char *value_show_size(int64_t bytes, struct value_text *buffer)
{
    return show(bytes, sizes, buffer);
}

/* Anything but nothing, and not a variable that is put in later. */
static bool is_spelled_out(const char *text, const char *ends)
{
    return *text && !strchr(ends, *text) && strncmp(text, "${", 2) != 0;
}

/* `authority`: what follows the // of a URL. */
static bool authority_holds_password(const char *authority)
{
    const char *at = authority + strcspn(authority, "/?#");
    while (at > authority && *at != '@')
        at--;
    const char *colon = memchr(authority, ':', (size_t)(at - authority));
    return *at == '@' && colon && is_spelled_out(colon + 1, "@");
}

bool value_holds_password(const char *text)
{
    static const char key[] = "password";
    for (const char *p = text; (p = strstr(p, "://"));)
        if (authority_holds_password(p += 3))
            return true;
    for (const char *p = text; (p = strcasestr(p, key));) {
        p += sizeof key - 1;
        p += strspn(p, " \t");
        if (*p != '=')
            continue;
        p++;
        p += strspn(p, " \t'");
        if (is_spelled_out(p, "&"))
            return true;
    }
    return false;
}
