/* SPDX-License-Identifier: Apache-2.0 */
/* cmd_plugins.c - outboxd plugins: what is installed, and which options it has. */
#include "cli/apart.h"
#include "cli/command.h"
#include "cli/option_json.h"
#include "cli/output.h"
#include "common/message_json.h"

#include <outbox/helpers.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long a plugin may take to be loaded. */
#define LOOK_SECONDS 10

struct args {
    struct syntax_args common;
    const char *dir;
    bool json;
};

static const struct syntax_option options[] = {
    {"plugin-dir", 'D', SYNTAX_TEXT, offsetof(struct args, dir), "DIR",
     "Look there, and read no configuration file"},
    {"json", 'j', SYNTAX_FLAG, offsetof(struct args, json), NULL, "One JSON object a line"},
    {0},
};

static int add_plugin(struct json_object *object, const struct plugin *plugin)
{
    const struct outbox_plugin *d = &plugin->desc;
    struct json_object *all = json_object_new_array();
    for (size_t i = 0; all && i < d->n_options; i++) {
        json_object_array_add(all, option_json(descriptor_option(plugin, i)));
    }
    return json_add_text(object, "version", outbox_cstr(d->version)) |
           json_add_text(object, "summary", outbox_cstr(d->summary)) |
           json_add_text(object, "url", outbox_cstr(d->url)) |
           json_add_text(object, "file", outbox_cstr(plugin->path)) |
           json_add_int(object, "abi_major", OUTBOX_ABI_MAJOR) |
           json_add_int(object, "abi_minor", d->minor) |
           json_add_int(object, "needs_minor", d->needs_minor) |
           json_object_object_add(object, "options", all);
}

/* A plugin that cannot be used (NULL) has an error and none of its own texts. */
static int print_json(const struct plugin_file *file, const struct plugin *plugin,
                      const char *error)
{
    struct json_object *o = json_object_new_object();
    int r = o ? json_add_text(o, "kind", outbox_cstr(descriptor_kind_name(file->kind))) |
                    json_add_text(o, "name", outbox_cstr(file->name))
              : OUTBOX_E_RETRY;
    if (r == 0)
        r = plugin ? add_plugin(o, plugin) : json_add_text(o, "error", outbox_cstr(error));
    return output_json(output_complete(o, r));
}

static void print_option(const struct outbox_option *o)
{
    struct value_text low, high;
    bool is_number =
        o->type == OUTBOX_OPT_INT || o->type == OUTBOX_OPT_DURATION || o->type == OUTBOX_OPT_SIZE;
    printf("\n%s%s = %s\n    %s", o->name, o->type == OUTBOX_OPT_PREFIX ? ".*" : "",
           o->flags & OUTBOX_OPT_SECRET ? "..."
           : o->deflt                   ? o->deflt
                                        : "",
           option_json_type(o->type));
    if (o->flags & OUTBOX_OPT_REQUIRED)
        fputs(", required", stdout);
    bool may_hold = (o->flags & OUTBOX_OPT_MAY_BE_SECRET) || o->type == OUTBOX_OPT_PREFIX;
    if (o->flags & OUTBOX_OPT_SECRET)
        fputs(", secret", stdout);
    else if (may_hold)
        fputs(", may hold a secret", stdout);
    if (o->type == OUTBOX_OPT_TEXT && (o->flags & OUTBOX_OPT_SECRET || may_hold))
        printf("; may be given as %s_file", o->name);
    if (o->flags & OUTBOX_OPT_BELOW_BATCH_TIMEOUT)
        fputs(", shorter than batch_timeout", stdout);
    for (size_t i = 0; o->type == OUTBOX_OPT_CHOICE && o->choices[i]; i++)
        printf("%s%s", i ? " | " : ": ", o->choices[i]);
    if (is_number && o->min < o->max)
        printf(", %s to %s", option_value_show(o, o->min, &low),
               option_value_show(o, o->max, &high));
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
    char whole[sizeof file->name + 8]; /* pub-NAME */
    snprintf(whole, sizeof whole, "%s-%s", descriptor_kind_prefix(file->kind), file->name);
    return !name || strcmp(file->name, name) == 0 || strcmp(whole, name) == 0;
}

/* What is printed of one plugin. */
struct row {
    struct plugin_set *set;
    const struct plugin_file *file;
    const struct args *args;
};

/* Without the plugin. */
static int print_error(const struct row *row, const char *text)
{
    if (!row->args->json)
        return report_failure("%s", text);
    print_json(row->file, NULL, text);
    return EXIT_FAILED;
}

/* In a child process. */
static int print_row(void *ctx)
{
    const struct row *row = ctx;
    const struct plugin_file *file = row->file;
    const struct plugin *plugin = NULL;
    struct outbox_err err = {.size = sizeof err};
    if (plugin_get(row->set, file->kind, file->name, &plugin, &err) < 0)
        return print_error(row, err.text);
    if (row->args->json)
        return print_json(file, plugin, NULL);
    if (row->args->common.n_operands)
        print_documentation(plugin);
    else
        printf("%-9s  %-16s  %-10s  %d.%-3u  %s\n%-49s%s\n", descriptor_kind_name(file->kind),
               file->name, plugin->desc.version, OUTBOX_ABI_MAJOR, plugin->desc.minor,
               plugin->desc.summary, "", plugin->path);
    return EXIT_DONE;
}

/* A plugin that crashes or hangs while it is loaded does not hide the others. */
static int print_one(struct plugin_set *set, const struct plugin_file *file,
                     const struct args *args)
{
    char why[128], text[512];
    struct row row = {set, file, args};
    int code = apart_run(print_row, &row, LOOK_SECONDS, why, sizeof why);
    if (code >= 0)
        return code;
    snprintf(text, sizeof text, "%s/%s-%s.so %s while it was loaded; the plugin is broken",
             plugin_set_dir(set), descriptor_kind_prefix(file->kind), file->name, why);
    return print_error(&row, text);
}

static int print_all(struct plugin_set *set, const struct args *args)
{
    const char *name = args->common.n_operands ? args->common.operands[0] : NULL;
    struct plugin_file *files = NULL;
    struct outbox_err err = {.size = sizeof err};
    size_t n = 0, printed = 0;
    int code = EXIT_DONE;
    if (plugin_files(set, &files, &n, &err) < 0)
        return report_failure("%s", err.text);
    if (!name && !args->json)
        printf("%-9s  %-16s  %-10s  %-5s  %s\n", "KIND", "NAME", "VERSION", "ABI",
               "SUMMARY AND FILE");
    for (size_t i = 0; i < n; i++) {
        if (!is_wanted(&files[i], name))
            continue;
        printed++;
        if (print_one(set, &files[i], args) != EXIT_DONE)
            code = EXIT_FAILED;
    }
    if (name && printed == 0) {
        struct suggest nearest = suggest_for(name);
        for (size_t i = 0; i < n; i++)
            suggest_try(&nearest, files[i].name);
        code = report_failure("there is no plugin `%s` in %s%s", name, plugin_set_dir(set),
                              suggest_hint(&nearest));
    }
    if (!name && n == 0)
        fprintf(stderr,
                "no plugin is installed in %s; install packages such as outboxd-store-sqlite and "
                "outboxd-pub-exec, or set plugin_dir\n",
                plugin_set_dir(set));
    free(files);
    return code;
}

static int plugins(void *data)
{
    const struct args *args = data;
    const char *file = args->common.config_file;
    bool given = strcmp(file, LOAD_DEFAULT_FILE) != 0;
    char *dir = NULL;
    int r = OUTBOX_OK;
    /* No more of the file is read: a person may list plugins in order to repair the rest of it. */
    if (!args->dir && (given || access(file, F_OK) == 0))
        r = load_plugin_dir(file, report_mistake, NULL, &dir);
    if (r < 0)
        return report_exit_code(r);
    struct plugin_set *set = plugin_set_new(args->dir ? args->dir : dir);
    int code = set ? print_all(set, args) : report_failure("out of memory");
    plugin_set_free(set);
    free(dir);
    return code;
}

const struct command cmd_plugins = {
    .name = "plugins",
    .summary = "list plugins and their options",
    .syntax.options = options,
    .syntax.operands = "[NAME]",
    .syntax.max_operands = 1,
    .syntax.surplus = "takes one NAME",
    .syntax.doc =
        "Lists the installed plugins; with NAME (say sqlite, or pub-exec) shows the options of "
        "that one. The folder is plugin_dir of the configuration file if there is one.",
    .args_size = sizeof(struct args),
    .run = plugins,
};
