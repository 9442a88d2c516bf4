/* SPDX-License-Identifier: Apache-2.0 */
/* tables.c - prints the tables of commands and of the core's sections as one JSON object, from
 * which generate.py makes manuals, samples and completions. Not installed. */
#include "cli/command.h"
#include "cli/option_json.h"
#include "cli/output.h"
#include "cli/status_check.h"
#include "common/message_json.h"
#include "config/section.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <string.h>

/* No result is looked at: without memory this program may end as it likes. */
static void add(struct json_object *object, const char *name, const char *text)
{
    json_add_text(object, name, outbox_cstr(text));
}

/* ---- sections ---- */

static void add_options(struct json_object *all, const struct plugin *table)
{
    for (size_t i = 0; i < table->desc.n_options; i++)
        json_object_array_add(all, option_json(descriptor_option(table, i)));
}

/* A subject is text, or as a group of settings is: header.NAME. */
static void add_subjects(struct json_object *all)
{
    for (size_t i = 0; i < N_SUBJECTS; i++) {
        const struct subject_row *row = &route_subjects[i];
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(row->key, "."), row->key);
        const struct outbox_option option = {
            .name = name,
            .help = row->help,
            .type = row->named ? OUTBOX_OPT_PREFIX : OUTBOX_OPT_TEXT,
        };
        json_object_array_add(all, option_json(&option));
    }
}

/* Returns its list of options. */
static struct json_object *add_section(struct json_object *sections, const char *name)
{
    struct json_object *section = json_object_new_object();
    struct json_object *options = json_object_new_array();
    add(section, "name", name);
    json_object_object_add(section, "options", options);
    json_object_array_add(sections, section);
    return options;
}

static struct json_object *sections_json(void)
{
    struct json_object *all = json_object_new_array();
    add_options(add_section(all, "relay"), &settings_relay.options);
    add_options(add_section(all, "store"), &plugin_section_keys);
    struct json_object *publisher = add_section(all, "publisher NAME");
    add_options(publisher, &plugin_section_keys);
    add_options(publisher, &delivery_publisher);
    struct json_object *route = add_section(all, "route NAME");
    add_subjects(route);
    add_options(route, &route_section_keys);
    add_options(add_section(all, "router"), &settings_router.options);
    add_options(add_section(all, "log"), &settings_log.options);
    return all;
}

/* ---- commands ---- */

static const char *syntax_name(enum syntax_type type)
{
    switch (type) {
    case SYNTAX_FLAG:
        return "flag";
    case SYNTAX_UUID:
        return "uuid";
    case SYNTAX_DURATION:
        return "duration";
    case SYNTAX_INT:
    case SYNTAX_COUNT:
        return "integer";
    case SYNTAX_STATUS:
        return "status";
    case SYNTAX_CHECK:
        return "check";
    case SYNTAX_HEADER:
        return "header";
    case SYNTAX_TEXT:
        break;
    }
    return "text";
}

/* The texts that there are for the value of an option; a condition with a limit ends in `>`. */
static struct json_object *values_json(enum syntax_type type)
{
    struct json_object *all = json_object_new_array();
    const char *name;
    bool has_limit = false;
    for (uint32_t bit = OUTBOX_PENDING; type == SYNTAX_STATUS && bit <= OUTBOX_FAILED; bit *= 2)
        json_object_array_add(all, json_object_new_string(output_status(bit)));
    for (size_t i = 0; type == SYNTAX_CHECK && (name = status_check_name(i, &has_limit)); i++) {
        char text[32];
        snprintf(text, sizeof text, "%s%s", name, has_limit ? ">" : "");
        json_object_array_add(all, json_object_new_string(text));
    }
    return all;
}

static struct json_object *command_json(const struct command *command)
{
    struct json_object *object = json_object_new_object();
    struct json_object *options = json_object_new_array();
    add(object, "name", command->name);
    add(object, "summary", command->summary);
    add(object, "operands", command->syntax.operands);
    for (const struct syntax_option *o = command->syntax.options; o->name; o++) {
        struct json_object *option = json_object_new_object();
        const char key[] = {(char)o->key, '\0'};
        add(option, "name", o->name);
        add(option, "key", key);
        add(option, "type", syntax_name(o->type));
        add(option, "text", o->text);
        add(option, "help", o->summary);
        json_object_object_add(option, "values", values_json(o->type));
        json_object_array_add(options, option);
    }
    json_object_object_add(object, "options", options);
    return object;
}

int main(void)
{
    struct json_object *all = json_object_new_object();
    struct json_object *list = json_object_new_array();
    for (size_t i = 0; commands[i]; i++)
        json_object_array_add(list, command_json(commands[i]));
    json_object_object_add(all, "sections", sections_json());
    json_object_object_add(all, "commands", list);
    return output_json(all);
}
