/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/target.h"

#include "conform/kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct setup *outside;
static const char *ini;
static struct setup *loaded;

void target_use(const struct setup *setup, const char *file)
{
    outside = setup;
    ini = file;
}

const struct setup *target_outside(void)
{
    return outside;
}

static void add_mistake(void *ctx, const char *file, int line, const char *text)
{
    char *all = ctx;
    size_t n = strlen(all);
    snprintf(all + n, 2000 - n, "%s%s:%d: %s", n ? "; " : "", file, line, text);
}

struct setup *target_again(void)
{
    static char mistakes[2000];
    struct setup *s = calloc(1, sizeof *s);
    ck_assert_ptr_nonnull(s);
    s->dir = outside->dir;
    s->kind = outside->kind;
    memcpy(s->name, outside->name, sizeof s->name);
    if (setup_read(s, ini, true, add_mistake, mistakes) < 0 || !s->plugin || !s->options)
        ck_abort_msg("%s", mistakes);
    return s;
}

struct setup *target(void)
{
    if (!loaded)
        loaded = target_again();
    return loaded;
}

struct outbox_cfg *target_options(struct setup *s)
{
    return s->kind == OUTBOX_KIND_STORE       ? s->config->store_options
           : s->kind == OUTBOX_KIND_PUBLISHER ? s->config->publishers[0].options
                                              : s->config->routes.routes[0].rule_cfg;
}

struct log *target_log(void)
{
    static struct log *log;
    if (!log)
        log = log_new(STDERR_FILENO, OUTBOX_LOG_INFO, LOG_LOGFMT);
    return log;
}

const char *target_needs(const char *command, const char *what)
{
    if (!command)
        kit_skip("there is no `%s` in the INI", what);
    return command;
}
