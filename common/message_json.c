/* SPDX-License-Identifier: Apache-2.0 */
#include "common/message_json.h"

#include "common/rfc3339.h"
#include "common/utf8.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int add_null(struct json_object *object, const char *name)
{
    return json_object_object_add(object, name, NULL) < 0 ? OUTBOX_E_RETRY : OUTBOX_OK;
}

/* value NULL: there was no memory for it. */
static int add(struct json_object *object, const char *name, struct json_object *value)
{
    if (value && json_object_object_add(object, name, value) == 0)
        return OUTBOX_OK;
    json_object_put(value);
    return OUTBOX_E_RETRY;
}

int json_add_text(struct json_object *object, const char *name, struct outbox_str text)
{
    if (!text.p)
        return add_null(object, name);
    if (text.n > INT_MAX / 4)
        return OUTBOX_E_RETRY;
    if (utf8_is_valid(text.p, (size_t)text.n)) /* a NUL is written as \u0000 */
        return add(object, name, json_object_new_string_len(text.p, (int)text.n));
    size_t cap = (size_t)text.n * 3 + 1;
    char *clean = malloc(cap);
    if (!clean)
        return OUTBOX_E_RETRY;
    size_t n = utf8_clean(text.p, (size_t)text.n, clean, cap);
    int r = add(object, name, json_object_new_string_len(clean, (int)n));
    free(clean);
    return r;
}

int json_add_int(struct json_object *object, const char *name, int64_t value)
{
    return add(object, name, json_object_new_int64(value));
}

int json_add_time(struct json_object *object, const char *name, int64_t us)
{
    char text[RFC3339_SIZE];
    if (us == 0)
        return add_null(object, name);
    return add(object, name, json_object_new_string(rfc3339_format(us, text)));
}

int json_add_seconds(struct json_object *object, const char *name, int64_t us, bool known)
{
    char text[32];
    if (!known)
        return add_null(object, name);
    snprintf(text, sizeof text, "%.6f", (double)us / 1e6);
    return add(object, name, json_object_new_double_s((double)us / 1e6, text));
}

static size_t base64_encode(const unsigned char *in, size_t n, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *o = out;
    for (; n >= 3; n -= 3, in += 3) {
        *o++ = digits[in[0] >> 2];
        *o++ = digits[(in[0] & 3) << 4 | in[1] >> 4];
        *o++ = digits[(in[1] & 15) << 2 | in[2] >> 6];
        *o++ = digits[in[2] & 63];
    }
    if (n) {
        unsigned char second = n == 2 ? in[1] : 0;
        *o++ = digits[in[0] >> 2];
        *o++ = digits[(in[0] & 3) << 4 | second >> 4];
        *o++ = n == 2 ? digits[(second & 15) << 2] : '=';
        *o++ = '=';
    }
    return (size_t)(o - out);
}

int json_add_payload(struct json_object *object, struct outbox_str payload)
{
    if (!payload.p || utf8_is_clean(payload.p, (size_t)payload.n))
        return json_add_text(object, "payload", payload);
    if (payload.n > INT_MAX / 2)
        return OUTBOX_E_RETRY;
    char *text = malloc(((size_t)payload.n + 2) / 3 * 4);
    if (!text)
        return OUTBOX_E_RETRY;
    size_t n = base64_encode((const unsigned char *)payload.p, (size_t)payload.n, text);
    int r = add(object, "payload_base64", json_object_new_string_len(text, (int)n));
    free(text);
    return r;
}

int json_add_headers(struct json_object *object, const struct outbox_message *msg)
{
    struct json_object *headers = json_object_new_object();
    int r = add(object, "headers", headers);
    /* A store terminates header names; see outbox_message.headers. */
    for (uint64_t i = 0; r == 0 && i < msg->n_headers; i++)
        r = json_add_text(headers, msg->headers[i].name.p, msg->headers[i].value);
    return r;
}

static bool is_valid(struct outbox_str text)
{
    return utf8_is_valid(text.p, (size_t)text.n);
}

const char *message_json_defect(const struct outbox_message *msg)
{
    uint64_t n = msg->id.n + msg->topic.n + msg->key.n + msg->payload.n;
    if (!is_valid(msg->id) || !is_valid(msg->topic) || !is_valid(msg->key))
        return "its id, topic or key is not valid UTF-8, so that JSON cannot hold it";
    for (uint64_t i = 0; i < msg->n_headers; i++) {
        if (!utf8_is_clean(msg->headers[i].name.p, (size_t)msg->headers[i].name.n) ||
            !is_valid(msg->headers[i].value))
            return "a header is not valid UTF-8, or its name holds a NUL, so that JSON cannot "
                   "hold it";
        n += msg->headers[i].name.n + msg->headers[i].value.n;
    }
    /* json-c counts in int, and the worst that escaping does is six bytes for one. */
    return n > INT_MAX / 8 ? "it is too large to be written as JSON" : NULL;
}

/* What json-c writes for a text, without its quotes; at least, should a version escape more. */
static size_t escaped_size(const char *text, size_t n)
{
    size_t size = n;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == '"' || c == '\\')
            size += c && strchr("\"\\\b\f\n\r\t", c) ? 1 : 5;
    }
    return size;
}

/* The same for a value of message_json, which has objects, texts, numbers and nulls. */
static size_t printed_size(struct json_object *value)
{
    size_t size = 2;
    if (!value)
        return sizeof "null" - 1;
    if (json_object_is_type(value, json_type_string))
        return 2 + escaped_size(json_object_get_string(value),
                                (size_t)json_object_get_string_len(value));
    if (json_object_is_type(value, json_type_int))
        return (size_t)snprintf(NULL, 0, "%" PRId64, json_object_get_int64(value));
    json_object_object_foreach (value, name, member)
        size += escaped_size(name, strlen(name)) + sizeof "\"\":," - 1 + printed_size(member);
    return json_object_object_length(value) > 0 ? size - 1 : size;
}

struct json_object *message_json(const struct outbox_message *msg, const char **ret_text,
                                 size_t *ret_n)
{
    struct json_object *object = json_object_new_object();
    if (!object || json_add_text(object, "id", msg->id) < 0 ||
        json_add_text(object, "topic", msg->topic) < 0 ||
        json_add_text(object, "key", msg->key) < 0 || json_add_headers(object, msg) < 0 ||
        json_add_payload(object, msg->payload) < 0 ||
        json_add_int(object, "retries", msg->retries) < 0 ||
        json_add_time(object, "created_at", msg->created_us) < 0) {
        json_object_put(object);
        return NULL;
    }
    *ret_text = json_object_to_json_string_length(
        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, ret_n);
    /* Without memory json-c leaves out what it had no room for, a short text too, and does not
     * report it. Only the size shows it. */
    if (*ret_text && *ret_n >= printed_size(object))
        return object;
    json_object_put(object);
    return NULL;
}
