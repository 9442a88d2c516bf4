/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libini_config reads keys and values, and gets only lines that it reads well: sections,
 * duplicates and mistakes are ours. It knows no lines of sections; its list of errors is too
 * short for duplicates (it writes behind it); a `!`, a control character or one that is not
 * ASCII in a key ends everything without an error; and its time grows with the square of the
 * number of keys. So it gets one line at a time, under a key of ours.
 */
#include "config/ini.h"

#include "base/array.h"
#include "common/utf8.h"

#include <outbox/abi.h>

#include <ini_configobj.h>
#include <ini_valueobj.h>
#include <search.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SPACES " \t\r\v\f"
#define KEY_MAX 255 /* bytes */

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

/* Case does not matter, but behind a period: there stands the name or the value of a header. */
static int compare_seen(const void *a, const void *b)
{
    const struct seen *x = a, *y = b;
    size_t n = strcspn(x->name, ".") + 1;
    int c = strncasecmp(x->name, y->name, n);
    return c != 0 || x->name[n - 1] == '\0' ? c : strcmp(x->name + n, y->name + n);
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

/* ---- values ---- */

/*
 * What the library reads from one line; *ret stays NULL if that is nothing. A second `=` marks
 * where the value begins: the library drops blanks there, and they tell whether a `;` begins a
 * comment.
 */
static int read_value(const char *value, size_t n, char **ret)
{
    static const char before[] = "[s]\nk==";
    struct ini_cfgfile *file = NULL;
    struct ini_cfgobj *object = NULL;
    struct value_obj *found = NULL;
    size_t size = sizeof before + n;
    char *text = malloc(size), *read = NULL;
    int e = OUTBOX_E_RETRY;
    if (!text)
        return e;
    memcpy(text, before, sizeof before - 1);
    memcpy(text + sizeof before - 1, value, n);
    text[size - 1] = '\n';
    if (ini_config_file_from_mem(text, (uint32_t)size, &file) == 0 &&
        ini_config_create(&object) == 0) {
        /* the results show in what is read */
        (void)ini_config_parse(file, INI_STOP_ON_NONE,
                               INI_MS_ERROR | INI_MV1S_DETECT | INI_MV2S_DETECT,
                               INI_PARSE_NOWRAP | INI_PARSE_NO_C_COMMENTS, object);
        (void)ini_get_config_valueobj("s", "k", object, INI_GET_FIRST_VALUE, &found);
        read = found ? ini_get_string_config_value(found, &e) : NULL;
        e = OUTBOX_OK;
    }
    if (read && *read == '=')
        *ret = memmove(read, read + 1, strlen(read));
    else
        free(read);
    if (file)
        ini_config_file_destroy(file);
    if (object)
        ini_config_destroy(object);
    explicit_bzero(text, size); /* it may hold a secret */
    free(text);
    return e;
}

/* The library only gets lines that it should read, but may still lose one: that is a mistake. */
static int append(struct reader *r, const char *key, size_t key_n, const char *value,
                  size_t value_n, int line)
{
    struct ini_section *section = &r->ini->sections[r->ini->n_sections - 1];
    struct ini_entry *entry = array_add(&section->entries, &section->n_entries, sizeof *entry);
    if (!entry || !(entry->key = strndup(key, key_n)))
        return OUTBOX_E_RETRY;
    entry->line = line;
    int e = read_value(value, value_n, &entry->value);
    if (e == 0 && !entry->value) {
        diag_error(r->diag, line, "this line cannot be read");
        free(entry->key);
        section->n_entries--;
    }
    return e;
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

static int add_section(struct reader *r, const char *name, size_t n, int line, bool unreadable)
{
    struct ini *ini = r->ini;
    tdestroy(r->keys, free);
    r->keys = NULL;
    struct ini_section *section = array_add(&ini->sections, &ini->n_sections, sizeof *section);
    if (!section)
        return OUTBOX_E_RETRY;
    section->line = line;
    section->name = collapse(name, n);
    if (!section->name)
        return OUTBOX_E_RETRY;
    section->unreadable = unreadable || !*section->name;
    if (section->unreadable && !unreadable)
        diag_error(r->diag, line, "this section has no name");
    if (section->unreadable)
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
        return add_section(r, line + 1, n - 1, number, true);
    }
    const char *rest = end + 1;
    while (rest < line + n && strchr(SPACES, *rest))
        rest++;
    if (rest < line + n && (rest == end + 1 || (*rest != ';' && *rest != '#')))
        diag_error(r->diag, number, "there is something behind the `]` of this section's header");
    return add_section(r, line + 1, (size_t)(end - line - 1), number, false);
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
    tdestroy(r.sections, free);
    tdestroy(r.keys, free);
    if (e < 0) {
        ini_free(r.ini);
        return e;
    }
    *ret = r.ini;
    return OUTBOX_OK;
}
