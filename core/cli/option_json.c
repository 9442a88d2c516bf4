/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/option_json.h"

#include "cli/output.h"
#include "common/message_json.h"
#include "plugin/option_value.h"

#include <outbox/helpers.h>

const char *option_json_type(uint32_t type)
{
    static const char *const names[] = {"",         "text",      "integer", "boolean",
                                        "duration", "size",      "choice",  "words",
                                        "list",     "publisher", "settings"};
    if (type == OPTION_VALUE_LINE)
        return "text";
    return names[type <= OUTBOX_OPT_PREFIX ? type : 0];
}

/* In the option's own unit; a duration's in seconds, null for `never`. */
static int add_range(struct json_object *object, const struct outbox_option *o)
{
    if (o->min >= o->max || o->type == OPTION_VALUE_LINE)
        return 0;
    if (o->type != OUTBOX_OPT_DURATION)
        return json_add_int(object, "min", o->min) | json_add_int(object, "max", o->max);
    return json_add_seconds(object, "min_seconds", o->min * 1000, true) |
           json_add_seconds(object, "max_seconds", o->max == OUTBOX_NEVER ? 0 : o->max * 1000,
                            o->max != OUTBOX_NEVER);
}

static struct json_object *choices_json(const char *const *choices)
{
    struct json_object *all = json_object_new_array();
    for (size_t i = 0; all && choices[i]; i++)
        json_object_array_add(all, json_object_new_string(choices[i]));
    return all;
}

static int add_option(struct json_object *object, const struct outbox_option *o)
{
    bool may_hold = (o->flags & OUTBOX_OPT_MAY_BE_SECRET) || o->type == OUTBOX_OPT_PREFIX;
    int r =
        json_add_text(object, "name", outbox_cstr(o->name)) |
        json_add_text(object, "type", outbox_cstr(option_json_type(o->type))) |
        json_add_text(object, "default", outbox_cstr(o->deflt)) |
        output_add_bool(object, "required", o->flags & OUTBOX_OPT_REQUIRED) |
        output_add_bool(object, "secret", o->flags & OUTBOX_OPT_SECRET) |
        output_add_bool(object, "may_hold_secret", may_hold) |
        output_add_bool(object, "below_batch_timeout", o->flags & OUTBOX_OPT_BELOW_BATCH_TIMEOUT);
    if (o->type == OUTBOX_OPT_CHOICE)
        r |= json_object_object_add(object, "choices", choices_json(o->choices));
    return r | add_range(object, o) | json_add_text(object, "help", outbox_cstr(o->help));
}

struct json_object *option_json(const struct outbox_option *option)
{
    struct json_object *object = json_object_new_object();
    return output_complete(object, object ? add_option(object, option) : OUTBOX_E_RETRY);
}
