/* SPDX-License-Identifier: Apache-2.0 */
#include "common/headers.h"

#include "common/json.h"
#include "common/message_json.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* So many objects and lists within each other are read. */
#define DEPTH_MAX 8

static int defect(struct outbox_str *why, const char *text)
{
    why->p = text;
    why->n = strlen(text);
    return 1;
}

static int too_many(uint64_t max, struct arena *arena, struct outbox_str *why)
{
    char text[80];
    int n =
        snprintf(text, sizeof text, "headers: more of them than max_headers (%" PRIu64 ")", max);
    return arena_str(arena, text, (size_t)n, why) < 0 ? OUTBOX_E_RETRY : 1;
}

/* Of an object or a list, its JSON as it stands. Returns what is wrong, or NULL. */
static const char *read_header_value(struct json_text *t, struct json_scalar *ret)
{
    struct json_text at = *t;
    if (!json_next_is(&at, '{') && !json_next_is(&at, '['))
        return json_scalar(t, ret) ? NULL : "headers: not valid JSON";
    ret->is_string = false;
    return json_value(t, DEPTH_MAX, &ret->raw)
               ? NULL
               : "headers: an object or a list that is not valid JSON, or has more than 8 levels";
}

/* The first members of the object behind its brace, `max` at most and one more; where *ret_n ends.
 * 0, or 1 with the reason in *why. Copies them to `headers`, and their texts to `texts`, which has
 * room for as many bytes as the object; NULL: only counts them. */
static int read_members(struct json_text t, uint64_t max, struct outbox_header *headers,
                        char *texts, uint64_t *ret_n, struct outbox_str *why)
{
    struct json_scalar pair[2];
    bool more = !json_next_is(&t, '}');
    for (*ret_n = 0; more && *ret_n <= max; ++*ret_n) {
        if (!json_scalar(&t, &pair[0]) || !pair[0].is_string || !json_next_is(&t, ':'))
            return defect(why, "headers: not valid JSON");
        const char *fault = read_header_value(&t, &pair[1]);
        if (fault)
            return defect(why, fault);
        for (int i = 0; headers && i < 2; i++) {
            struct outbox_str *to = i == 0 ? &headers[*ret_n].name : &headers[*ret_n].value;
            *to = (struct outbox_str){texts, json_scalar_text(&pair[i], texts)};
            texts[to->n] = '\0';
            texts += to->n + 1;
        }
        if (headers && memchr(headers[*ret_n].name.p, '\0', (size_t)headers[*ret_n].name.n))
            return defect(why, "headers: a name holds a NUL");
        more = json_next_is(&t, ',');
        if (!more && (!json_next_is(&t, '}') || !json_at_end(&t)))
            return defect(why, "headers: not valid JSON");
    }
    return *ret_n > 0 || json_at_end(&t) ? 0 : defect(why, "headers: not valid JSON");
}

/* By name; of the same name, in their order. */
static int compare(const void *a, const void *b)
{
    const struct outbox_header *x = *(struct outbox_header *const *)a;
    const struct outbox_header *y = *(struct outbox_header *const *)b;
    int c = strcmp(x->name.p, y->name.p);
    return c != 0 ? c : (x > y) - (x < y);
}

/* A name that is repeated keeps its first place and its last value. */
static int merge_repeated(struct outbox_header *headers, uint64_t *n)
{
    struct outbox_header **order = *n > 1 ? malloc(*n * sizeof(struct outbox_header *)) : NULL;
    uint64_t kept = 0, first = 0;
    if (*n < 2 || !order)
        return *n < 2 ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (uint64_t i = 0; i < *n; i++)
        order[i] = &headers[i];
    qsort(order, *n, sizeof(struct outbox_header *), compare);
    for (uint64_t i = 1; i < *n; i++)
        if (strcmp(order[i]->name.p, order[first]->name.p) == 0) {
            order[first]->value = order[i]->value;
            order[i]->name.p = NULL;
        } else {
            first = i;
        }
    for (uint64_t i = 0; i < *n; i++)
        if (headers[i].name.p)
            headers[kept++] = headers[i];
    free(order);
    *n = kept;
    return OUTBOX_OK;
}

/* PHP writes an empty list where others write {}. */
static bool is_none(struct json_text t)
{
    struct json_scalar scalar;
    if (json_next_is(&t, '['))
        return json_next_is(&t, ']') && json_at_end(&t);
    return json_scalar(&t, &scalar) && !scalar.is_string && *scalar.raw.p == 'n' && json_at_end(&t);
}

int headers_parse(const char *json, size_t n, uint64_t max, struct arena *arena,
                  const struct outbox_header **ret, uint64_t *ret_n, struct outbox_str *why)
{
    *ret = NULL;
    *ret_n = 0;
    /* The two forms that nearly every row has cost nothing. */
    if (!json || n == 0 || (n == 2 && memcmp(json, "{}", 2) == 0) ||
        (n == 4 && memcmp(json, "null", 4) == 0))
        return OUTBOX_OK;
    if (!utf8_is_clean(json, n))
        return defect(why, "headers: not valid UTF-8");
    struct json_text t = {json, json + n};
    if (is_none(t))
        return OUTBOX_OK;
    if (!json_next_is(&t, '{'))
        return defect(why, json_is_valid(json, n, DEPTH_MAX) ? "headers: not a JSON object"
                                                             : "headers: not valid JSON");
    uint64_t n_headers;
    int r = read_members(t, max, NULL, NULL, &n_headers, why);
    if (r == 0 && n_headers > max)
        r = too_many(max, arena, why);
    if (r != 0 || n_headers == 0)
        return r;
    struct outbox_header *headers = arena_array(arena, n_headers, sizeof *headers);
    char *texts = arena_alloc(arena, n);
    if (!headers || !texts)
        return OUTBOX_E_RETRY;
    r = read_members(t, max, headers, texts, &n_headers, why);
    if (r == 0)
        r = merge_repeated(headers, &n_headers);
    *ret = r == 0 ? headers : NULL;
    *ret_n = r == 0 ? n_headers : 0;
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
