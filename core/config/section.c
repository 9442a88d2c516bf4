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
    int r = text ? value_expand(text, &expanded, &err) : OUTBOX_OK;
    if (r < 0)
        diag_error_from(s->diag, entry->line, entry->key, r, &err);
    free(text);
    return expanded;
}

bool section_setting(const struct section *s, const struct ini_entry *entry,
                     const struct setting *settings, void *base)
{
    struct outbox_err err = {.size = sizeof err};
    const struct setting *setting = setting_find(settings, entry->key);
    char *text = setting ? section_raw(s, entry) : NULL;
    int r = text ? setting_set(setting, text, base, &err) : OUTBOX_OK;
    if (r < 0)
        diag_error_from(s->diag, entry->line, entry->key, r, &err);
    free(text);
    return setting != NULL;
}

bool section_check_name(const struct section *s, const char *name, const char *of)
{
    struct outbox_err err = {.size = sizeof err};
    int r = name_check(name, of, &err);
    if (r < 0)
        diag_error_from(s->diag, s->ini->line, NULL, r, &err);
    return r == 0;
}

void section_unknown_key(const struct section *s, const struct ini_entry *entry,
                         const struct suggest *similar)
{
    struct suggest_hint hint;
    diag_error(s->diag, entry->line, "unknown key `%.80s` in [%s]%s", entry->key, s->ini->name,
               suggest_hint(similar, &hint));
}
