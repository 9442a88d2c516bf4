/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json.h - JSON as RFC 8259 has it, but for control characters in strings, which may stand as they
 * are. What json-c takes differs from version to version: it gets only what was read here before.
 */
#pragma once

#include <outbox/abi.h>

#include <json-c/json.h>
#include <stdbool.h>

/* What is left to read. The functions below move p behind what they have read. */
struct json_text {
    const char *p;
    const char *end;
};

/* A string without its quotes, escapes and all; or the text of a number, true, false or null. */
struct json_scalar {
    struct outbox_str raw;
    bool is_string;
};

/* Blanks, then c? If not, only the blanks are read. */
bool json_next_is(struct json_text *t, char c);
/* Only blanks, to the end? */
bool json_at_end(struct json_text *t);
/* A scalar, behind blanks. False: there is none. */
bool json_scalar(struct json_text *t, struct json_scalar *ret);
/* Any value, with so many levels of objects and lists at most: its text as it stands, behind
 * blanks. False: there is none. */
bool json_value(struct json_text *t, int depth, struct outbox_str *ret);
/* Writes a scalar's text, which has no more bytes than its raw one, and may hold NUL; returns its
 * length. */
size_t json_scalar_text(const struct json_scalar *scalar, char *out);

/* One value, valid UTF-8 without NUL, and nothing behind it; with so many levels of objects and
 * lists at most? */
bool json_is_valid(const char *text, size_t n, int depth);
/* The same, for json_object_put(). NULL: it is not an object, or there is no memory. */
struct json_object *json_read_object(const char *text, size_t n, int depth);
