/* SPDX-License-Identifier: Apache-2.0 */
#include "headers.h"

#include "message_json.h"
#include "text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Deeper than one level is refused anyway; this bounds the parser's own memory. */
#define DEPTH_MAX 8

static int defect(struct outbox_str *why, const char *text)
{
    why->p = text;
    why->n = strlen(text);
    return -1;
}

static int copy_object(struct json_object *object, struct arena *arena,
                       const struct outbox_header **ret, uint64_t *ret_n, struct outbox_str *why)
{
    size_t n = (size_t)json_object_object_length(object);
    struct outbox_header *headers = arena_array(arena, n ? n : 1, sizeof *headers);
    if (!headers)
        return defect(why, "out of memory while reading the headers");
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
            return defect(why, "out of memory while reading the headers");
        i++;
    }
    *ret = headers;
    *ret_n = n;
    return 0;
}

int headers_parse(const char *json, size_t n, struct arena *arena, const struct outbox_header **ret,
                  uint64_t *ret_n, struct outbox_str *why)
{
    *ret = NULL;
    *ret_n = 0;
    /* The two forms that nearly every row has cost nothing. */
    if (!json || n == 0 || (n == 2 && memcmp(json, "{}", 2) == 0) ||
        (n == 4 && memcmp(json, "null", 4) == 0))
        return 0;
    if (n > INT_MAX)
        return defect(why, "headers: longer than 2 GiB");
    if (!text_is_clean(json, n))
        return defect(why, "headers: not valid UTF-8");

    struct json_tokener *tokener = json_tokener_new_ex(DEPTH_MAX);
    if (!tokener)
        return defect(why, "out of memory while reading the headers");
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
    struct json_object *object = json_tokener_parse_ex(tokener, json, (int)n);
    /* A number at the very end is complete only once the parser knows that no more comes. */
    if (json_tokener_get_error(tokener) == json_tokener_continue)
        object = json_tokener_parse_ex(tokener, "", 1);
    enum json_tokener_error error = json_tokener_get_error(tokener);
    json_tokener_free(tokener);

    int r;
    if (error != json_tokener_success)
        r = defect(why, "headers: not valid JSON");
    else if (!object)
        r = 0; /* null with blanks around it */
    else if (!json_object_is_type(object, json_type_object))
        r = defect(why, "headers: not a JSON object");
    else
        r = copy_object(object, arena, ret, ret_n, why);
    json_object_put(object);
    return r;
}

char *headers_render(const struct outbox_header *headers, uint64_t n)
{
    char *text = NULL;
    struct json_object *object = json_object_new_object();
    if (!object)
        return NULL;
    for (uint64_t i = 0; i < n; i++) {
        char name[1024];
        if (headers[i].name.n >= sizeof name ||
            !text_is_clean(headers[i].name.p, (size_t)headers[i].name.n) ||
            !text_is_clean(headers[i].value.p, (size_t)headers[i].value.n))
            goto out;
        memcpy(name, headers[i].name.p, (size_t)headers[i].name.n);
        name[headers[i].name.n] = '\0';
        if (json_add_text(object, name, headers[i].value) < 0)
            goto out;
    }
    const char *rendered = json_object_to_json_string_ext(
        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (rendered)
        text = strdup(rendered);
out:
    json_object_put(object);
    return text;
}
