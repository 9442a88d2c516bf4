/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libini_config reads keys and values. It knows no lines of sections, merges sections that
 * differ only in case, takes no comment behind a section, and returns nothing once a line is
 * wrong. So it gets a copy in which every section has a number for its name and whatever was
 * found wrong is blank; we keep the names and the lines.
 */
#include "ini.h"

#include "text.h"

#include <outbox/abi.h>

#include <ini_configobj.h>
#include <ini_valueobj.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SPACES " \t\r\v\f"
/* Longer than any number below, so that a header can take it: "[123456]". */
#define NUMBER_MAX 32

struct reader {
    struct ini *ini;
    ini_report report;
    void *ctx;
    char *copy; /* what the library gets */
    size_t copy_n;
    size_t *lines; /* where each line of the copy begins */
    int n_lines;
    unsigned complaints;
};

/* Nobody reads more; and a file of junk must not cost minutes. */
#define COMPLAINTS_MAX 200

static void __attribute__((format(printf, 3, 4)))
complain(struct reader *r, int line, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    if (r->complaints++ >= COMPLAINTS_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    r->report(r->ctx, line, text);
}

void ini_free(struct ini *ini)
{
    if (!ini)
        return;
    for (size_t i = 0; i < ini->n_sections; i++) {
        struct ini_section *section = &ini->sections[i];
        for (size_t j = 0; j < section->n_entries; j++) {
            free(section->entries[j].key);
            free(section->entries[j].value);
        }
        free(section->entries);
        free(section->name);
    }
    free(ini->sections);
    free(ini);
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
    struct ini_section *grown =
        reallocarray(ini->sections, ini->n_sections + 1, sizeof *ini->sections);
    if (!grown)
        return OUTBOX_E_RETRY;
    ini->sections = grown;
    struct ini_section *section = &grown[ini->n_sections];
    *section = (struct ini_section){.line = line, .unreadable = unreadable};
    section->name = collapse(name, n);
    if (!section->name)
        return OUTBOX_E_RETRY;
    for (size_t i = 0; !unreadable && i < ini->n_sections; i++)
        if (strcasecmp(grown[i].name, section->name) == 0) {
            complain(r, line, "[%.100s] is there already, on line %d; join the two", section->name,
                     grown[i].line);
            break;
        }
    ini->n_sections++;
    return OUTBOX_OK;
}

/* A line that begins with `[`. */
static int take_header(struct reader *r, const char *line, size_t n, int number)
{
    const char *end = memchr(line, ']', n);
    if (!end) {
        complain(r, number, "this section's header has no `]`");
        return add_section(r, line + 1, n - 1, number, 1);
    }
    const char *rest = end + 1;
    size_t left = n - (size_t)(rest - line);
    bool spaced = left > 0 && strchr(SPACES, *rest);
    while (left > 0 && strchr(SPACES, *rest))
        rest++, left--;
    if (left > 0 && !(spaced && (*rest == ';' || *rest == '#')))
        complain(r, number, "there is something behind the `]` of this section's header");
    if (end == line + 1)
        complain(r, number, "this section has no name");
    return add_section(r, line + 1, (size_t)(end - line - 1), number, end == line + 1);
}

/* ---- the copy ---- */

static void append(struct reader *r, const char *text, size_t n)
{
    memcpy(r->copy + r->copy_n, text, n);
    r->copy_n += n;
}

static int copy_line(struct reader *r, const char *line, size_t n, int number)
{
    char header[NUMBER_MAX];
    size_t skip = 0;
    while (skip < n && strchr(SPACES, line[skip]) && line[skip] != '\0')
        skip++;
    line += skip;
    n -= skip;
    while (n > 0 && strchr(SPACES, line[n - 1]) && line[n - 1] != '\0')
        n--;
    if (n == 0 || line[0] == ';' || line[0] == '#')
        return OUTBOX_OK;
    if (!text_is_clean(line, n)) {
        complain(r, number,
                 memchr(line, '\0', n) ? "this line holds a NUL byte"
                                       : "this line is not valid UTF-8");
        return OUTBOX_OK;
    }
    if (line[0] != '[') {
        append(r, line, n);
        return OUTBOX_OK;
    }
    int e = take_header(r, line, n, number);
    if (e == 0) {
        int len = snprintf(header, sizeof header, "[%zu]", r->ini->n_sections);
        append(r, header, (size_t)len);
    }
    return e;
}

static int copy_lines(struct reader *r, const char *text, size_t n)
{
    int number = 1, e = OUTBOX_OK;
    for (size_t at = 0; at < n && e == 0; number++) {
        const char *newline = memchr(text + at, '\n', n - at);
        size_t len = newline ? (size_t)(newline - text) - at : n - at;
        r->lines[r->n_lines++] = r->copy_n;
        e = copy_line(r, text + at, len, number);
        append(r, "\n", 1);
        at += len + 1;
    }
    return e;
}

/* ---- the library ---- */

/* Line 1 is the first; its length is without the newline. */
static char *line_of_copy(const struct reader *r, int number, size_t *ret_n)
{
    size_t end = number < r->n_lines ? r->lines[number] : r->copy_n;
    *ret_n = end - r->lines[number - 1] - 1;
    return r->copy + r->lines[number - 1];
}

/* Which keys the lines before it gave to the same section, without case. */
static int first_line_of_key(const struct reader *r, const char *key, size_t n, int before)
{
    for (int number = before - 1; number > 0; number--) {
        size_t len;
        const char *line = line_of_copy(r, number, &len);
        if (len > 0 && line[0] == '[')
            break;
        if (len > n && strncasecmp(line, key, n) == 0 && strchr(SPACES "=", line[n]))
            return number;
    }
    return 0;
}

/* Says what the library found wrong, and blanks the line so that the rest can be read. */
static void take_error(struct reader *r, const char *error)
{
    unsigned code = 0;
    int number = 0;
    size_t n;
    if (sscanf(error, "Error (%u) on line %d", &code, &number) != 2 || number < 1 ||
        number > r->n_lines)
        return;
    char *line = line_of_copy(r, number, &n);
    if (n == 0 || line[0] == ' ')
        return; /* told already */
    const char *equal = memchr(line, '=', n);
    size_t key_n = equal ? (size_t)(equal - line) : n;
    while (key_n > 0 && strchr(SPACES, line[key_n - 1]))
        key_n--;
    int first = r->complaints < COMPLAINTS_MAX ? first_line_of_key(r, line, key_n, number) : 0;
    if (!equal)
        complain(r, number,
                 "no `=` in this line; a line is `key = value`, `[section]` or a "
                 "comment that begins with `;`");
    else if (key_n == 0)
        complain(r, number, "nothing stands before the `=`");
    else if (first)
        complain(r, number, "`%.*s` is set already, on line %d", key_n > 80 ? 80 : (int)key_n, line,
                 first);
    else
        complain(r, number, "cannot be read%s", strchr(error, ':') ? strchr(error, ':') : "");
    memset(line, ' ', n);
}

/* The parsed object, or NULL when lines had to be blanked (then *ret_again) or without memory. */
static struct ini_cfgobj *parse(struct reader *r, bool *ret_again)
{
    struct ini_cfgfile *file = NULL;
    struct ini_cfgobj *object = NULL;
    char **errors = NULL;
    bool ok = false;
    *ret_again = false;
    if (ini_config_file_from_mem(r->copy, (uint32_t)r->copy_n, &file) == 0 &&
        ini_config_create(&object) == 0) {
        ok = ini_config_parse(file, INI_STOP_ON_NONE,
                              INI_MS_DETECT | INI_MV1S_DETECT | INI_MV2S_DETECT,
                              INI_PARSE_NOWRAP | INI_PARSE_NO_C_COMMENTS, object) == 0;
        ok = ok && ini_config_error_count(object) == 0;
        if (!ok && ini_config_get_errors(object, &errors) == 0)
            for (size_t i = 0; errors && errors[i]; i++) {
                take_error(r, errors[i]);
                *ret_again = true;
            }
        ini_config_free_errors(errors);
    }
    if (file)
        ini_config_file_destroy(file);
    if (!ok && object)
        ini_config_destroy(object);
    return ok ? object : NULL;
}

static int take_value(struct ini_section *section, const char *key, struct value_obj *value)
{
    struct ini_entry *grown =
        reallocarray(section->entries, section->n_entries + 1, sizeof *section->entries);
    uint32_t line = 0;
    int error = 0;
    if (!grown)
        return OUTBOX_E_RETRY;
    section->entries = grown;
    struct ini_entry *entry = &grown[section->n_entries++];
    value_get_line(value, &line);
    entry->line = (int)line;
    entry->key = strdup(key);
    /* An empty value is none to the library. */
    char *text = ini_get_string_config_value(value, &error);
    entry->value = text ? text : strdup("");
    return entry->key && entry->value ? OUTBOX_OK : OUTBOX_E_RETRY;
}

static int take_section(struct reader *r, struct ini_cfgobj *object, size_t index)
{
    char number[NUMBER_MAX];
    int n = 0, error = 0, e = OUTBOX_OK;
    snprintf(number, sizeof number, "%zu", index + 1);
    char **keys = ini_get_attribute_list(object, number, &n, &error);
    for (int i = 0; keys && i < n && e == 0; i++) {
        struct value_obj *value = NULL;
        if (ini_get_config_valueobj(number, keys[i], object, INI_GET_FIRST_VALUE, &value) == 0 &&
            value)
            e = take_value(&r->ini->sections[index], keys[i], value);
    }
    if (keys)
        ini_free_attribute_list(keys);
    return e;
}

static void refuse_orphans(struct reader *r)
{
    for (int number = 1; number <= r->n_lines; number++) {
        size_t n;
        char *line = line_of_copy(r, number, &n);
        if (n > 0 && line[0] == '[')
            break;
        if (n > 0) {
            complain(r, number,
                     "this stands before the first section; put it below its "
                     "`[section]`");
            memset(line, ' ', n);
        }
    }
}

static size_t count_lines(const char *text, size_t n)
{
    size_t lines = 1;
    for (size_t i = 0; i < n; i++)
        lines += text[i] == '\n';
    return lines;
}

int ini_read(const char *text, size_t n, ini_report report, void *ctx, struct ini **ret)
{
    struct reader r = {.report = report, .ctx = ctx};
    struct ini_cfgobj *object = NULL;
    bool again = true;
    if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) /* a byte order mark */
        text += 3, n -= 3;
    r.ini = calloc(1, sizeof *r.ini);
    /* A header becomes longer only when its name was shorter than its number. */
    r.copy = malloc(n * 8 + NUMBER_MAX);
    r.lines = calloc(count_lines(text, n), sizeof *r.lines);
    int e = r.ini && r.copy && r.lines ? copy_lines(&r, text, n) : OUTBOX_E_RETRY;
    if (e == 0)
        refuse_orphans(&r);
    while (e == 0 && !object && again)
        object = parse(&r, &again);
    for (size_t i = 0; e == 0 && object && i < r.ini->n_sections; i++)
        e = take_section(&r, object, i);
    if (object)
        ini_config_destroy(object);
    free(r.copy);
    free(r.lines);
    if (r.complaints > COMPLAINTS_MAX)
        report(ctx, 0, "there are more mistakes of form than these");
    if (e < 0) {
        ini_free(r.ini);
        return e;
    }
    *ret = r.ini;
    return OUTBOX_OK;
}
