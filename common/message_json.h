/* SPDX-License-Identifier: Apache-2.0 */
/* message_json.h - a message as the JSON object of pub-exec's stream mode. */
#ifndef COMMON_MESSAGE_JSON_H
#define COMMON_MESSAGE_JSON_H

#include "common/json.h"

/* {"id","topic","key","headers","payload" or "payload_base64","retries","created_at"}. NULL without
 * memory. */
struct json_object *message_json(const struct outbox_message *msg);
/* Can it be written at all? json-c counts in int. */
bool message_json_fits(const struct outbox_message *msg);
/* The object on one line, which lives as long as it. NULL without memory, which json-c does not
 * report: it leaves out what it had no room for. */
const char *message_json_text(struct json_object *object, const struct outbox_message *msg,
                              size_t *ret_n);

#endif
