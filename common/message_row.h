/* SPDX-License-Identifier: Apache-2.0 */
/* message_row.h - what makes a row of the table a message that cannot be published: its defect; and
 * how much of a batch it takes. */
#pragma once

#include "common/arena.h"

#include <outbox/store.h>

#include <stdbool.h>

/* Topics, keys and ids of more bytes are not loaded, nor published. */
#define MESSAGE_TEXT_MAX 65536

/* What a message may have; the limits of a claim. */
struct message_limits {
    uint64_t max_message; /* bytes of its payload */
    uint64_t max_headers;
    uint64_t max_header_bytes;
};
struct message_limits message_limits_of(const struct outbox_claim *claim);

/* How many bytes the columns of a row have, loaded or not. */
struct message_sizes {
    uint64_t id;
    uint64_t topic;
    uint64_t key;
    uint64_t payload;
    uint64_t headers;
};
uint64_t message_sizes_sum(const struct message_sizes *sizes);
/* Is one of them over its limit? */
bool message_sizes_over(const struct message_sizes *sizes, const struct message_limits *limits);

/* If one of the columns is over its limit: that is the message's defect. */
int message_row_check(const struct message_sizes *sizes, const struct message_limits *limits,
                      struct arena *arena, struct outbox_message *m);

/* Reads the headers column into the message, or the reason why not into its defect. A message that
 * has a defect already is left as it is. */
int message_row_headers(struct outbox_str column, const struct message_limits *limits,
                        struct arena *arena, struct outbox_message *m);
