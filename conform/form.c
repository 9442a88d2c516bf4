/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/form.h"

#include "conform/target.h"
#include "plugin/instance.h"
#include "plugin/option_value.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void assert_line(const char *what, const char *text)
{
    ck_assert_msg(text && *text, "%s is empty", what);
    for (const char *p = text; *p; p++)
        ck_assert_msg(!iscntrl((unsigned char)*p), "%s has a control character: %s", what, text);
}

START_TEST(its_descriptor_is_accepted)
{
    const struct outbox_plugin *d = &target()->plugin->desc;
    assert_line("version", d->version);
    assert_line("summary", d->summary);
    if (d->url)
        assert_line("url", d->url);
}
END_TEST

START_TEST(each_option_has_its_help)
{
    const struct plugin *plugin = target()->plugin;
    char what[100];
    for (size_t i = 0; i < plugin->desc.n_options; i++) {
        const struct outbox_option *o = descriptor_option(plugin, i);
        snprintf(what, sizeof what, "the help of `%s`", o->name);
        assert_line(what, o->help);
    }
}
END_TEST

static const char *wrong_value(const struct outbox_option *o)
{
    static const char *const values[] = {
        [OUTBOX_OPT_INT] = "x1",    [OUTBOX_OPT_BOOL] = "maybe",    [OUTBOX_OPT_DURATION] = "soon",
        [OUTBOX_OPT_SIZE] = "much", [OUTBOX_OPT_CHOICE] = "-none-", [OUTBOX_OPT_ARGV] = "\"x"};
    return o->type < sizeof values / sizeof values[0] ? values[o->type] : NULL;
}

START_TEST(a_wrong_value_of_each_option_is_told)
{
    struct setup *s = target_again();
    for (size_t i = 0; i < s->plugin->desc.n_options; i++) {
        const struct outbox_option *o = descriptor_option(s->plugin, i);
        struct outbox_err err = {.size = sizeof err};
        const char *value = wrong_value(o);
        if (!value)
            continue;
        int r = options_set(target_options(s), o->name, value, &err);
        ck_assert_msg(r == OUTBOX_E_CONFIG && err.text[0], "%s = %s is taken", o->name, value);
    }
}
END_TEST

START_TEST(an_unknown_option_is_told)
{
    struct outbox_err err = {.size = sizeof err};
    struct setup *s = target_again();
    ck_assert_int_eq(options_set(target_options(s), "no_such_option", "1", &err), OUTBOX_E_NOTSUP);
}
END_TEST

/* Opens it with one option changed. It is left open: how it closes is not told here. */
static void open_with(const struct outbox_option *o, const char *value)
{
    struct setup *s = target_again();
    struct outbox_err err = {.size = sizeof err};
    const char *name = o ? o->name : "the INI";
    if (o && options_set(target_options(s), o->name, value, &err) < 0)
        return; /* not one that it allows */
    struct instance *instance = calloc(1, sizeof *instance);
    ck_assert_ptr_nonnull(instance);
    const struct instance_setup setup = {.plugin = s->plugin,
                                         .cfg = s->options,
                                         .label = s->section,
                                         .log = target_log(),
                                         .publish_ms = s->publish_ms};
    int r = instance_open(instance, &setup, &err);
    ck_assert_msg(r == OUTBOX_OK || r == OUTBOX_E_CONFIG || (o && r == OUTBOX_E_RETRY),
                  "open returned %d with %s = %s: %s", r, name, o ? value : "it", err.text);
    ck_assert_msg(r == OUTBOX_OK || o, "it cannot be opened: %s", err.text);
    ck_assert_msg(r == OUTBOX_OK || !strstr(err.text, "without a reason"),
                  "open with %s = %s fails without a reason", name, o ? value : "it");
}

START_TEST(it_opens_with_its_section)
{
    open_with(NULL, NULL);
}
END_TEST

static void open_with_limits(const struct outbox_option *o)
{
    const int64_t limits[] = {o->min, o->max};
    struct value_text text;
    static const char *const answers[] = {"yes", "no", NULL};
    const char *const *choices = o->type == OUTBOX_OPT_CHOICE ? o->choices
                                 : o->type == OUTBOX_OPT_BOOL ? answers
                                                              : NULL;
    for (; choices && *choices; choices++)
        open_with(o, *choices);
    if (o->type != OUTBOX_OPT_INT && o->type != OUTBOX_OPT_DURATION && o->type != OUTBOX_OPT_SIZE)
        return;
    for (int i = 0; o->min < o->max && i < 2; i++)
        open_with(o, option_value_show(o, limits[i], &text));
}

START_TEST(it_opens_or_says_why_with_each_option_at_its_limits)
{
    const struct plugin *plugin = target()->plugin;
    int64_t end = now_ms() + 10000; /* how long open may take is another test's */
    for (size_t i = 0; i < plugin->desc.n_options && now_ms() < end; i++)
        open_with_limits(descriptor_option(plugin, i));
}
END_TEST

void form_add(const struct kit_sink *sink)
{
    const struct kit_test like = {.level = 1, .flags = KIT_ALWAYS};
    kit_add(sink, &like, its_descriptor_is_accepted, 0, 1, KIT_GATE);
    kit_add(sink, &like, each_option_has_its_help, 0, 1, 0);
    kit_add(sink, &like, a_wrong_value_of_each_option_is_told, 0, 1, 0);
    kit_add(sink, &like, an_unknown_option_is_told, 0, 1, 0);
}

void form_add_opens(const struct kit_sink *sink)
{
    const struct kit_test like = {.level = 1};
    kit_add(sink, &like, it_opens_with_its_section, 0, 1, 0);
    kit_add(sink, &like, it_opens_or_says_why_with_each_option_at_its_limits, 0, 1, 0);
}
