/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/setting.h"

#include "common/utf8.h"
#include "plugin/option_value.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct setting *setting_find(const struct setting *settings, const char *key)
{
    for (; settings->option.name; settings++)
        if (strcmp(settings->option.name, key) == 0)
            return settings;
    return NULL;
}

void setting_suggest(const struct setting *settings, struct suggest *similar)
{
    for (; settings->option.name; settings++)
        suggest_try(similar, settings->option.name);
}

static void set_number(const struct setting *s, int64_t n, void *member)
{
    uint32_t narrow = (uint32_t)n; /* the range says that it fits */
    if (s->option.type == OUTBOX_OPT_INT)
        memcpy(member, &narrow, sizeof narrow);
    else
        memcpy(member, &n, sizeof n); /* int64_t, or a uint64_t that is not negative */
}

static int set_choice(const struct setting *s, const char *text, void *member,
                      struct outbox_err *err)
{
    int index = 0;
    while (strcmp(s->option.choices[index], text) != 0) /* it is one of them */
        index++;
    memcpy(member, &index, sizeof index);
    if (s->supported && index >= s->supported)
        return outbox_fail(err, OUTBOX_E_CONFIG, "`%s` is not supported yet", text);
    return OUTBOX_OK;
}

/* Takes the text of *value. */
static int set_text(const struct setting *s, struct option_value *value, char **member,
                    struct outbox_err *err)
{
    char shown[4096 + 1];
    int64_t n = (int64_t)value->text_n;
    if (n < s->option.min || n > s->option.max || value->text_n >= sizeof shown)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "is %s; it must have %" PRId64 " to %" PRId64 " bytes",
                           n == 0 ? "empty" : "too long", s->option.min, s->option.max);
    utf8_printable(value->text, value->text_n, shown, sizeof shown);
    if (strcmp(shown, value->text) != 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "holds a character that cannot be printed");
    free(*member);
    *member = value->text;
    value->text = NULL;
    return OUTBOX_OK;
}

int setting_set(const struct setting *s, const char *text, void *base, struct outbox_err *err)
{
    void *member = (char *)base + s->offset;
    struct option_value value = {0};
    if (s->option.type == SETTING_LATER)
        return outbox_fail(err, OUTBOX_E_CONFIG, "not supported yet");
    int r = option_value_parse(&s->option, text, &value, err);
    if (r < 0)
        return r;
    if (s->option.type == OUTBOX_OPT_TEXT)
        r = set_text(s, &value, member, err);
    else if (s->option.type == OUTBOX_OPT_CHOICE)
        r = set_choice(s, value.text, member, err);
    else
        set_number(s, value.number, member);
    option_value_clear(&value);
    return r;
}

int setting_defaults(const struct setting *settings, void *base)
{
    int r = OUTBOX_OK;
    for (; settings->option.name && r == 0; settings++)
        if (settings->option.deflt)
            r = setting_set(settings, settings->option.deflt, base, NULL);
    return r;
}

static int64_t get_number(const struct setting *s, const void *base)
{
    const char *member = (const char *)base + s->offset;
    uint32_t narrow;
    int64_t n;
    if (s->option.type == OUTBOX_OPT_INT) {
        memcpy(&narrow, member, sizeof narrow);
        return narrow;
    }
    memcpy(&n, member, sizeof n);
    return n;
}

int setting_check(const struct setting *settings, const void *base, struct outbox_err *err)
{
    struct value_text shown;
    struct outbox_err why = {.size = sizeof why};
    for (const struct setting *s = settings; s->option.name; s++) {
        if (s->option.type < OUTBOX_OPT_INT || s->option.type > OUTBOX_OPT_SIZE)
            continue;
        int64_t n = get_number(s, base);
        int r =
            option_value_check_range(&s->option, n, option_value_show(&s->option, n, &shown), &why);
        if (r < 0)
            return outbox_fail(err, r, "%s: %s", s->option.name, why.text);
    }
    return OUTBOX_OK;
}
