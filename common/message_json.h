/* SPDX-License-Identifier: Apache-2.0 */
/* message_json.h - a message as JSON, and the members of any JSON object. */
#pragma once

#include <outbox/abi.h>

#include <json-c/json.h>
#include <stdbool.h>

/* Members. All return OUTBOX_OK, or OUTBOX_E_RETRY without memory, when the member is missing. */

/* A string; what is not valid UTF-8 becomes U+FFFD, a NUL \u0000. NULL stays null. */
int json_add_text(struct json_object *object, const char *name, struct outbox_str text);
int json_add_int(struct json_object *object, const char *name, int64_t value);
/* RFC 3339; 0 is null. */
int json_add_time(struct json_object *object, const char *name, int64_t us);
/* Microseconds as a number of seconds; null if not known. */
int json_add_seconds(struct json_object *object, const char *name, int64_t us, bool known);
/* "payload": text where it is UTF-8 without NUL, null for NULL; else "payload_base64". */
int json_add_payload(struct json_object *object, struct outbox_str payload);
/* "headers": the message's, as an object of strings. */
int json_add_headers(struct json_object *object, const struct outbox_message *msg);

/* Why message_json could not say what the message has; NULL: it can. */
const char *message_json_defect(const struct outbox_message *msg);
/* {"id","topic","key","headers","payload" or "payload_base64","retries","created_at"} on one line,
 * which lives as long as the object that is returned. NULL without memory. */
struct json_object *message_json(const struct outbox_message *msg, const char **ret_text,
                                 size_t *ret_n);
