/* SPDX-License-Identifier: Apache-2.0 */
/* message_json.h - a message as the JSON object of the stream mode and of --json. */
#ifndef COMMON_MESSAGE_JSON_H
#define COMMON_MESSAGE_JSON_H

#include <outbox/abi.h>

#include <json-c/json.h>
#include <stdbool.h>

/*
 * Adds text as a JSON string; what is not valid UTF-8 becomes U+FFFD. NULL stays null.
 * All return 0, or -1 without memory.
 */
int json_add_text(struct json_object *object, const char *name, struct outbox_str text);
int json_add_int(struct json_object *object, const char *name, int64_t value);
/* RFC 3339; 0 is null. */
int json_add_time(struct json_object *object, const char *name, int64_t us);
/* Microseconds as a number of seconds; null if not known. */
int json_add_seconds(struct json_object *object, const char *name, int64_t us, bool known);
/* "payload": text where it is UTF-8 without NUL, null for NULL; else "payload_base64". */
int json_add_payload(struct json_object *object, struct outbox_str payload);
int json_add_headers(struct json_object *object, const struct outbox_message *msg);

/* {"id","topic","key","headers","payload" or "payload_base64","retries","created_at"}. */
struct json_object *message_json(const struct outbox_message *msg);
/* Can it be written at all? json-c counts in int. */
bool message_json_fits(const struct outbox_message *msg);
/* The object on one line, which lives as long as it. NULL without memory, which json-c does not
 * tell: it leaves out what it had no room for. */
const char *message_json_text(struct json_object *object, const struct outbox_message *msg,
                              size_t *ret_n);

#endif
