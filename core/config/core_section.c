/* SPDX-License-Identifier: Apache-2.0 */
#include "config/core_section.h"

void core_section_read(const struct section *s, const struct settings *settings)
{
    struct outbox_cfg *cfg = options_new(&settings->options);
    if (!diag_memory(s->diag, cfg))
        return;
    for (size_t i = 0; i < s->ini->n_entries; i++) {
        const struct ini_entry *entry = &s->ini->entries[i];
        struct suggest similar = suggest_for(entry->key);
        if (section_option(s, entry, &settings->options, cfg))
            continue;
        options_suggest(&settings->options, &similar);
        section_unknown_key(s, entry, &similar);
    }
    diag_memory(s->diag, settings->apply(cfg, s->config) == 0);
    options_free(cfg);
}

void core_section_check_delivery(const struct section *s, const struct delivery *delivery)
{
    struct outbox_err err = {.size = sizeof err};
    const struct ini_entry *low = section_find(s, "retry_min");
    const struct ini_entry *entry = low ? low : section_find(s, "retry_max");
    if (entry) /* else another section has set both */
        diag_check(s->diag, entry->line, NULL, delivery_check(delivery, &err), &err);
}

void core_section_relay(const struct section *s, const char *name)
{
    (void)name;
    core_section_read(s, &settings_relay);
    if (s->config->ordering > 0)
        section_not_supported(s, "ordering", "ordering = key");
    if (s->config->on_failed > 0)
        section_not_supported(s, "on_failed", "on_failed = block");
    core_section_check_delivery(s, &s->config->delivery);
}

void core_section_log(const struct section *s, const char *name)
{
    (void)name;
    core_section_read(s, &settings_log);
}
