/* SPDX-License-Identifier: Apache-2.0 */
#include "config/settings.h"

#include "config/config.h"

#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

static const char *const orderings[] = {"none", "key", NULL};
static const char *const on_failed[] = {"skip", "block", NULL};
static const char *const unrouted[] = {"hold", "fail", NULL};
static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const formats[] = {"logfmt", "json", NULL};

#define TEXT(name, max, member) SETTING_NUMBER(TEXT, name, NULL, 1, max, config, member)
#define NUMBER(type, name, deflt, min, max, member) \
    SETTING_NUMBER(type, name, deflt, min, max, config, member)

const struct setting settings_relay[] = {
    TEXT("name", 100, name), /* its default is the host's name */
    TEXT("plugin_dir", 4096, plugin_dir),
    NUMBER(INT, "workers", "2", 1, 64, workers),
    NUMBER(SIZE, "batch_bytes", "16M", 1, INT64_C(1) << 40, batch_bytes),
    NUMBER(SIZE, "max_message", "64M", 1, INT64_C(1) << 31, max_message),
    NUMBER(DURATION, "lease", "30s", SECOND, DAY, lease_ms),
    NUMBER(DURATION, "poll_interval", "1s", 10, HOUR, poll_interval_ms),
    SETTING_CHOICE("ordering", "none", orderings, 1, config, ordering),
    SETTING_CHOICE("on_failed", "skip", on_failed, 1, config, on_failed),
    NUMBER(DURATION, "retention", "1d", 0, OUTBOX_NEVER, retention_ms),
    NUMBER(DURATION, "retention_failed", "never", SECOND, OUTBOX_NEVER, retention_failed_ms),
    NUMBER(DURATION, "shutdown_timeout", "30s", 100, HOUR, shutdown_timeout_ms),
    SETTING_END,
};

const struct setting settings_router[] = {
    SETTING_CHOICE("unrouted", "hold", unrouted, 0, config, unrouted_fail),
    SETTING_END,
};

const struct setting settings_log[] = {
    SETTING_CHOICE("level", "info", levels, 0, settings_log, level),
    SETTING_CHOICE("format", "logfmt", formats, 0, settings_log, format),
    SETTING_END,
};
