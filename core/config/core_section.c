/* SPDX-License-Identifier: Apache-2.0 */
#include "config/core_section.h"

#include "config/settings.h"

void core_section_check_delivery(const struct section *s, const struct delivery *delivery)
{
    struct outbox_err err = {.size = sizeof err};
    const struct ini_entry *low = section_find(s, "retry_min");
    const struct ini_entry *entry = low ? low : section_find(s, "retry_max");
    int r = delivery_check(delivery, &err);
    if (entry && r < 0) /* else another section has set both */
        diag_error_from(s->diag, entry->line, NULL, r, &err);
}

void core_section_relay(const struct section *s, const char *name)
{
    struct config *config = s->config;
    (void)name;
    for (size_t i = 0; i < s->ini->n_entries; i++) {
        const struct ini_entry *entry = &s->ini->entries[i];
        struct suggest similar = suggest_for(entry->key);
        if (section_setting(s, entry, settings_relay, config) ||
            section_setting(s, entry, delivery_settings, &config->delivery))
            continue;
        setting_suggest(settings_relay, &similar);
        setting_suggest(delivery_settings, &similar);
        section_unknown_key(s, entry, &similar);
    }
    core_section_check_delivery(s, &config->delivery);
}

void core_section_log(const struct section *s, const char *name)
{
    static const int levels[] = {OUTBOX_LOG_ERROR, OUTBOX_LOG_WARNING, OUTBOX_LOG_INFO,
                                 OUTBOX_LOG_DEBUG};
    struct settings_log log = {0};
    (void)name;
    diag_memory(s->diag, setting_defaults(settings_log, &log) == 0);
    for (size_t i = 0; i < s->ini->n_entries; i++) {
        const struct ini_entry *entry = &s->ini->entries[i];
        struct suggest similar = suggest_for(entry->key);
        if (section_setting(s, entry, settings_log, &log))
            continue;
        setting_suggest(settings_log, &similar);
        section_unknown_key(s, entry, &similar);
    }
    s->config->log_level = levels[log.level];
    s->config->log_format = log.format;
}
