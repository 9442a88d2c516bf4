/* SPDX-License-Identifier: Apache-2.0 */
/* lib_configure.c - liboutbox: the options of a relay and of its publishers become the model that a
 * file becomes, too. */
#include "base/log.h"
#include "lib/liboutbox.h"

#include <outbox/helpers.h>

#include <stdlib.h>

/* A number of an option that the core's own table checks; 0: the default. */
struct number {
    const char *name;
    int64_t value;
};

static int set_numbers(struct outbox_cfg *cfg, const struct number *numbers, size_t n,
                       struct outbox_err *err)
{
    int r = cfg ? OUTBOX_OK : lib_out_of_memory(err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (numbers[i].value)
            r = options_set_int(cfg, numbers[i].name, numbers[i].value, err);
    return r;
}

#define SET(cfg, numbers, err) set_numbers(cfg, numbers, sizeof numbers / sizeof numbers[0], err)

/* ---- of a relay ---- */

static int set_relay(struct config *c, const struct outbox_relay_options *o, struct outbox_err *err)
{
    const struct number numbers[] = {
        {"workers", o->workers},
        {"batch_size", o->batch_size},
        {"batch_bytes", (int64_t)o->batch_bytes}, /* what is too large becomes negative */
        {"max_message", (int64_t)o->max_message},
        {"max_headers", o->max_headers},
        {"max_header_bytes", (int64_t)o->max_header_bytes},
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
    int r = SET(cfg, numbers, err);
    if (r == 0 && settings_relay.apply(cfg, c) < 0)
        r = lib_out_of_memory(err);
    options_free(cfg);
    if (o->retention_ms == OUTBOX_RETENTION_DELETE)
        c->retention_ms = 0;
    return r < 0 ? r : delivery_check(&c->delivery, err);
}

static bool replace(char **text, const char *with)
{
    if (!with)
        return true;
    free(*text);
    *text = strdup(with);
    return *text != NULL;
}

static bool make_log(struct outbox_relay *relay, const struct outbox_relay_options *o)
{
    int level = o->log_level ? o->log_level : OUTBOX_LOG_INFO;
    relay->sink = (struct lib_sink){o->log_fn, o->log_ctx};
    if (o->log_fn)
        relay->log = lib_log_new(&relay->sink, level);
    else if (o->log_fd > 0)
        relay->log = log_new(o->log_fd, level, LOG_LOGFMT);
    return relay->log || (!o->log_fn && o->log_fd <= 0);
}

int lib_configure(struct outbox_relay *relay, const struct outbox_relay_options *options,
                  struct outbox_err *err)
{
    struct outbox_relay_options o = {.size = sizeof o};
    struct config *c = relay->config;
    int r = options
                ? lib_take("outbox_relay_options", options,
                           offsetof(struct outbox_relay_options, batch_bytes), sizeof o, &o, err)
                : OUTBOX_OK;
    if (r == 0)
        r = set_relay(c, &o, err);
    if (r < 0)
        return r;
    c->unrouted_fail = o.unrouted_fail != 0;
    c->check_plugins = o.check_plugins != 0;
    if (!replace(&c->name, o.name) || !replace(&c->plugin_dir, o.plugin_dir) ||
        !make_log(relay, &o) || !(c->plugins = plugin_set_new(c->plugin_dir)))
        return lib_out_of_memory(err);
    return OUTBOX_OK;
}

/* ---- of a publisher ---- */

static int set_delivery(const struct outbox_publisher_options *o, struct delivery *delivery,
                        struct outbox_err *err)
{
    const struct number numbers[] = {
        {"batch_size", o->batch_size},          {"max_retries", o->max_retries},
        {"batch_timeout", o->batch_timeout_ms}, {"retry_min", o->retry_min_ms},
        {"retry_max", o->retry_max_ms},
    };
    struct outbox_cfg *cfg = options_new(&delivery_publisher);
    int r = SET(cfg, numbers, err);
    if (r == 0)
        delivery_apply(cfg, false, delivery);
    options_free(cfg);
    return r < 0 ? r : delivery_check(delivery, err);
}

static struct lib_function *find_function(const struct outbox_relay *relay,
                                          const struct plugin *plugin)
{
    for (size_t i = 0; i < relay->n_functions; i++)
        if (relay->functions[i] && lib_function_plugin(relay->functions[i]) == plugin)
            return relay->functions[i];
    return NULL;
}

OUTBOX_EXPORT int outbox_relay_set_publisher(struct outbox_relay *relay, const char *name,
                                             const struct outbox_publisher_options *options,
                                             struct outbox_err *err)
{
    struct outbox_publisher_options o;
    size_t i = config_find_publisher(relay->config, name, NULL);
    if (relay->relay)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay runs already");
    if (i == ROUTE_NONE)
        return outbox_fail(err, OUTBOX_E_CONFIG, "there is no publisher `%s`", name);
    struct publisher_config *p = &relay->config->publishers[i];
    struct delivery wanted = relay->config->delivery;
    struct lib_function *function = find_function(relay, p->plugin);
    int r = lib_take("outbox_publisher_options", options, sizeof o, sizeof o, &o, err);
    if (r == 0 && !function && (o.check || o.close || o.concurrency))
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "publisher %s is a plugin: check, close and concurrency are for functions",
                        name);
    if (r == 0)
        r = set_delivery(&o, &wanted, err);
    if (r == 0)
        r = lib_check_timeouts(p->plugin, p->options, wanted.batch_timeout_ms, err);
    if (r == 0 && function)
        r = lib_function_set(function, &o, err);
    if (r == 0)
        p->delivery = wanted;
    return r;
}
