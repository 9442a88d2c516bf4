/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libini_config reads keys and values, and gets only lines that it reads well: sections,
 * duplicates and mistakes are ours. It knows no lines of sections; its list of errors is too
 * short for duplicates (it writes behind it); a `!`, a control character or one that is not
 * ASCII in a key ends everything without an error; and its time grows with the square of the
 * number of keys. So it gets the lines of one section in portions, each under a number for its key.
 */
#include "config/ini.h"

#include "base/array.h"
#include "common/utf8.h"

#include <outbox/abi.h>

#include <ini_configobj.h>
#include <ini_valueobj.h>
#include <search.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SPACES " \t\r\v\f"
#define KEY_MAX 255 /* bytes */
#define PORTION 256 /* lines that the library gets at a time */
#define SECTION "outboxd"

/* A name that was there before, and where. */
struct seen {
    int line;
    char name[];
};

struct reader {
    struct ini *ini;
    struct diagnostics *diag;
    void *sections; /* struct seen, a tree */
    void *keys;     /* likewise, of the section that is being read */
    char *text;     /* the portion: the last n_lines entries of the last section */
    size_t text_n;
    size_t text_size;
    size_t n_lines;
};

void ini_free(struct ini *ini)
{
    if (!ini)
        return;
    for (size_t i = 0; i < ini->n_sections; i++) {
        struct ini_section *section = &ini->sections[i];
        for (size_t j = 0; j < section->n_entries; j++) {
            free(section->entries[j].key);
            if (section->entries[j].value) /* it may hold a secret */
                explicit_bzero(section->entries[j].value, strlen(section->entries[j].value));
            free(section->entries[j].value);
        }
        free(section->entries);
        free(section->name);
    }
    free(ini->sections);
    free(ini);
}

/* ---- names seen ---- */

static int compare_seen(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    return strcasecmp(x->name, y->name);
}

/* The line where the name was seen first, 0 if it is new, or OUTBOX_E_RETRY. */
static int see(void **tree, const char *name, size_t n, int line)
{
    struct seen *seen = malloc(sizeof *seen + n + 1);
    if (!seen)
        return OUTBOX_E_RETRY;
    seen->line = line;
    memcpy(seen->name, name, n);
    seen->name[n] = '\0';
    struct seen **node = tsearch(seen, tree, compare_seen);
    if (node && *node == seen)
        return 0;
    free(seen);
    return node ? (*node)->line : OUTBOX_E_RETRY;
}

/* ---- the library ---- */

/* Asks the library for the i-th line of the portion. It only gets lines that it should read, but
 * may still lose one: that is a mistake of the line, and its entry has no value. */
static int take_value(struct reader *r, struct ini_cfgobj *object, size_t i,
                      struct ini_entry *entry)
{
    char number[24];
    struct value_obj *value = NULL;
    char *text = NULL;
    int error = 0;
    snprintf(number, sizeof number, "%zu", i);
    if (ini_get_config_valueobj(SECTION, number, object, INI_GET_FIRST_VALUE, &value) == 0 && value)
        text = ini_get_string_config_value(value, &error);
    bool whole = text && *text == '='; /* the mark */
    if (whole)
        entry->value = strdup(text + 1);
    else
        diag_error(r->diag, entry->line, "this line cannot be read");
    if (text)
        explicit_bzero(text, strlen(text)); /* it may hold a secret */
    free(text);
    return whole && !entry->value ? OUTBOX_E_RETRY : OUTBOX_OK;
}

/* Entries without a value, among the last n of a section, are taken out. */
static void drop_lost(struct ini_section *section, size_t n)
{
    size_t kept = section->n_entries - n;
    for (size_t i = kept; i < section->n_entries; i++)
        if (section->entries[i].value)
            section->entries[kept++] = section->entries[i];
        else
            free(section->entries[i].key);
    section->n_entries = kept;
}

/* Reads the values of the lines collected so far. */
static int read_portion(struct reader *r)
{
    struct ini_cfgfile *file = NULL;
    struct ini_cfgobj *object = NULL;
    int e = OUTBOX_OK;
    if (r->n_lines == 0)
        return OUTBOX_OK;
    struct ini_section *section = &r->ini->sections[r->ini->n_sections - 1];
    struct ini_entry *entries = section->entries + section->n_entries - r->n_lines;
    if (ini_config_file_from_mem(r->text, (uint32_t)r->text_n, &file) != 0 ||
        ini_config_create(&object) != 0)
        e = OUTBOX_E_RETRY;
    else /* its result shows in what it gives */
        (void)ini_config_parse(file, INI_STOP_ON_NONE,
                               INI_MS_ERROR | INI_MV1S_DETECT | INI_MV2S_DETECT,
                               INI_PARSE_NOWRAP | INI_PARSE_NO_C_COMMENTS, object);
    for (size_t i = 0; i < r->n_lines && e == 0; i++)
        e = take_value(r, object, i, &entries[i]);
    drop_lost(section, r->n_lines);
    if (file)
        ini_config_file_destroy(file);
    if (object)
        ini_config_destroy(object);
    r->n_lines = 0;
    r->text_n = 0;
    return e;
}

/* Room for n bytes more; the old text, which may hold a secret, is overwritten. */
static int make_room(struct reader *r, size_t n)
{
    if (r->text_n + n <= r->text_size)
        return OUTBOX_OK;
    size_t size = 2 * (r->text_n + n);
    char *grown = malloc(size);
    if (!grown)
        return OUTBOX_E_RETRY;
    if (r->text) {
        memcpy(grown, r->text, r->text_n);
        explicit_bzero(r->text, r->text_n);
    }
    free(r->text);
    r->text = grown;
    r->text_size = size;
    return OUTBOX_OK;
}

/* A second `=` marks where the value begins: the library drops blanks there, and they tell whether
 * a `;` begins a comment. */
static int append(struct reader *r, const char *key, size_t key_n, const char *value,
                  size_t value_n, int line)
{
    struct ini_section *section = &r->ini->sections[r->ini->n_sections - 1];
    struct ini_entry *entry = array_add(&section->entries, &section->n_entries, sizeof *entry);
    if (!entry || !(entry->key = strndup(key, key_n)) || make_room(r, value_n + 64) < 0)
        return OUTBOX_E_RETRY;
    entry->line = line;
    r->text_n += (size_t)snprintf(r->text + r->text_n, 64,
                                  "%s%zu==", r->n_lines ? "" : "[" SECTION "]\n", r->n_lines);
    memcpy(r->text + r->text_n, value, value_n);
    r->text_n += value_n;
    r->text[r->text_n++] = '\n';
    return ++r->n_lines == PORTION ? read_portion(r) : OUTBOX_OK;
}

/* ---- sections ---- */

static char *collapse(const char *name, size_t n)
{
    char *out = malloc(n + 1);
    size_t len = 0;
    for (size_t i = 0; out && i < n; i++) {
        bool space = strchr(SPACES, name[i]) != NULL;
        if (space && (len == 0 || out[len - 1] == ' '))
            continue;
        out[len++] = space ? ' ' : name[i];
    }
    if (!out)
        return NULL;
    while (len > 0 && out[len - 1] == ' ')
        len--;
    out[len] = '\0';
    return out;
}

static int add_section(struct reader *r, const char *name, size_t n, int line, int unreadable)
{
    struct ini *ini = r->ini;
    int e = read_portion(r);
    tdestroy(r->keys, free);
    r->keys = NULL;
    if (e < 0)
        return e;
    struct ini_section *section = array_add(&ini->sections, &ini->n_sections, sizeof *section);
    if (!section)
        return OUTBOX_E_RETRY;
    section->line = line;
    section->unreadable = unreadable;
    section->name = collapse(name, n);
    if (!section->name)
        return OUTBOX_E_RETRY;
    if (unreadable)
        return OUTBOX_OK;
    int first = see(&r->sections, section->name, strlen(section->name), line);
    if (first > 0)
        diag_error(r->diag, line, "[%.100s] is there already, on line %d; join the two",
                   section->name, first);
    return first < 0 ? first : OUTBOX_OK;
}

/* A line that begins with `[`. */
static int take_header(struct reader *r, const char *line, size_t n, int number)
{
    const char *end = memchr(line, ']', n);
    if (!end) {
        diag_error(r->diag, number, "this section's header has no `]`");
        return add_section(r, line + 1, n - 1, number, 1);
    }
    const char *rest = end + 1;
    size_t left = n - (size_t)(rest - line);
    bool spaced = left > 0 && strchr(SPACES, *rest);
    while (left > 0 && strchr(SPACES, *rest))
        rest++, left--;
    if (left > 0 && !(spaced && (*rest == ';' || *rest == '#')))
        diag_error(r->diag, number, "there is something behind the `]` of this section's header");
    size_t blanks = 1;
    while (line + blanks < end && strchr(SPACES, line[blanks]))
        blanks++;
    bool nameless = line + blanks == end;
    if (nameless)
        diag_error(r->diag, number, "this section has no name");
    return add_section(r, line + 1, (size_t)(end - line - 1), number, nameless);
}

/* ---- lines ---- */

static int take_key(struct reader *r, const char *line, size_t n, int number)
{
    const char *equal = memchr(line, '=', n);
    size_t key_n = equal ? (size_t)(equal - line) : 0;
    while (key_n > 0 && strchr(SPACES, line[key_n - 1]))
        key_n--;
    if (!equal)
        diag_error(r->diag, number,
                   "no `=` in this line; a line is `key = value`, `[section]` or a "
                   "comment that begins with `;`");
    else if (r->ini->n_sections == 0)
        diag_error(r->diag, number,
                   "this stands before the first section; put it below its "
                   "`[section]`");
    else if (key_n == 0)
        diag_error(r->diag, number, "nothing stands before the `=`");
    else if (key_n > KEY_MAX)
        diag_error(r->diag, number, "the key before the `=` is longer than %d bytes", KEY_MAX);
    else {
        int first = see(&r->keys, line, key_n, number);
        if (first == 0)
            return append(r, line, key_n, equal + 1, n - (size_t)(equal + 1 - line), number);
        if (first < 0)
            return first;
        diag_error(r->diag, number, "`%.*s` is set already, on line %d", (int)key_n, line, first);
    }
    return OUTBOX_OK;
}

static int take_line(struct reader *r, const char *line, size_t n, int number)
{
    while (n > 0 && *line != '\0' && strchr(SPACES, *line))
        line++, n--;
    while (n > 0 && line[n - 1] != '\0' && strchr(SPACES, line[n - 1]))
        n--;
    if (n == 0 || line[0] == ';' || line[0] == '#')
        return OUTBOX_OK;
    if (!utf8_is_clean(line, n)) {
        diag_error(r->diag, number,
                   memchr(line, '\0', n) ? "this line holds a NUL byte"
                                         : "this line is not valid UTF-8");
        return OUTBOX_OK;
    }
    return line[0] == '[' ? take_header(r, line, n, number) : take_key(r, line, n, number);
}

int ini_read(const char *text, size_t n, struct diagnostics *diag, struct ini **ret)
{
    struct reader r = {.diag = diag};
    r.ini = calloc(1, sizeof *r.ini);
    int e = r.ini ? OUTBOX_OK : OUTBOX_E_RETRY;
    if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) /* a byte order mark */
        text += 3, n -= 3;
    int number = 1;
    for (size_t at = 0; at < n && e == 0; number++) {
        const char *newline = memchr(text + at, '\n', n - at);
        size_t len = newline ? (size_t)(newline - text) - at : n - at;
        e = take_line(&r, text + at, len, number);
        at += len + 1;
    }
    if (e == 0)
        e = read_portion(&r);
    tdestroy(r.sections, free);
    tdestroy(r.keys, free);
    if (r.text)
        explicit_bzero(r.text, r.text_size);
    free(r.text);
    if (e < 0) {
        ini_free(r.ini);
        return e;
    }
    *ret = r.ini;
    return OUTBOX_OK;
}
