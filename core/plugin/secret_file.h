/* SPDX-License-Identifier: Apache-2.0 */
/* secret_file.h - a file that holds one secret, the X_file of an option X. */
#pragma once

#include "base/file.h"

/*
 * Reads the secret, without a newline at its end; *ret is for file_forget. OUTBOX_E_CONFIG: the
 * file cannot be read, others can read or change it, or it holds what an editor or a pipe may have
 * added, which would be a part of the secret. The error names the file.
 */
int secret_file_read(const char *path, struct file *ret, struct outbox_err *err);
