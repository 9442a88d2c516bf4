/* SPDX-License-Identifier: Apache-2.0 */
#include "common/headers.h"

#include "common/message_json.h"
#include "common/utf8.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Deeper than one level is refused anyway; this bounds the parser's own memory. */
#define DEPTH_MAX 8

static int defect(struct outbox_str *why, const char *text)
{
    why->p = text;
    why->n = strlen(text);
    return 1;
}

/* ---- what json-c reads wrongly: it cuts a name at \u0000, and whole numbers to 64 bits ---- */

#define DIGITS_MAX 18 /* fit into 64 bits, whatever they are */

static const char *skip_blanks(const char *p, const char *end)
{
    while (p < end && strchr(" \t\r\n", *p))
        p++;
    return p;
}

/* Behind the string that begins at p, or the end. *ret_nul: whether \u0000 is in it. */
static const char *skip_string(const char *p, const char *end, bool *ret_nul)
{
    *ret_nul = false;
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\' && p + 1 < end) {
            *ret_nul |= end - p > 5 && memcmp(p, "\\u0000", 6) == 0;
            p++;
        }
    return p < end ? p + 1 : end;
}

/* Behind the whole number at p; p itself where there is none, or one that json-c keeps as it is. */
static const char *skip_long_number(const char *p, const char *end)
{
    const char *digits = p < end && *p == '-' ? p + 1 : p, *behind = digits;
    while (behind < end && *behind >= '0' && *behind <= '9')
        behind++;
    bool is_long = behind - digits > DIGITS_MAX && *digits != '0';
    return is_long && (behind == end || !strchr(".eE", *behind)) ? behind : p;
}

/* Copies the text, with quotes around long numbers: a number's text is the header's value anyway.
 * `out` has twice the room, which two more for each number of so many digits do not fill. */
static int repair(const char *p, size_t n, char *out, size_t *ret_n, struct outbox_str *why)
{
    const char *end = p + n, *next;
    char *o = out;
    for (; p < end; p = next) {
        bool nul = false;
        next = *p == '"' ? skip_string(p, end, &nul) : *p == ':' ? skip_blanks(p + 1, end) : p + 1;
        o = mempcpy(o, p, (size_t)(next - p));
        if (nul) {
            const char *colon = skip_blanks(next, end);
            if (colon < end && *colon == ':')
                return defect(why, "headers: a name holds a NUL");
        }
        const char *behind = *p == ':' ? skip_long_number(next, end) : next;
        if (behind > next) {
            *o++ = '"';
            o = mempcpy(o, next, (size_t)(behind - next));
            *o++ = '"';
            next = behind;
        }
    }
    *ret_n = (size_t)(o - out);
    return 0;
}

/* ---- reading ---- */

static int copy_object(struct json_object *object, struct arena *arena,
                       const struct outbox_header **ret, uint64_t *ret_n, struct outbox_str *why)
{
    size_t n = (size_t)json_object_object_length(object);
    struct outbox_header *headers = arena_array(arena, n ? n : 1, sizeof *headers);
    if (!headers)
        return OUTBOX_E_RETRY;
    size_t i = 0;
    json_object_object_foreach (object, name, value) {
        const char *text;
        size_t len;
        if (json_object_is_type(value, json_type_object) ||
            json_object_is_type(value, json_type_array))
            return defect(why, "headers: a value is an object or a list; only strings, numbers, "
                               "true, false and null are headers");
        if (json_object_is_type(value, json_type_string)) {
            text = json_object_get_string(value);
            len = (size_t)json_object_get_string_len(value);
        } else {
            text = value ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN) : "null";
            len = text ? strlen(text) : 0;
        }
        if (!text || arena_str(arena, name, strlen(name), &headers[i].name) < 0 ||
            arena_str(arena, text, len, &headers[i].value) < 0)
            return OUTBOX_E_RETRY;
        i++;
    }
    *ret = headers;
    *ret_n = n;
    return 0;
}

/* *ret: NULL for null. 0; 1 with *why; or OUTBOX_E_RETRY. */
static int parse(const char *json, size_t n, struct json_object **ret, struct outbox_str *why)
{
    *ret = NULL;
    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    if (!tokener)
        return OUTBOX_E_RETRY;
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    *ret = json_tokener_parse_ex(tokener, json, (int)n);
    bool whole = json_tokener_get_parse_end(tokener) == n;
    /* A number at the very end is complete only once the parser knows that no more comes. */
    if (json_tokener_get_error(tokener) == json_tokener_continue)
        *ret = json_tokener_parse_ex(tokener, "", 1);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    json_tokener_free(tokener);
#if JSON_C_VERSION_NUM >= ((0 << 16) | (17 << 8)) /* older ones do not report it */
    if (error == json_tokener_error_memory)
        return OUTBOX_E_RETRY;
#endif
    if (error != json_tokener_success)
        return defect(why, "headers: not valid JSON");
    if (!whole) /* json-c stops in the middle and reports success when it has no memory */
        return OUTBOX_E_RETRY;
    return *ret && !json_object_is_type(*ret, json_type_object)
               ? defect(why, "headers: not a JSON object")
               : OUTBOX_OK;
}

int headers_parse(const char *json, size_t n, struct arena *arena, const struct outbox_header **ret,
                  uint64_t *ret_n, struct outbox_str *why)
{
    *ret = NULL;
    *ret_n = 0;
    /* The two forms that nearly every row has cost nothing. */
    if (!json || n == 0 || (n == 2 && memcmp(json, "{}", 2) == 0) ||
        (n == 4 && memcmp(json, "null", 4) == 0))
        return OUTBOX_OK;
    if (n > INT_MAX / 2)
        return defect(why, "headers: longer than 1 GiB");
    if (!utf8_is_clean(json, n))
        return defect(why, "headers: not valid UTF-8");
    char *repaired = malloc(2 * n);
    if (!repaired)
        return OUTBOX_E_RETRY;
    struct json_object *object = NULL;
    int r = repair(json, n, repaired, &n, why);
    if (r == 0)
        r = parse(repaired, n, &object, why);
    free(repaired);
    if (r == 0 && object)
        r = copy_object(object, arena, ret, ret_n, why);
    json_object_put(object);
    return r;
}

int headers_render(const struct outbox_header *headers, uint64_t n, char **ret)
{
    struct json_object *object = json_object_new_object();
    int r = object ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (uint64_t i = 0; r == 0 && i < n; i++) {
        char name[1024];
        if (headers[i].name.n >= sizeof name ||
            !utf8_is_clean(headers[i].name.p, (size_t)headers[i].name.n) ||
            !utf8_is_clean(headers[i].value.p, (size_t)headers[i].value.n)) {
            r = 1;
            break;
        }
        memcpy(name, headers[i].name.p, (size_t)headers[i].name.n);
        name[headers[i].name.n] = '\0';
        r = json_add_text(object, name, headers[i].value);
    }
    const char *rendered = NULL;
    if (r == 0)
        rendered = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
                                                              JSON_C_TO_STRING_NOSLASHESCAPE);
    *ret = rendered ? strdup(rendered) : NULL;
    json_object_put(object);
    return r == 0 && !*ret ? OUTBOX_E_RETRY : r;
}
