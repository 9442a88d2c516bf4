/* SPDX-License-Identifier: Apache-2.0 */
#include "config/section.h"

#include "base/name.h"
#include "base/value.h"

#include <stdlib.h>
#include <string.h>

const struct ini_entry *section_find(const struct section *s, const char *key)
{
    for (size_t i = 0; i < s->ini->n_entries; i++)
        if (strcmp(s->ini->entries[i].key, key) == 0)
            return &s->ini->entries[i];
    return NULL;
}

char *section_raw(const struct section *s, const struct ini_entry *entry)
{
    char *text = value_unquote(entry->value);
    diag_memory(s->diag, text);
    return text;
}

char *section_text(const struct section *s, const struct ini_entry *entry)
{
    struct outbox_err err = {.size = sizeof err};
    char *expanded = NULL;
    char *text = section_raw(s, entry);
    if (text)
        diag_check(s->diag, entry->line, entry->key, value_expand(text, &expanded, &err), &err);
    free(text);
    return expanded;
}

static bool is_empty(const struct outbox_cfg *options, const struct outbox_option *option)
{
    if (option->type == OUTBOX_OPT_TEXT)
        return options_text(options, option->name).n == 0;
    return option->type == OUTBOX_OPT_LIST && options_count(options, option->name) == 0;
}

/* The text of an entry holds a secret, and others can read the file. */
static void exposed(const struct section *s, const struct ini_entry *entry,
                    const struct outbox_option *option, const char *text)
{
    bool named = (option->flags & OUTBOX_OPT_SECRET) || !value_holds_password(text);
    const char *what = named ? "is a secret" : "holds a password";
    unsigned mode = (unsigned)s->file_mode;
    if (option->type == OUTBOX_OPT_TEXT)
        diag_error(s->diag, entry->line,
                   "%s %s, but others can read this file (mode %04o); chmod o-rwx it, or set "
                   "%s_file",
                   entry->key, what, mode, option->name);
    else
        diag_error(s->diag, entry->line,
                   "%s %s, but others can read this file (mode %04o); chmod o-rwx it, or name an "
                   "environment variable here, ${NAME}",
                   entry->key, what, mode);
}

bool section_option(const struct section *s, const struct ini_entry *entry,
                    const struct plugin *plugin, struct outbox_cfg *options)
{
    struct outbox_err err = {.size = sizeof err};
    const struct outbox_option *option =
        descriptor_find_option(plugin, entry->key, strlen(entry->key));
    char *text = option ? section_raw(s, entry) : NULL;
    if (!text)
        return option != NULL;
    bool secret = option_value_spells_secret(option, entry->key, text);
    if (secret && *text && (s->file_mode & 007))
        exposed(s, entry, option, text);
    int r = options_set(options, entry->key, text, &err);
    if (diag_check(s->diag, entry->line, entry->key, r, &err)) {
        options_set_line(options, entry->key, entry->line);
        if ((option->flags & OUTBOX_OPT_REQUIRED) && is_empty(options, option))
            diag_error(s->diag, entry->line, "%s is empty: %s", option->name, option->help);
    }
    if (secret)
        explicit_bzero(text, strlen(text));
    free(text);
    return true;
}

void section_not_supported(const struct section *s, const char *key, const char *what)
{
    const struct ini_entry *entry = section_find(s, key);
    if (entry)
        diag_error(s->diag, entry->line, "%s is not supported yet", what);
}

bool section_check_name(const struct section *s, const char *of)
{
    struct outbox_err err = {.size = sizeof err};
    return diag_check(s->diag, s->ini->line, NULL, name_check(s->name, of, &err), &err);
}

void section_unknown_key(const struct section *s, const struct ini_entry *entry,
                         struct suggest *similar)
{
    diag_error(s->diag, entry->line, "unknown key `%.80s` in [%s]%s", entry->key, s->ini->name,
               suggest_hint(similar));
}

void section_settings(const struct section *s, const struct settings *settings)
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
    options_free(s->config->settings[settings->index]);
    s->config->settings[settings->index] = cfg;
}

void section_check_delivery(const struct section *s, const struct delivery *delivery)
{
    struct outbox_err err = {.size = sizeof err};
    const struct ini_entry *low = section_find(s, "retry_min");
    const struct ini_entry *entry = low ? low : section_find(s, "retry_max");
    if (entry) /* else another section has set both */
        diag_check(s->diag, entry->line, NULL, delivery_check(delivery, &err), &err);
}

void section_relay(const struct section *s)
{
    section_settings(s, &settings_relay);
    if (s->config->ordering > 0)
        section_not_supported(s, "ordering", "ordering = key");
    if (s->config->on_failed > 0)
        section_not_supported(s, "on_failed", "on_failed = block");
    section_check_delivery(s, &s->config->delivery);
}

void section_log(const struct section *s)
{
    section_settings(s, &settings_log);
}
