/* SPDX-License-Identifier: Apache-2.0 */
/* lib_function.c - liboutbox: a publisher made from a function is a plugin built in memory. */
#include "base/clock.h"
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Instances find it through struct instance. */
struct lib_function {
    struct plugin plugin; /* first */
    outbox_publish_fn fn;
    void *ctx;
    int (*check)(void *ctx, const struct outbox_call *call, struct outbox_err *err);
    void (*close)(void *ctx);
    int slots; /* a semaphore of as many as calls may be under way; -1: no limit */
};

/* One for each worker. */
struct call_site {
    const struct lib_function *function;
    struct lib_outcomes outcomes;
};

/* The host of this plugin is always our own, so that the plugin may look into its instance. */
static int open_site(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    (void)cfg;
    const struct instance *ours = (const void *)host;
    struct call_site *site = calloc(1, sizeof *site);
    if (!site)
        return lib_out_of_memory(err);
    site->function = (const void *)ours->plugin;
    *ret = site;
    return OUTBOX_OK;
}

static void close_site(void *instance)
{
    struct call_site *site = instance;
    if (!site)
        return;
    lib_outcomes_clear(&site->outcomes);
    free(site);
}

/* ---- a limited number of calls at the same time ---- */

/* OUTBOX_E_FULL means this instance alone: the publisher is not paused, and its messages are left
 * to others. *ret is the call with what is left of its time. */
static int take_slot(const struct lib_function *f, const struct outbox_call *call,
                     struct outbox_call *ret, struct outbox_err *err)
{
    int64_t until_us = clock_monotonic_us() + (int64_t)call->timeout_ms * 1000, left_ms;
    eventfd_t one;
    *ret = *call;
    if (f->slots < 0)
        return OUTBOX_OK;
    while (eventfd_read(f->slots, &one) < 0) {
        struct pollfd fds[] = {{.fd = f->slots, .events = POLLIN},
                               {.fd = call->cancel_fd, .events = POLLIN}};
        left_ms = (until_us - clock_monotonic_us()) / 1000;
        if (left_ms <= 0)
            return outbox_fail(err, OUTBOX_E_FULL,
                               "as many calls as `concurrency` allows are under way");
        if (poll(fds, 2, left_ms > INT32_MAX ? -1 : (int)left_ms) > 0 && fds[1].revents)
            return outbox_fail(err, OUTBOX_E_CANCELLED, "the call was cancelled");
    }
    left_ms = (until_us - clock_monotonic_us()) / 1000;
    ret->timeout_ms = left_ms > 0 ? (uint32_t)left_ms : 0;
    return OUTBOX_OK;
}

static void give_slot(const struct lib_function *f)
{
    if (f->slots >= 0)
        eventfd_write(f->slots, 1);
}

/* ---- the operations ---- */

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    const struct lib_function *f = ((struct call_site *)instance)->function;
    struct outbox_call rest;
    if (!f->check)
        return OUTBOX_OK;
    int r = take_slot(f, call, &rest, err);
    if (r < 0)
        return r;
    r = f->check(f->ctx, &rest, err);
    give_slot(f);
    return r;
}

static int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    struct call_site *site = instance;
    const struct lib_function *f = site->function;
    struct outbox_call rest;
    if (!lib_outcomes_begin(&site->outcomes, n))
        return lib_out_of_memory(err);
    int r = take_slot(f, call, &rest, err);
    if (r < 0)
        return r;
    r = f->fn(f->ctx, msgs, n, &rest, site->outcomes.ptrs, err);
    give_slot(f);
    for (uint64_t i = 0; i < n; i++) {
        outcomes[i]->verdict = site->outcomes.ptrs[i]->verdict;
        outcomes[i]->after_ms = site->outcomes.ptrs[i]->after_ms;
        outcomes[i]->reason = site->outcomes.ptrs[i]->reason;
    }
    return r;
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_site,
    .close = close_site,
    .check = check,
    .publish = publish,
};

static const struct outbox_plugin descriptor = {
    OUTBOX_PLUGIN_INIT(OUTBOX_KIND_PUBLISHER, 0), .name = "function", .version = PACKAGE_VERSION,
    .summary = "A function of the application.",  .ops = &ops,
};

/* ---- making one ---- */

int lib_function_new(outbox_publish_fn fn, void *ctx, struct lib_function **ret,
                     struct outbox_err *err)
{
    struct lib_function *f = calloc(1, sizeof *f);
    if (!f)
        return lib_out_of_memory(err);
    f->fn = fn;
    f->ctx = ctx;
    f->slots = -1;
    int r = descriptor_negotiate(&descriptor, OUTBOX_KIND_PUBLISHER, NULL, &f->plugin, err);
    if (r < 0)
        free(f);
    else
        *ret = f;
    return r;
}

void lib_function_free(struct lib_function *f)
{
    if (!f)
        return;
    if (f->close)
        f->close(f->ctx);
    if (f->slots >= 0)
        close(f->slots);
    free(f);
}

const struct plugin *lib_function_plugin(const struct lib_function *f)
{
    return &f->plugin;
}

int lib_function_set(struct lib_function *f, const struct outbox_publisher_options *options,
                     struct outbox_err *err)
{
    int slots = -1;
    if (options->concurrency > 0 &&
        (slots = eventfd(options->concurrency, EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot make an eventfd: %m");
    if (f->slots >= 0)
        close(f->slots);
    f->slots = slots;
    f->check = options->check;
    f->close = options->close;
    return OUTBOX_OK;
}
