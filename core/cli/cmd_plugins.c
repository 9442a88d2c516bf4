/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_plugins.c - outboxd plugins: what is installed, and what it can be told. */
#include "base/value.h"
#include "cli/command.h"
#include "cli/output.h"
#include "common/message_json.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct args {
    struct command_common common;
    const char *dir;
    const char *name;
    bool json;
};

static const struct argp_option options[] = {
    {"plugin-dir", 'D', "DIR", 0, "Look there, and read no configuration file", 0},
    {"json", 'j', NULL, 0, "One JSON object a line", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct args *args = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &args->common;
        return 0;
    case 'D':
        args->dir = arg;
        return 0;
    case 'j':
        args->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (args->name)
            argp_error(state, "takes one NAME");
        args->name = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *type_name(uint32_t type)
{
    static const char *const names[] = {"",     "text",   "integer", "boolean", "duration",
                                        "size", "choice", "words",   "list"};
    return names[type <= OUTBOX_OPT_LIST ? type : 0];
}

/* In the option's own unit; a duration's in seconds, null for `never`. */
static int add_range(struct json_object *object, const struct outbox_option *o)
{
    if (o->min >= o->max)
        return 0;
    if (o->type != OUTBOX_OPT_DURATION)
        return json_add_int(object, "min", o->min) | json_add_int(object, "max", o->max);
    return json_add_seconds(object, "min_seconds", o->min * 1000, true) |
           json_add_seconds(object, "max_seconds", o->max == OUTBOX_NEVER ? 0 : o->max * 1000,
                            o->max != OUTBOX_NEVER);
}

static struct json_object *option_json(const struct outbox_option *o)
{
    struct json_object *object = json_object_new_object();
    int r = 0;
    if (!object)
        return NULL;
    r |= json_add_text(object, "name", outbox_cstr(o->name));
    r |= json_add_text(object, "type", outbox_cstr(type_name(o->type)));
    r |= json_add_text(object, "default", outbox_cstr(o->deflt));
    r |= json_object_object_add(object, "required",
                                json_object_new_boolean((o->flags & OUTBOX_OPT_REQUIRED) != 0));
    r |= json_object_object_add(object, "secret",
                                json_object_new_boolean((o->flags & OUTBOX_OPT_SECRET) != 0));
    if (o->type == OUTBOX_OPT_CHOICE) {
        struct json_object *choices = json_object_new_array();
        for (size_t i = 0; choices && o->choices[i]; i++)
            json_object_array_add(choices, json_object_new_string(o->choices[i]));
        r |= json_object_object_add(object, "choices", choices);
    }
    r |= add_range(object, o);
    r |= json_add_text(object, "help", outbox_cstr(o->help));
    if (r == 0)
        return object;
    json_object_put(object);
    return NULL;
}

static int print_json(const struct plugin_file *file, const struct plugin *plugin,
                      const char *error)
{
    struct json_object *o = json_object_new_object();
    const struct outbox_plugin *d = plugin ? &plugin->desc : NULL;
    int r = 0;
    if (!o)
        return command_fail("out of memory");
    r |= json_add_text(o, "kind", outbox_cstr(descriptor_kind_name(file->kind)));
    r |= json_add_text(o, "name", outbox_cstr(file->name));
    if (error)
        r |= json_add_text(o, "error", outbox_cstr(error));
    if (d) {
        struct json_object *all = json_object_new_array();
        r |= json_add_text(o, "version", outbox_cstr(d->version));
        r |= json_add_text(o, "summary", outbox_cstr(d->summary));
        r |= json_add_text(o, "url", outbox_cstr(d->url));
        r |= json_add_text(o, "file", outbox_cstr(plugin->path));
        r |= json_add_int(o, "abi_major", OUTBOX_ABI_MAJOR);
        r |= json_add_int(o, "abi_minor", d->minor);
        r |= json_add_int(o, "needs_minor", d->needs_minor);
        for (size_t i = 0; all && i < d->n_options; i++)
            json_object_array_add(all, option_json(descriptor_option(plugin, i)));
        r |= json_object_object_add(o, "options", all);
    }
    if (r < 0) {
        json_object_put(o);
        return command_fail("out of memory");
    }
    return output_json(o) < 0 ? EXIT_FAILED : EXIT_DONE;
}

static void print_range(const struct outbox_option *o)
{
    struct value_text low = {{0}}, high = {{0}};
    if (o->type == OUTBOX_OPT_DURATION)
        printf(", %s to %s", value_show_duration(o->min, &low), value_show_duration(o->max, &high));
    else if (o->type == OUTBOX_OPT_SIZE)
        printf(", %s to %s", value_show_size(o->min, &low), value_show_size(o->max, &high));
    else if (o->type == OUTBOX_OPT_INT)
        printf(", %" PRId64 " to %" PRId64, o->min, o->max);
}

static void print_option(const struct outbox_option *o)
{
    printf("\n%s = %s\n    %s", o->name,
           o->flags & OUTBOX_OPT_SECRET ? "..."
           : o->deflt                   ? o->deflt
                                        : "",
           type_name(o->type));
    if (o->flags & OUTBOX_OPT_REQUIRED)
        fputs(", required", stdout);
    if (o->flags & OUTBOX_OPT_SECRET)
        printf(", secret; may be given as %s_file", o->name);
    if (o->flags & OUTBOX_OPT_BELOW_BATCH_TIMEOUT)
        fputs(", shorter than batch_timeout", stdout);
    for (size_t i = 0; o->type == OUTBOX_OPT_CHOICE && o->choices[i]; i++)
        printf("%s%s", i ? " | " : ": ", o->choices[i]);
    if (o->min < o->max)
        print_range(o);
    printf("\n    %s\n", o->help);
}

static void print_documentation(const struct plugin *plugin)
{
    const struct outbox_plugin *d = &plugin->desc;
    printf("%s-%s %s (%s, ABI %d.%u)\n%s\n%s\n", descriptor_kind_prefix(d->kind), d->name,
           d->version, descriptor_kind_name(d->kind), OUTBOX_ABI_MAJOR, d->minor, d->summary,
           plugin->path);
    for (size_t i = 0; i < d->n_options; i++)
        print_option(descriptor_option(plugin, i));
}

static bool is_wanted(const struct plugin_file *file, const char *name)
{
    const char *prefix = descriptor_kind_prefix(file->kind);
    size_t n = strlen(prefix);
    return !name || strcmp(file->name, name) == 0 ||
           (strncmp(name, prefix, n) == 0 && name[n] == '-' &&
            strcmp(file->name, name + n + 1) == 0);
}

static int print_one(struct plugin_set *set, const struct plugin_file *file,
                     const struct args *args)
{
    const struct plugin *plugin = NULL;
    struct outbox_err err = {.size = sizeof err};
    int r = plugin_get(set, file->kind, file->name, &plugin, &err);
    if (args->json) {
        int code = print_json(file, plugin, r < 0 ? err.text : NULL);
        return r < 0 ? EXIT_FAILED : code;
    }
    if (r < 0)
        return command_fail("%s", err.text);
    if (args->name)
        print_documentation(plugin);
    else
        printf("%-9s  %-16s  %-10s  %d.%-3u  %s\n%-49s%s\n", descriptor_kind_name(file->kind),
               file->name, plugin->desc.version, OUTBOX_ABI_MAJOR, plugin->desc.minor,
               plugin->desc.summary, "", plugin->path);
    return EXIT_DONE;
}

static int print_all(struct plugin_set *set, const struct args *args)
{
    struct plugin_file *files = NULL;
    struct outbox_err err = {.size = sizeof err};
    size_t n = 0, printed = 0;
    int code = EXIT_DONE;
    if (plugin_files(set, &files, &n, &err) < 0)
        return command_fail("%s", err.text);
    if (!args->name && !args->json)
        printf("%-9s  %-16s  %-10s  %-5s  %s\n", "KIND", "NAME", "VERSION", "ABI",
               "SUMMARY AND FILE");
    for (size_t i = 0; i < n; i++) {
        if (!is_wanted(&files[i], args->name))
            continue;
        printed++;
        if (print_one(set, &files[i], args) != EXIT_DONE)
            code = EXIT_FAILED;
    }
    if (args->name && printed == 0) {
        struct suggest nearest = suggest_for(args->name);
        struct suggest_hint hint;
        for (size_t i = 0; i < n; i++)
            suggest_try(&nearest, files[i].name);
        code = command_fail("there is no plugin `%s` in %s%s", args->name, plugin_set_dir(set),
                            suggest_hint(&nearest, &hint));
    }
    free(files);
    return code;
}

int cmd_plugins(int argc, char **argv)
{
    static const struct argp_child children[] = {{&command_common_argp, 0, NULL, 0}, {0}};
    static const struct argp argp = {
        .options = options,
        .parser = parse,
        .args_doc = "[NAME]",
        .doc = "Lists the installed plugins; with NAME (say sqlite, or pub-exec) shows the options "
               "of that one. The folder is plugin_dir of the configuration file if there is one.",
        .children = children,
    };
    struct args args = {0};
    if (!command_parse(&argp, argc, argv, &args))
        return EXIT_FAILED;
    char *dir = NULL;
    bool asked = strcmp(args.common.config_file, LOAD_DEFAULT_FILE) != 0;
    int r = OUTBOX_OK;
    /* Whoever asks what is there may be about to repair the rest of the file. */
    if (!args.dir && (asked || access(args.common.config_file, F_OK) == 0))
        r = load_plugin_dir(args.common.config_file, command_mistake, NULL, &dir);
    if (r < 0)
        return command_code(r);
    struct plugin_set *set = plugin_set_new(args.dir ? args.dir : dir);
    int code = set ? print_all(set, &args) : command_fail("out of memory");
    plugin_set_free(set);
    free(dir);
    return command_finish(code);
}
