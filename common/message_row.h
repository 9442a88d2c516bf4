/* SPDX-License-Identifier: Apache-2.0 */
/* message_row.h - what makes a row of the table a message that cannot be published: its defect. */
#pragma once

#include "common/arena.h"

/* The defect: the column `what` has n bytes, more than max_message. */
int message_row_too_large(const char *what, uint64_t n, uint64_t max_message, struct arena *arena,
                          struct outbox_message *m);

/* Reads the headers column into the message, or the reason why not into its defect. A message that
 * has a defect already is left as it is. */
int message_row_headers(struct outbox_str column, uint64_t max_message, struct arena *arena,
                        struct outbox_message *m);
