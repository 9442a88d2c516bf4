/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config.h"

#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

#define NUMBER DELIVERY_NUMBER
#define LINE(name, max, help)                                \
    {                                                        \
        name, NULL, help, NULL, 1, max, OPTION_VALUE_LINE, 0 \
    }
#define CHOICE(name, deflt, choices, help)                     \
    {                                                          \
        name, deflt, help, choices, 0, 0, OUTBOX_OPT_CHOICE, 0 \
    }
#define SETTINGS(index, section, table, apply)                     \
    {                                                              \
        index, section,                                            \
            {.desc = {.options = table,                            \
                      .n_options = sizeof table / sizeof table[0], \
                      .option_stride = sizeof table[0]}},          \
            apply                                                  \
    }

static const char *const orderings[] = {"none", "key", NULL};
static const char *const on_failed[] = {"skip", "block", NULL};
static const char *const unrouted[] = {"hold", "fail", NULL};
static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const formats[] = {"logfmt", "json", NULL};

/* ---- [relay] ---- */

static const struct outbox_option relay[] = {
    LINE("name", 100, "The name of the relay, for people; default: the name of the machine."),
    LINE("plugin_dir", 4096, "The folder of the plugins; default: the folder of the installation."),
    NUMBER(INT, "workers", "2", 1, 64, "Threads that claim and publish."),
    NUMBER(SIZE, "batch_bytes", "16M", 1, INT64_C(1) << 40,
           "How many bytes a batch has at most; a larger message has a batch of its own."),
    NUMBER(SIZE, "max_message", "64M", 1, INT64_C(1) << 31,
           "A message with a larger payload fails at once, and is not loaded."),
    NUMBER(INT, "max_headers", "1000", 1, 1000000, "A message with more headers fails at once."),
    NUMBER(SIZE, "max_header_bytes", "256K", 64, INT64_C(1) << 30,
           "A message whose headers have more bytes, as JSON, fails at once, and is not loaded."),
    NUMBER(DURATION, "lease", "30s", SECOND, DAY,
           "How long the messages of a relay that died stay claimed."),
    NUMBER(DURATION, "poll_interval", "1s", 10, HOUR,
           "How often an idle relay looks for messages if the store does not wake it."),
    {"check_plugins", "no",
     "Whether to look, at each call, if plugins keep the rules of their interface; batches take "
     "longer.",
     NULL, 0, 0, OUTBOX_OPT_BOOL, 0},
    CHOICE("ordering", "none", orderings,
           "Whether messages of one key keep their order; `key` is not supported yet."),
    CHOICE("on_failed", "skip", on_failed,
           "What a failed message does to others of its key; `block` is not supported yet."),
    NUMBER(
        DURATION, "retention", "1d", 0, OUTBOX_NEVER,
        "How long processed messages are kept; 0: they are deleted as soon as they are published."),
    NUMBER(DURATION, "retention_failed", "never", SECOND, OUTBOX_NEVER,
           "How long failed messages are kept."),
    NUMBER(DURATION, "shutdown_timeout", "30s", 100, HOUR,
           "How long the relay may take to stop after SIGTERM."),
    DELIVERY_OPTIONS,
};

/* Replaces *to when the file sets the option. */
static int apply_text(const struct outbox_cfg *cfg, const char *name, char **to)
{
    if (!options_given(cfg, name))
        return OUTBOX_OK;
    free(*to);
    *to = strdup(options_text(cfg, name).p);
    return *to ? OUTBOX_OK : OUTBOX_E_RETRY;
}

static int apply_relay(const struct outbox_cfg *cfg, struct config *config)
{
    config->workers = (uint32_t)options_int(cfg, "workers");
    config->batch_bytes = (uint64_t)options_int(cfg, "batch_bytes");
    config->max_message = (uint64_t)options_int(cfg, "max_message");
    config->max_headers = (uint32_t)options_int(cfg, "max_headers");
    config->max_header_bytes = (uint64_t)options_int(cfg, "max_header_bytes");
    config->lease_ms = options_int(cfg, "lease");
    config->poll_interval_ms = options_int(cfg, "poll_interval");
    config->check_plugins = options_int(cfg, "check_plugins") != 0;
    config->ordering = options_choice(cfg, "ordering");
    config->on_failed = options_choice(cfg, "on_failed");
    config->retention_ms = options_int(cfg, "retention");
    config->retention_failed_ms = options_int(cfg, "retention_failed");
    config->shutdown_timeout_ms = options_int(cfg, "shutdown_timeout");
    delivery_apply(cfg, true, &config->delivery);
    int r = apply_text(cfg, "name", &config->name);
    return r < 0 ? r : apply_text(cfg, "plugin_dir", &config->plugin_dir);
}

const struct settings settings_relay = SETTINGS(0, "relay", relay, apply_relay);

/* ---- [router] ---- */

static const struct outbox_option router[] = {
    /* route_section.c reads it */
    {"fallback", NULL, "The one publisher of the messages that no route takes.", NULL, 0, 0,
     OUTBOX_OPT_LIST, 0},
    CHOICE("unrouted", "hold", unrouted,
           "What becomes of a message without a publisher: it is kept and routed again every 30 "
           "seconds, or it fails."),
};

static int apply_router(const struct outbox_cfg *cfg, struct config *config)
{
    config->unrouted_fail = options_choice(cfg, "unrouted");
    return OUTBOX_OK;
}

const struct settings settings_router = SETTINGS(1, "router", router, apply_router);

/* ---- [log] ---- */

static const struct outbox_option log_options[] = {
    CHOICE("level", "info", levels, "The least important lines that are logged."),
    CHOICE("format", "logfmt", formats,
           "How a line is written: words `key=value`, or one JSON object."),
};

static int apply_log(const struct outbox_cfg *cfg, struct config *config)
{
    static const int numbers[] = {OUTBOX_LOG_ERROR, OUTBOX_LOG_WARNING, OUTBOX_LOG_INFO,
                                  OUTBOX_LOG_DEBUG}; /* of `levels` */
    _Static_assert(sizeof numbers / sizeof numbers[0] == sizeof levels / sizeof levels[0] - 1,
                   "every level has its number");
    config->log_level = numbers[options_choice(cfg, "level")];
    config->log_format = options_choice(cfg, "format");
    return OUTBOX_OK;
}

const struct settings settings_log = SETTINGS(2, "log", log_options, apply_log);

int settings_apply_defaults(struct config *config)
{
    const struct settings *const all[] = {&settings_relay, &settings_router, &settings_log};
    int r = OUTBOX_OK;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && r == 0; i++) {
        struct outbox_cfg *cfg = options_new(&all[i]->options);
        r = cfg ? all[i]->apply(cfg, config) : OUTBOX_E_RETRY;
        config->settings[all[i]->index] = cfg;
    }
    return r;
}
