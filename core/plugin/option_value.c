/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/option_value.h"

#include "base/array.h"
#include "base/hash.h"
#include "base/suggest.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define KEY_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

/* ---- memory ---- */

static void forget(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

void option_value_clear(struct option_value *value)
{
    if (value->text)
        explicit_bzero(value->text, value->text_n);
    free(value->text);
    free(value->file);
    for (size_t i = 0; i < value->items.n; i++)
        if (value->items.items[i])
            explicit_bzero(value->items.items[i], strlen(value->items.items[i]));
    value_items_free(&value->items);
    for (size_t i = 0; i < value->n_settings; i++) {
        free(value->settings[i].key);
        forget(value->settings[i].text);
    }
    free(value->settings);
    *value = (struct option_value){0};
}

/* ---- secrets ---- */

/* Of a group's setting, by its name. */
static bool names_secret(const char *key)
{
    static const char *const words[] = {"password", "secret", "token"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasestr(key, words[i]))
            return true;
    return false;
}

bool option_value_is_secret(const struct outbox_option *option, const char *key, const char *text)
{
    if ((option->flags & OUTBOX_OPT_SECRET) || (key && names_secret(key)))
        return true;
    return (option->flags & OUTBOX_OPT_MAY_BE_SECRET) && text && value_holds_password(text);
}

bool option_value_spells_secret(const struct outbox_option *option, const char *key,
                                const char *text)
{
    const char *setting = option->type == OUTBOX_OPT_PREFIX ? strchr(key, '.') : NULL;
    const char *end = strchr(text, '}');
    bool is_variable = strncmp(text, "${", 2) == 0 && end && end[1] == '\0';
    return option_value_is_secret(option, setting ? setting + 1 : NULL, text) && !is_variable;
}

/* The parser's own text could show a part of the secret. */
static int fail_secret(struct outbox_err *err)
{
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "a `${` in it does not begin a set environment variable; write `$${` for "
                       "a literal `${`");
}

/* ---- numbers, choices, lines ---- */

const char *option_value_show(const struct outbox_option *o, int64_t n, struct value_text *buffer)
{
    if (o->type == OUTBOX_OPT_DURATION)
        return value_show_duration(n, buffer);
    if (o->type == OUTBOX_OPT_SIZE)
        return value_show_size(n, buffer);
    snprintf(buffer->text, sizeof buffer->text, "%" PRId64, n);
    return buffer->text;
}

int option_value_check_range(const struct outbox_option *o, int64_t n, const char *text,
                             struct outbox_err *err)
{
    struct value_text low, high;
    if (o->min >= o->max || (n >= o->min && n <= o->max))
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is out of range; it must be %s to %s", text,
                       option_value_show(o, o->min, &low), option_value_show(o, o->max, &high));
}

static int check_choice(const struct outbox_option *o, const char *text, struct outbox_err *err)
{
    char all[256] = "";
    struct suggest similar = suggest_for(text);
    for (size_t i = 0; o->choices[i]; i++) {
        size_t used = strlen(all);
        if (strcmp(text, o->choices[i]) == 0)
            return OUTBOX_OK;
        suggest_try(&similar, o->choices[i]);
        snprintf(all + used, sizeof all - used, "%s%s", used ? " | " : "", o->choices[i]);
    }
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is none of %s%s", text, all,
                       suggest_hint(&similar));
}

static int check_line(const struct outbox_option *o, const char *text, struct outbox_err *err)
{
    size_t n = strlen(text);
    if (n < (size_t)o->min || n > (size_t)o->max)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "is %s; it must have %" PRId64 " to %" PRId64 " bytes",
                           n == 0 ? "empty" : "too long", o->min, o->max);
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_char(text + i, n - i);
        if (len == 0 || utf8_control(text + i, len) != UTF8_NO_CONTROL)
            return outbox_fail(err, OUTBOX_E_CONFIG, "holds a character that cannot be printed");
    }
    return OUTBOX_OK;
}

static int parse_number(const struct outbox_option *o, const char *text, int64_t *ret,
                        struct outbox_err *err)
{
    int r = o->type == OUTBOX_OPT_INT        ? value_int(text, ret, err)
            : o->type == OUTBOX_OPT_BOOL     ? value_bool(text, ret, err)
            : o->type == OUTBOX_OPT_DURATION ? value_duration(text, ret, err)
                                             : value_size(text, ret, err);
    return r < 0 || o->type == OUTBOX_OPT_BOOL ? r : option_value_check_range(o, *ret, text, err);
}

/* ---- a value from its text ---- */

static int parse(const struct outbox_option *o, const char *text, struct option_value *ret,
                 struct outbox_err *err)
{
    if (o->type == OUTBOX_OPT_ARGV)
        return value_argv(text, &ret->items, err);
    if (o->type == OUTBOX_OPT_LIST)
        return value_list(text, &ret->items, err);
    if (o->type == OUTBOX_OPT_PREFIX)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "is a group of settings; write `%s.NAME = VALUE` for each of them",
                           o->name);
    int r = value_expand(text, &ret->text, err);
    if (r < 0)
        return r;
    ret->text_n = strlen(ret->text);
    switch (o->type) {
    case OUTBOX_OPT_TEXT:
    case OUTBOX_OPT_PUBLISHER: /* is there one? that is known when the whole file is read */
        return OUTBOX_OK;
    case OPTION_VALUE_LINE:
        return check_line(o, ret->text, err);
    case OUTBOX_OPT_CHOICE:
        return check_choice(o, ret->text, err);
    default:
        return parse_number(o, ret->text, &ret->number, err);
    }
}

int option_value_parse(const struct outbox_option *o, const char *text, struct option_value *ret,
                       struct outbox_err *err)
{
    int r = parse(o, text, ret, err);
    if (r == OUTBOX_E_CONFIG && option_value_spells_secret(o, o->name, text))
        return fail_secret(err);
    return r;
}

struct option_setting *option_value_setting(const struct option_value *value, const char *key)
{
    for (size_t i = 0; i < value->n_settings; i++)
        if (strcmp(value->settings[i].key, key) == 0)
            return &value->settings[i];
    return NULL;
}

int option_value_add(const struct outbox_option *o, struct option_value *value, const char *key,
                     const char *text, struct outbox_err *err)
{
    struct option_setting new = {0}, *added = NULL;
    if (!*key || strspn(key, KEY_CHARACTERS) != strlen(key))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "the name behind the prefix has only letters, digits, `.`, `_` and `-`");
    if (option_value_setting(value, key))
        return outbox_fail(err, OUTBOX_E_CONFIG, "is set already");
    int r = value_expand(text, &new.text, err);
    if (r < 0)
        return r == OUTBOX_E_CONFIG && option_value_is_secret(o, key, text) ? fail_secret(err) : r;
    new.key = strdup(key);
    if (new.key)
        added = array_add(&value->settings, &value->n_settings, sizeof *added);
    if (!added) {
        free(new.key);
        forget(new.text);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    *added = new;
    value->given = true;
    return OUTBOX_OK;
}

int option_value_check_default(const struct outbox_option *option, struct outbox_err *err)
{
    struct option_value value = {0};
    int r = option->deflt ? option_value_parse(option, option->deflt, &value, err) : OUTBOX_OK;
    option_value_clear(&value);
    return r;
}

/* ---- the hash ---- */

uint64_t option_value_hash(const struct outbox_option *option, const struct option_value *value,
                           uint64_t hash)
{
    if (option_value_is_secret(option, NULL, value->text))
        return hash;
    hash = hash_text(hash_text(hash, option->name), value->text);
    hash = hash_number(hash_number(hash, (uint64_t)value->number), value->items.n);
    for (size_t i = 0; i < value->items.n; i++)
        if (!option_value_is_secret(option, NULL, value->items.items[i]))
            hash = hash_text(hash, value->items.items[i]);
    for (size_t i = 0; i < value->n_settings; i++) {
        const struct option_setting *s = &value->settings[i];
        hash = hash_text(hash, s->key);
        if (!option_value_is_secret(option, s->key, s->text))
            hash = hash_text(hash, s->text);
    }
    return hash;
}
