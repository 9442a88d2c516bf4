/* SPDX-License-Identifier: Apache-2.0 */
/* headers.h - the headers column: JSON read leniently, written strictly. */
#pragma once

#include "common/arena.h"

/*
 * Reads the column: NULL, empty, `null`, {} and [] are none; numbers and booleans become their
 * text, null values "null", lists and objects their JSON; a repeated name keeps its last value. 0;
 * or 1 with the reason in *why (for last_error): not an object, values nested too deep, not UTF-8,
 * NUL in a name, more than `max` headers, which are not read then; or OUTBOX_E_RETRY without
 * memory, which says nothing about the message. What it takes of the arena is n bytes, and a struct
 * outbox_header for each header.
 */
int headers_parse(const char *json, size_t n, uint64_t max, struct arena *arena,
                  const struct outbox_header **ret, uint64_t *ret_n, struct outbox_str *why);

/* The JSON object of n headers, for free(). 0; or 1: a text is not UTF-8, or a name too long; or
 * OUTBOX_E_RETRY without memory. */
int headers_render(const struct outbox_header *headers, uint64_t n, char **ret);
