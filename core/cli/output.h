/* SPDX-License-Identifier: Apache-2.0 */
/* output.h - rows as people and programs read them. */
#ifndef CORE_CLI_OUTPUT_H
#define CORE_CLI_OUTPUT_H

#include <outbox/store.h>

#include <json-c/json.h>
#include <stddef.h>

/* "pending" for OUTBOX_PENDING and so on. */
const char *output_status(uint32_t status);

/* One object, one line, on stdout; takes it. NULL: says that memory is out. Returns 0 or -1. */
int output_json(struct json_object *object);

/* The row with every column by its name. */
struct json_object *output_row_json(const struct outbox_row *row);

/* One line of a table, and the line above the first. */
void output_row_header(void);
void output_row_line(const struct outbox_row *row);

/* All of a row, a line for each column. */
void output_row_full(const struct outbox_row *row);

/* Text from the database on a terminal: nothing that drives it, at most `cap` (> 0) characters,
 * the last of them an ellipsis if it was cut. Returns how many. */
size_t output_text(struct outbox_str text, size_t cap);

/* "3 d 4 h", "12 s": an age as people say it. */
struct output_age {
    char text[32];
};
const char *output_age(int64_t us, struct output_age *buffer);

#endif
