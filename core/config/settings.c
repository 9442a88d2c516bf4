/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - the core's own keys: [relay], [log], and what publishers share with it. */
#include "common/utf8.h"
#include "config/load.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define TEXT_MAX 4096

static const char *const orderings[] = {"none", "key", NULL};
static const char *const on_failed[] = {"skip", "block", NULL};
static const char *const levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const formats[] = {"logfmt", "json", NULL};

#define IN_CONFIG(field) offsetof(struct config, field)
#define IN_DELIVERY(field) offsetof(struct delivery, field)

static const struct setting relay_settings[] = {
    {"name", SETTING_TEXT, IN_CONFIG(name), 1, 100, NULL, 0},
    {"plugin_dir", SETTING_TEXT, IN_CONFIG(plugin_dir), 1, TEXT_MAX, NULL, 0},
    {"workers", SETTING_U32, IN_CONFIG(workers), 1, 64, NULL, 0},
    {"batch_size", SETTING_U32, IN_CONFIG(delivery.batch_size), 1, 100000, NULL, 0},
    {"batch_bytes", SETTING_SIZE, IN_CONFIG(batch_bytes), 1, INT64_C(1) << 40, NULL, 0},
    {"max_message", SETTING_SIZE, IN_CONFIG(max_message), 1, INT64_C(1) << 31, NULL, 0},
    {"batch_timeout", SETTING_DURATION, IN_CONFIG(delivery.batch_timeout_ms), 10, HOUR, NULL, 0},
    {"lease", SETTING_DURATION, IN_CONFIG(lease_ms), SECOND, DAY, NULL, 0},
    {"poll_interval", SETTING_DURATION, IN_CONFIG(poll_interval_ms), 10, HOUR, NULL, 0},
    {"max_retries", SETTING_U32, IN_CONFIG(delivery.max_retries), 1, 1000000, NULL, 0},
    {"retry_min", SETTING_DURATION, IN_CONFIG(delivery.retry_min_ms), 1, 30 * DAY, NULL, 0},
    {"retry_max", SETTING_DURATION, IN_CONFIG(delivery.retry_max_ms), 1, 30 * DAY, NULL, 0},
    {"ordering", SETTING_CHOICE, IN_CONFIG(ordering), 0, 0, orderings, 1},
    {"on_failed", SETTING_CHOICE, IN_CONFIG(on_failed), 0, 0, on_failed, 1},
    {"retention", SETTING_DURATION, IN_CONFIG(retention_ms), 0, OUTBOX_NEVER, NULL, 0},
    {"retention_failed", SETTING_DURATION, IN_CONFIG(retention_failed_ms), SECOND, OUTBOX_NEVER,
     NULL, 0},
    {"shutdown_timeout", SETTING_DURATION, IN_CONFIG(shutdown_timeout_ms), 100, HOUR, NULL, 0},
    {NULL, 0, 0, 0, 0, NULL, 0},
};

static const struct setting log_settings[] = {
    {"level", SETTING_CHOICE, IN_CONFIG(log_level), 0, 0, levels, 0},
    {"format", SETTING_CHOICE, IN_CONFIG(log_format), 0, 0, formats, 0},
    {NULL, 0, 0, 0, 0, NULL, 0},
};

const struct setting publisher_settings[] = {
    {"batch_size", SETTING_U32, IN_DELIVERY(batch_size), 1, 100000, NULL, 0},
    {"batch_timeout", SETTING_DURATION, IN_DELIVERY(batch_timeout_ms), 10, HOUR, NULL, 0},
    {"max_retries", SETTING_U32, IN_DELIVERY(max_retries), 1, 1000000, NULL, 0},
    {"retry_min", SETTING_DURATION, IN_DELIVERY(retry_min_ms), 1, 30 * DAY, NULL, 0},
    {"retry_max", SETTING_DURATION, IN_DELIVERY(retry_max_ms), 1, 30 * DAY, NULL, 0},
    {"workers", SETTING_LATER, 0, 0, 0, NULL, 0},
    {"rate_limit", SETTING_LATER, 0, 0, 0, NULL, 0},
    {NULL, 0, 0, 0, 0, NULL, 0},
};

const struct setting *setting_find(const struct setting *settings, const char *key)
{
    for (; settings->name; settings++)
        if (strcmp(settings->name, key) == 0)
            return settings;
    return NULL;
}

void setting_names(const struct setting *settings, struct suggest *nearest)
{
    for (; settings->name; settings++)
        suggest_try(nearest, settings->name);
}

static bool is_number(const struct setting *s)
{
    return s->type == SETTING_U32 || s->type == SETTING_DURATION || s->type == SETTING_SIZE;
}

/* As it would stand in the file. */
static const char *show_number(const struct setting *s, int64_t n, struct value_text *buffer)
{
    if (s->type == SETTING_SIZE)
        return value_show_size(n, buffer);
    if (s->type == SETTING_DURATION)
        return value_show_duration(n, buffer);
    snprintf(buffer->text, sizeof buffer->text, "%" PRId64, n);
    return buffer->text;
}

static void apply_number(struct loader *l, const struct setting *s, const struct ini_entry *entry,
                         const char *text, void *to)
{
    struct outbox_err err = {.size = sizeof err};
    struct value_text low = {{0}}, high = {{0}};
    int64_t n;
    int r = s->type == SETTING_U32    ? value_int(text, &n, &err)
            : s->type == SETTING_SIZE ? value_size(text, &n, &err)
                                      : value_duration(text, &n, &err);
    if (r < 0) {
        diag_error(l, entry->line, "%s: %s", s->name, err.text);
        return;
    }
    if (n < s->min || n > s->max) {
        diag_error(l, entry->line, "%s = %s is out of range; it must be %s to %s", s->name, text,
                   show_number(s, s->min, &low), show_number(s, s->max, &high));
        return;
    }
    if (s->type == SETTING_U32) {
        uint32_t narrow = (uint32_t)n;
        memcpy(to, &narrow, sizeof narrow);
    } else {
        memcpy(to, &n, sizeof n); /* int64_t, or a uint64_t that is not negative */
    }
}

int config_check_numbers(const struct config *config, struct outbox_err *err)
{
    for (const struct setting *s = relay_settings; s->name; s++) {
        const char *from = (const char *)config + s->offset;
        struct value_text low = {{0}}, high = {{0}}, is = {{0}};
        uint32_t narrow;
        int64_t n;
        if (!is_number(s))
            continue;
        memcpy(&narrow, from, sizeof narrow);
        if (s->type != SETTING_U32)
            memcpy(&n, from, sizeof n);
        else
            n = narrow;
        if (n < s->min || n > s->max)
            return outbox_fail(err, OUTBOX_E_CONFIG, "%s (%s) is out of range; it must be %s to %s",
                               s->name, show_number(s, n, &is), show_number(s, s->min, &low),
                               show_number(s, s->max, &high));
    }
    return OUTBOX_OK;
}

static void apply_choice(struct loader *l, const struct setting *s, const struct ini_entry *entry,
                         const char *text, void *to)
{
    struct suggest nearest = suggest_for(text);
    struct suggest_hint hint;
    char all[128] = "";
    for (int i = 0; s->choices[i]; i++) {
        size_t used = strlen(all);
        if (strcmp(text, s->choices[i]) == 0) {
            if (s->supported && i >= s->supported)
                diag_error(l, entry->line, "%s = %s is not supported yet", s->name, text);
            memcpy(to, &i, sizeof i);
            return;
        }
        suggest_try(&nearest, s->choices[i]);
        snprintf(all + used, sizeof all - used, "%s%s", used ? " | " : "", s->choices[i]);
    }
    diag_error(l, entry->line, "%s: `%.80s` is none of %s%s", s->name, text, all,
               suggest_hint(&nearest, &hint));
}

static void apply_text(struct loader *l, const struct setting *s, const struct ini_entry *entry,
                       const char *text, void *to)
{
    char **place = to;
    char shown[TEXT_MAX + 1];
    size_t n = strlen(text);
    if (n == 0 || n > (size_t)s->max) {
        diag_error(l, entry->line, "%s is %s; it must have 1 to %" PRId64 " bytes", s->name,
                   n == 0 ? "empty" : "too long", s->max);
        return;
    }
    utf8_printable(text, n, shown, sizeof shown);
    if (strcmp(shown, text) != 0) {
        diag_error(l, entry->line, "%s holds a character that cannot be printed", s->name);
        return;
    }
    free(*place);
    *place = strdup(text);
    l->no_memory |= !*place;
}

void setting_apply(struct loader *l, const struct setting *s, const struct ini_entry *entry,
                   void *base)
{
    void *to = (char *)base + s->offset;
    if (s->type == SETTING_LATER) {
        diag_error(l, entry->line, "%s is not supported yet", s->name);
        return;
    }
    char *text = entry_text(l, entry);
    if (!text)
        return;
    if (s->type == SETTING_CHOICE)
        apply_choice(l, s, entry, text, to);
    else if (s->type == SETTING_TEXT)
        apply_text(l, s, entry, text, to);
    else
        apply_number(l, s, entry, text, to);
    free(text);
}

static void load_settings(struct loader *l, const struct ini_section *section,
                          const struct setting *settings)
{
    for (size_t i = 0; i < section->n_entries; i++) {
        const struct ini_entry *entry = &section->entries[i];
        const struct setting *s = setting_find(settings, entry->key);
        struct suggest nearest = suggest_for(entry->key);
        struct suggest_hint hint;
        if (s) {
            setting_apply(l, s, entry, l->config);
            continue;
        }
        setting_names(settings, &nearest);
        diag_error(l, entry->line, "unknown key `%.80s` in [%s]%s", entry->key, section->name,
                   suggest_hint(&nearest, &hint));
    }
}

void check_delivery(struct loader *l, const struct ini_section *section,
                    const struct delivery *delivery)
{
    const struct ini_entry *low = entry_find(section, "retry_min");
    const struct ini_entry *high = entry_find(section, "retry_max");
    struct value_text a, b;
    if ((low || high) && delivery->retry_min_ms > delivery->retry_max_ms)
        diag_error(l, low ? low->line : high->line, "retry_min (%s) is more than retry_max (%s)",
                   value_show_duration(delivery->retry_min_ms, &a),
                   value_show_duration(delivery->retry_max_ms, &b));
}

void load_relay(struct loader *l, const struct ini_section *section)
{
    load_settings(l, section, relay_settings);
    check_delivery(l, section, &l->config->delivery);
}

void load_log(struct loader *l, const struct ini_section *section)
{
    static const int numbers[] = {OUTBOX_LOG_ERROR, OUTBOX_LOG_WARNING, OUTBOX_LOG_INFO,
                                  OUTBOX_LOG_DEBUG};
    l->config->log_level = 2; /* an index while reading */
    load_settings(l, section, log_settings);
    l->config->log_level = numbers[l->config->log_level];
}
