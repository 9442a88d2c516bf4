/* SPDX-License-Identifier: Apache-2.0 */
/* lib_relay.c - liboutbox: a relay in the application's own process. */
#include "base/array.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/name.h"
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- a publisher made from a function ---- */

/* A plugin of its own, which its instances find through struct instance. */
struct function {
    struct plugin plugin; /* first */
    outbox_publish_fn fn;
    void *ctx;
};

/* The host of this plugin is always our own, so that the plugin may look into its instance. */
static int open_function(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                         struct outbox_err *err)
{
    (void)cfg;
    (void)err;
    const struct instance *ours = (const void *)host;
    *ret = (void *)(uintptr_t)ours->plugin;
    return OUTBOX_OK;
}

static void close_function(void *instance)
{
    (void)instance; /* the relay's */
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    (void)instance;
    (void)call;
    (void)err;
    return OUTBOX_OK;
}

static int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    const struct function *f = instance;
    return f->fn(f->ctx, msgs, n, call, outcomes, err);
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_function,
    .close = close_function,
    .check = check,
    .publish = publish,
};

static const struct outbox_plugin descriptor = {
    OUTBOX_PLUGIN_INIT(OUTBOX_KIND_PUBLISHER, 0),
    .name = "function",
    .version = PACKAGE_VERSION,
    .summary = "A function of the application.",
    .ops = &ops,
};

static struct function *function_new(outbox_publish_fn fn, void *ctx)
{
    struct function *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    if (descriptor_negotiate(&descriptor, OUTBOX_KIND_PUBLISHER, NULL, &f->plugin, NULL) < 0) {
        free(f);
        return NULL;
    }
    f->fn = fn;
    f->ctx = ctx;
    return f;
}

/* ---- making a relay ---- */

/* The options that the caller's version of the struct has. */
static struct outbox_relay_options known(const struct outbox_relay_options *given)
{
    struct outbox_relay_options o = {.size = sizeof o};
    if (given)
        memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    return o;
}

/* The numbers are options of [relay], so that the table of the file checks them. */
static int set_numbers(struct config *c, const struct outbox_relay_options *o,
                       struct outbox_err *err)
{
    const struct {
        const char *name;
        int64_t value; /* 0: the default */
    } numbers[] = {
        {"workers", o->workers},
        {"batch_size", o->batch_size},
        {"batch_bytes", (int64_t)o->batch_bytes}, /* what is too large becomes negative */
        {"max_message", (int64_t)o->max_message},
        {"max_retries", o->max_retries},
        {"batch_timeout", o->batch_timeout_ms},
        {"retry_min", o->retry_min_ms},
        {"retry_max", o->retry_max_ms},
        {"lease", o->lease_ms},
        {"poll_interval", o->poll_interval_ms},
        {"retention", o->retention_ms == OUTBOX_RETENTION_DELETE ? 0 : o->retention_ms},
        {"retention_failed", o->retention_failed_ms},
        {"shutdown_timeout", o->shutdown_timeout_ms},
    };
    struct outbox_cfg *cfg = options_new(&settings_relay.options);
    int r = cfg ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (size_t i = 0; r == 0 && i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].value)
            r = options_set_int(cfg, numbers[i].name, numbers[i].value, err);
    if (r == 0 && (r = settings_relay.apply(cfg, c)) < 0)
        outbox_fail(err, r, "out of memory");
    options_free(cfg);
    if (o->retention_ms == OUTBOX_RETENTION_DELETE)
        c->retention_ms = 0;
    return r < 0 ? r : delivery_check(&c->delivery, err);
}

static int configure(struct outbox_relay *relay, const struct outbox_relay_options *o,
                     struct outbox_err *err)
{
    struct config *c = relay->config;
    int r = set_numbers(c, o, err);
    if (r < 0)
        return r;
    c->unrouted_fail = o->unrouted_fail != 0;
    if (o->name) {
        free(c->name);
        c->name = strdup(o->name);
    }
    if (o->log_fd > 0)
        relay->log = log_new(o->log_fd, c->log_level, LOG_LOGFMT);
    if (!c->name || (o->log_fd > 0 && !relay->log))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return OUTBOX_OK;
}

OUTBOX_EXPORT int outbox_relay_new(const struct outbox_relay_options *options,
                                   struct outbox_relay **ret, struct outbox_err *err)
{
    struct outbox_relay_options o = known(options);
    struct outbox_relay *relay = calloc(1, sizeof *relay);
    if (relay)
        pthread_mutex_init(&relay->lock, NULL);
    if (!relay || !(relay->config = config_new("liboutbox"))) {
        outbox_relay_free(relay);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    int r = configure(relay, &o, err);
    if (r < 0)
        outbox_relay_free(relay);
    else
        *ret = relay;
    return r;
}

OUTBOX_EXPORT int outbox_relay_set_store(struct outbox_relay *relay, const char *plugin_dir,
                                         const char *plugin, const struct outbox_setting *settings,
                                         struct outbox_err *err)
{
    struct config *c = relay->config;
    if (c->store_options)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay has a store already");
    plugin_set_free(c->plugins); /* of a call that failed */
    if (!(c->plugins = plugin_set_new(plugin_dir)))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = plugin_get(c->plugins, OUTBOX_KIND_STORE, plugin, &c->store_plugin, err);
    return r < 0 ? r : lib_options(c->store_plugin, settings, &c->store_options, err);
}

/* ---- publishers ---- */

/* Takes the options, also when it fails. */
static int add_publisher(struct outbox_relay *relay, const char *name, const struct plugin *plugin,
                         struct outbox_cfg *options, struct outbox_err *err)
{
    struct publisher_config *p = options ? config_add_publisher(relay->config, name) : NULL;
    if (!p) {
        options_free(options);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    p->plugin = plugin;
    p->options = options;
    return OUTBOX_OK;
}

static int check_name(const struct outbox_relay *relay, const char *name, struct outbox_err *err)
{
    if (lib_has_router(relay))
        return outbox_fail(err, OUTBOX_E_CONFIG, "publishers come before the router");
    if (config_find_publisher(relay->config, name, NULL) != ROUTE_NONE)
        return outbox_fail(err, OUTBOX_E_CONFIG, "there is a publisher `%s` already", name);
    return name_check(name, "a publisher", err);
}

static int check_timeouts(const struct config *c, const struct plugin *plugin,
                          const struct outbox_cfg *options, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    for (size_t i = 0; r == 0 && i < plugin->desc.n_options; i++)
        r = options_check_timeout(options, descriptor_option(plugin, i),
                                  c->delivery.batch_timeout_ms, err);
    return r;
}

OUTBOX_EXPORT int outbox_relay_add_publisher(struct outbox_relay *relay, const char *name,
                                             const char *plugin,
                                             const struct outbox_setting *settings,
                                             struct outbox_err *err)
{
    const struct plugin *loaded;
    struct outbox_cfg *options = NULL;
    int r = check_name(relay, name, err);
    if (r == 0 && !relay->config->store_options)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "the store comes before the publishers");
    if (r == 0)
        r = plugin_get(relay->config->plugins, OUTBOX_KIND_PUBLISHER, plugin, &loaded, err);
    if (r == 0)
        r = lib_options(loaded, settings, &options, err);
    if (r == 0 && (r = check_timeouts(relay->config, loaded, options, err)) < 0)
        options_free(options);
    return r < 0 ? r : add_publisher(relay, name, loaded, options, err);
}

OUTBOX_EXPORT int outbox_relay_add_function(struct outbox_relay *relay, const char *name,
                                            outbox_publish_fn fn, void *ctx, struct outbox_err *err)
{
    int r = check_name(relay, name, err);
    if (r < 0)
        return r;
    struct function **added = array_add(&relay->functions, &relay->n_functions, sizeof *added);
    if (!added || !(*added = function_new(fn, ctx)))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    const struct plugin *plugin = &(*added)->plugin;
    return add_publisher(relay, name, plugin, options_new(plugin), err);
}

/* ---- running ---- */

OUTBOX_EXPORT int outbox_relay_start(struct outbox_relay *relay, struct outbox_err *err)
{
    const struct relay_mode mode = {.once = false};
    struct config *c = relay->config;
    if (relay->relay)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay runs already");
    if (!c->store_options || c->n_publishers == 0 || !lib_has_router(relay))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "a relay needs a store, a publisher and a router before it can start");
    struct relay *started = NULL;
    int r = config_check_publishers(c, err);
    if (r == 0)
        r = relay_start(c, &mode, relay->log, &started, err);
    pthread_mutex_lock(&relay->lock);
    relay->relay = started;
    pthread_mutex_unlock(&relay->lock);
    return r;
}

static void add_counts(struct outbox_relay_counts *to, const struct relay_report *report)
{
    to->accepted += report->accepted;
    to->retried += report->retried;
    to->failed += report->failed;
    to->stale += report->stale;
}

/* Signals of the application may interrupt the wait, and must not end it. */
static bool has_ended(const struct relay *relay, uint32_t timeout_ms)
{
    struct pollfd ended = {.fd = relay_ended_fd(relay), .events = POLLIN};
    int64_t until_us = clock_monotonic_us() + timeout_ms * INT64_C(1000), left_ms;
    do {
        left_ms = (until_us - clock_monotonic_us() + 999) / 1000;
        left_ms = left_ms < 0 ? 0 : left_ms > INT32_MAX ? INT32_MAX : left_ms;
        if (poll(&ended, 1, (int)left_ms) > 0)
            return true;
    } while (left_ms > 0);
    return false;
}

OUTBOX_EXPORT int outbox_relay_stop(struct outbox_relay *relay, uint32_t timeout_ms,
                                    struct outbox_err *err)
{
    struct relay_report report;
    if (!relay->relay)
        return OUTBOX_OK;
    if (relay_runs_caller(relay->relay))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "a callback cannot stop its relay, which waits for it; let another "
                           "thread do that");
    relay_stop(relay->relay);
    if (!has_ended(relay->relay, timeout_ms))
        return outbox_fail(err, OUTBOX_E_TIMEOUT, "a publisher or the store has not come back yet");
    struct relay *ended = relay->relay;
    relay_finish(ended, &report);
    pthread_mutex_lock(&relay->lock);
    add_counts(&relay->last, &report);
    relay->relay = NULL;
    pthread_mutex_unlock(&relay->lock);
    relay_free(ended);
    return OUTBOX_OK;
}

OUTBOX_EXPORT void outbox_relay_count(const struct outbox_relay *relay,
                                      struct outbox_relay_counts *ret)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&relay->lock; /* const to the caller */
    pthread_mutex_lock(lock);
    struct outbox_relay_counts counts = relay->last;
    uint32_t size = ret->size < sizeof counts ? ret->size : sizeof counts;
    if (relay->relay) {
        struct relay_report now;
        relay_snapshot(relay->relay, &now);
        add_counts(&counts, &now);
    }
    pthread_mutex_unlock(lock);
    counts.size = ret->size;
    memcpy(ret, &counts, size);
}

OUTBOX_EXPORT void outbox_relay_free(struct outbox_relay *relay)
{
    if (!relay)
        return;
    if (relay->relay && relay_runs_caller(relay->relay)) {
        fputs("liboutbox: a callback called outbox_relay_free for its own relay\n", stderr);
        abort();
    }
    while (outbox_relay_stop(relay, UINT32_MAX, NULL) < 0)
        continue; /* its threads use what is freed here */
    config_free(relay->config);
    for (size_t i = 0; i < relay->n_functions; i++)
        free(relay->functions[i]);
    free(relay->functions);
    log_free(relay->log);
    pthread_mutex_destroy(&relay->lock);
    free(relay);
}
