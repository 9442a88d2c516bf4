/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/opening.h"

#include "base/array.h"
#include "common/signals.h"
#include "config/load.h"
#include "plugin/current_call.h"

#include <outbox/helpers.h>

#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct opening {
    const char *file;
    const struct config *config; /* given; NULL: to be read */
    const struct relay *before;
    const struct config *before_config;
    struct opening_result result;
    _Atomic bool reading;
    _Atomic bool
        closing; /* what was opened before a mistake was found, or before it was abandoned */
    _Atomic bool abandoned;
    int ended_fd;
    pthread_t thread;
};

static void add_text(struct opening_result *result, const char *text)
{
    char **mistake = array_add(&result->mistakes, &result->n_mistakes, sizeof *result->mistakes);
    if (mistake)
        *mistake = strdup(text);
}

static void add_mistake(void *ctx, const char *file, int line, const char *text)
{
    char whole[1200], at[24] = "";
    if (line > 0)
        snprintf(at, sizeof at, "%d:", line);
    snprintf(whole, sizeof whole, "%s:%s %s", file, at, text);
    add_text(ctx, whole);
}

static void *open_main(void *arg)
{
    struct opening *o = arg;
    struct opening_result *result = &o->result;
    const struct config *config = o->config;
    struct relay_report report;
    struct current_call call;
    current_call_init(&call);
    current_call_adopt(&call, true);
    if (!config) {
        o->reading = true;
        result->r =
            load_config_again(o->file, o->before_config, add_mistake, result, &result->config);
        o->reading = false;
        config = result->config;
        if (result->r == OUTBOX_OK)
            config_share(result->config, o->before_config);
    }
    if (result->r == OUTBOX_OK) {
        result->r = relay_open(result->relay, config, o->before, &result->err);
        if (result->r < 0)
            add_text(result, result->err.text); /* a section's begins with file and line */
    }
    if (o->abandoned && result->r == OUTBOX_OK)
        result->r = OUTBOX_E_CANCELLED;
    /* Here, because that may block, too. */
    o->closing = true;
    if (config && result->r < 0)
        relay_finish(result->relay, &report);
    current_call_destroy(&call);
    eventfd_write(o->ended_fd, 1);
    return NULL;
}

struct opening *opening_start(const char *file, const struct config *config,
                              const struct relay_mode *mode, struct log *log,
                              const struct relay *before, const struct config *before_config)
{
    struct opening *o = calloc(1, sizeof *o);
    sigset_t mask;
    if (!o)
        return NULL;
    o->file = file;
    o->config = config;
    o->before = before;
    o->before_config = before_config;
    o->result.err.size = sizeof o->result.err;
    o->result.relay = relay_new(mode, log);
    o->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    signals_block(&mask);
    bool started =
        o->result.relay && o->ended_fd >= 0 && pthread_create(&o->thread, NULL, open_main, o) == 0;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (started)
        return o;
    relay_free(o->result.relay);
    if (o->ended_fd >= 0)
        close(o->ended_fd);
    free(o);
    return NULL;
}

int opening_fd(const struct opening *o)
{
    return o->ended_fd;
}

void opening_describe(const struct opening *o, char *text, size_t cap)
{
    const char *what = relay_opening(o->result.relay);
    if (o->closing)
        snprintf(text, cap, "closing what was opened");
    else if (o->reading || !what)
        snprintf(text, cap, "reading the file and loading its plugins");
    else if (strncmp(what, "the ", 4) == 0)
        snprintf(text, cap, "opening %s", what);
    else
        snprintf(text, cap, "opening publisher %s", what);
}

void opening_abandon(struct opening *o)
{
    o->abandoned = true;
}

void opening_take(struct opening *o, struct opening_result *ret)
{
    pthread_join(o->thread, NULL);
    *ret = o->result;
    close(o->ended_fd);
    free(o);
}

void opening_drop(struct opening_result *result)
{
    for (size_t i = 0; i < result->n_mistakes; i++)
        free(result->mistakes[i]);
    free(result->mistakes);
    relay_free(result->relay);
    config_free(result->config);
    *result = (struct opening_result){0};
}
