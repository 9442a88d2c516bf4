/* SPDX-License-Identifier: Apache-2.0 */
#include "common/message_json.h"

#include <limits.h>

struct json_object *message_json(const struct outbox_message *msg)
{
    struct json_object *object = json_object_new_object();
    if (object &&
        (json_add_text(object, "id", msg->id) < 0 ||
         json_add_text(object, "topic", msg->topic) < 0 ||
         json_add_text(object, "key", msg->key) < 0 || json_add_headers(object, msg) < 0 ||
         json_add_payload(object, msg->payload) < 0 ||
         json_add_int(object, "retries", msg->retries) < 0 ||
         json_add_time(object, "created_at", msg->created_us) < 0)) {
        json_object_put(object);
        object = NULL;
    }
    return object;
}

static uint64_t body_bytes(const struct outbox_message *msg)
{
    return msg->id.n + msg->topic.n + msg->key.n + msg->payload.n;
}

static uint64_t header_bytes(const struct outbox_message *msg)
{
    uint64_t n = 0;
    for (uint64_t i = 0; i < msg->n_headers; i++)
        n += msg->headers[i].name.n + msg->headers[i].value.n;
    return n;
}

/* The worst that escaping does is six bytes for one. */
bool message_json_fits(const struct outbox_message *msg)
{
    return body_bytes(msg) + header_bytes(msg) <= INT_MAX / 8;
}

/* Its texts take their bytes at least, whatever is escaped or replaced; of headers with one name
 * only the last is there. */
const char *message_json_text(struct json_object *object, const struct outbox_message *msg,
                              size_t *ret_n)
{
    struct json_object *headers = NULL;
    const char *text = json_object_to_json_string_length(
        object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, ret_n);
    uint64_t least = body_bytes(msg);
    if (json_object_object_get_ex(object, "headers", &headers) &&
        (uint64_t)json_object_object_length(headers) == msg->n_headers)
        least += header_bytes(msg);
    return text && *ret_n > least && text[*ret_n - 1] == '}' ? text : NULL;
}
