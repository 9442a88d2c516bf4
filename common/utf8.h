/* SPDX-License-Identifier: Apache-2.0 */
/* utf8.h - hostile bytes made fit for a column, a log or a terminal. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the valid UTF-8 character at p (1 to 4; NUL counts as valid), or 0. */
size_t utf8_char(const char *p, size_t n);

/*
 * The number of the character of `len` bytes at p if it moves a terminal's cursor, begins a new
 * line or reorders the text around it, all below U+FFFF; else UTF8_NO_CONTROL.
 */
unsigned utf8_control(const char *p, size_t len);
#define UTF8_NO_CONTROL 0xFFFFFFFFu

/* Valid UTF-8 throughout? */
bool utf8_is_valid(const char *p, size_t n);
/* The same, and without NUL? */
bool utf8_is_clean(const char *p, size_t n);

/*
 * Copies text into out (cap > 0), always terminated and always clean: what is not
 * valid UTF-8, and NUL, becomes U+FFFD; cut at a character. Returns its length.
 */
size_t utf8_clean(const char *p, size_t n, char *out, size_t cap);

/* The same for one line on a terminal: control characters become \xNN, newline \n, tab \t, and what
 * reorders text \uNNNN. */
size_t utf8_printable(const char *p, size_t n, char *out, size_t cap);
