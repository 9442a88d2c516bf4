/* SPDX-License-Identifier: Apache-2.0 */
/* apart.h - runs a function in a child process, which foreign code may crash or hang. */
#pragma once

#include <stddef.h>

/*
 * Runs work(ctx) in a child process, for at most `seconds`, and returns its exit code (0 to 9).
 * What it writes to standard output appears when it has come back, or not at all. -1: it did not
 * come back, and `why` says so: "crashed (SIGSEGV)". One thread, and no other children.
 */
int apart_run(int (*work)(void *ctx), void *ctx, int seconds, char *why, size_t why_size);
