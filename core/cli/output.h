/* SPDX-License-Identifier: Apache-2.0 */
/* output.h - rows as people and programs read them, and the ids by which people name them. */
#pragma once

#include <outbox/store.h>

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

/* "pending" for OUTBOX_PENDING and so on. */
const char *output_status(uint32_t status);

/* Prints the object on one line and frees it; NULL: there was no memory to build it. Returns an
 * exit code. */
int output_json(struct json_object *object);
/* The object if r, the result of building it, is 0; else frees it and returns NULL. */
struct json_object *output_complete(struct json_object *object, int r);
/* OUTBOX_OK, or OUTBOX_E_RETRY without memory, like json_add_int. */
int output_add_bool(struct json_object *object, const char *name, bool value);

/* The row with every column by its name; NULL without memory. */
struct json_object *output_row_json(const struct outbox_row *row);

/* One line of a table, and the line above the first. */
void output_row_header(void);
void output_row_line(const struct outbox_row *row);

/* All of a row, a line for each column. */
void output_row_full(const struct outbox_row *row);

/* Prints text from the database, with whatever would control a terminal escaped: at most `cap`
 * (> 0) characters, the last of them an ellipsis if it was cut. Returns how many. */
size_t output_text(struct outbox_str text, size_t cap);

/* "3 d 4 h", "12 s": an age as people say it. */
struct output_age {
    char text[32];
};
const char *output_age(int64_t us, struct output_age *buffer);

/* ---- the id of a message as a person types it (message_id.c) ---- */

#define MESSAGE_ID_SIZE 37 /* of a UUID with its NUL */

/* 8-4-4-4-12 hexadecimal digits? Then `lower` is the UUID in lower case. */
bool message_id_is_uuid(const char *text, char lower[MESSAGE_ID_SIZE]);

/* The forms under which a store may have that id: as typed, and a UUID in lower case. */
struct message_id_forms {
    struct outbox_str ids[2];
    uint64_t n;
    char lower[MESSAGE_ID_SIZE];
};
/* `text` must outlive the forms. */
void message_id_forms(const char *text, struct message_id_forms *ret);

/* EXIT_DONE, or EXIT_USAGE after an error that says that no row can have this id. */
int message_id_check(const char *text);
/* Prints that no message has this id, and returns EXIT_FAILED; or, if it is no UUID either,
 * EXIT_USAGE. */
int message_id_unknown(const char *text);
