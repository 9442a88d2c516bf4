/* SPDX-License-Identifier: Apache-2.0 */
/* file.h - a whole file in memory: the configuration, a secret. */
#pragma once

#include <outbox/abi.h>

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct file {
    char *text; /* n bytes, not terminated */
    size_t n;
    mode_t mode;       /* its permissions */
    bool others_write; /* see writable.h */
};

/*
 * Reads a regular file of at most `max` bytes; close it by file_forget. Errors say what is wrong
 * without the path ("cannot be read: ..."): OUTBOX_E_CONFIG, OUTBOX_E_NOTSUP when there is no such
 * file, OUTBOX_E_RETRY without memory.
 */
int file_read(const char *path, size_t max, struct file *ret, struct outbox_err *err);

/* Overwrites the text, which may hold a secret, and frees it. */
void file_forget(struct file *file);
