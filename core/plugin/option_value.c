/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/option_value.h"

#include "base/suggest.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void option_value_clear(struct option_value *value)
{
    if (value->text)
        explicit_bzero(value->text, value->text_n);
    free(value->text);
    value_items_free(&value->items);
    *value = (struct option_value){0};
}

const char *option_value_show(const struct outbox_option *option, int64_t n,
                              struct value_text *buffer)
{
    if (option->type == OUTBOX_OPT_DURATION)
        return value_show_duration(n, buffer);
    if (option->type == OUTBOX_OPT_SIZE)
        return value_show_size(n, buffer);
    snprintf(buffer->text, sizeof buffer->text, "%" PRId64, n);
    return buffer->text;
}

int option_value_check_range(const struct outbox_option *option, int64_t n, const char *text,
                             struct outbox_err *err)
{
    struct value_text low, high;
    if (option->min >= option->max || (n >= option->min && n <= option->max))
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is out of range; it must be %s to %s", text,
                       option_value_show(option, option->min, &low),
                       option_value_show(option, option->max, &high));
}

static int check_choice(const struct outbox_option *option, const char *text,
                        struct outbox_err *err)
{
    char all[256] = "";
    struct suggest similar = suggest_for(text);
    struct suggest_hint hint;
    for (size_t i = 0; option->choices[i]; i++) {
        size_t used = strlen(all);
        if (strcmp(text, option->choices[i]) == 0)
            return OUTBOX_OK;
        suggest_try(&similar, option->choices[i]);
        snprintf(all + used, sizeof all - used, "%s%s", used ? " | " : "", option->choices[i]);
    }
    return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is none of %s%s", text, all,
                       suggest_hint(&similar, &hint));
}

static int parse_expanded(const struct outbox_option *option, const char *text, int64_t *ret,
                          struct outbox_err *err)
{
    int r;
    switch (option->type) {
    case OUTBOX_OPT_TEXT:
        return OUTBOX_OK;
    case OUTBOX_OPT_CHOICE:
        return check_choice(option, text, err);
    case OUTBOX_OPT_BOOL:
        return value_bool(text, ret, err);
    case OUTBOX_OPT_INT:
        r = value_int(text, ret, err);
        break;
    case OUTBOX_OPT_DURATION:
        r = value_duration(text, ret, err);
        break;
    default:
        r = value_size(text, ret, err);
    }
    return r < 0 ? r : option_value_check_range(option, *ret, text, err);
}

int option_value_parse(const struct outbox_option *option, const char *text,
                       struct option_value *ret, struct outbox_err *err)
{
    if (option->type == OUTBOX_OPT_ARGV)
        return value_argv(text, &ret->items, err);
    if (option->type == OUTBOX_OPT_LIST)
        return value_list(text, &ret->items, err);
    int r = value_expand(text, &ret->text, err);
    if (r < 0)
        return r;
    ret->text_n = strlen(ret->text);
    r = parse_expanded(option, ret->text, &ret->number, err);
    if (r < 0)
        option_value_clear(ret);
    return r;
}

bool option_value_is_secret(const struct outbox_option *option, const char *text)
{
    if (option->flags & OUTBOX_OPT_SECRET)
        return true;
    return (option->flags & OUTBOX_OPT_MAY_BE_SECRET) && text && value_holds_password(text);
}

bool option_value_spells_secret(const struct outbox_option *option, const char *text)
{
    const char *end = strchr(text, '}');
    bool is_variable = strncmp(text, "${", 2) == 0 && end && end[1] == '\0';
    return option_value_is_secret(option, text) && !is_variable;
}
