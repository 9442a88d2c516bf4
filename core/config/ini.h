/* SPDX-License-Identifier: Apache-2.0 */
/* ini.h - the text of a configuration file as sections, keys and raw values with their lines. */
#pragma once

#include "config/diagnostics.h"

struct ini_entry {
    char *key;
    char *value; /* raw: what follows the `=`, with blanks, quotes, comment and ${} */
    int line;
};

struct ini_section {
    char *name; /* blanks inside made one space: "publisher mail" */
    int line;
    bool unreadable;           /* its header is broken, so that its keys belong nowhere */
    struct ini_entry *entries; /* in the order of the file */
    size_t n_entries;
};

struct ini {
    struct ini_section *sections;
    size_t n_sections;
};

/*
 * Reports every mistake of form (not UTF-8, NUL, no `=`, duplicate key or section ...) and
 * gives what is readable besides. OUTBOX_E_RETRY only without memory.
 */
int ini_read(const char *text, size_t n, struct diagnostics *diag, struct ini **ret);
void ini_free(struct ini *ini);
