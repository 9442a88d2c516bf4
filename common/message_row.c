/* SPDX-License-Identifier: Apache-2.0 */
#include "common/message_row.h"

#include "common/headers.h"

#include <inttypes.h>
#include <stdio.h>

struct message_limits message_limits_of(const struct outbox_claim *claim)
{
    bool counts = OUTBOX_HAS(claim, max_headers) && claim->max_headers > 0;
    bool measures = OUTBOX_HAS(claim, max_header_bytes) && claim->max_header_bytes > 0;
    return (struct message_limits){
        .max_message = claim->max_message,
        .max_headers = counts ? claim->max_headers : UINT32_MAX,
        .max_header_bytes = measures ? claim->max_header_bytes : INT64_MAX,
    };
}

uint64_t message_sizes_sum(const struct message_sizes *sizes)
{
    return sizes->id + sizes->topic + sizes->key + sizes->payload + sizes->headers;
}

bool message_sizes_over(const struct message_sizes *sizes, const struct message_limits *limits)
{
    return sizes->id > MESSAGE_TEXT_MAX || sizes->topic > MESSAGE_TEXT_MAX ||
           sizes->key > MESSAGE_TEXT_MAX || sizes->payload > limits->max_message ||
           sizes->headers > limits->max_header_bytes;
}

static int too_large(const char *what, uint64_t n, const char *setting, uint64_t max,
                     struct arena *arena, struct outbox_message *m)
{
    char text[128];
    int length =
        snprintf(text, sizeof text, "the %s has %" PRIu64 " bytes, more than %s (%" PRIu64 ")",
                 what, n, setting, max);
    return arena_str(arena, text, (size_t)length, &m->defect);
}

int message_row_check(const struct message_sizes *sizes, const struct message_limits *limits,
                      struct arena *arena, struct outbox_message *m)
{
    static const char fixed[] = "what it may have";
    if (!message_sizes_over(sizes, limits))
        return OUTBOX_OK;
    if (sizes->id > MESSAGE_TEXT_MAX)
        return too_large("id", sizes->id, fixed, MESSAGE_TEXT_MAX, arena, m);
    if (sizes->topic > MESSAGE_TEXT_MAX)
        return too_large("topic", sizes->topic, fixed, MESSAGE_TEXT_MAX, arena, m);
    if (sizes->key > MESSAGE_TEXT_MAX)
        return too_large("key", sizes->key, fixed, MESSAGE_TEXT_MAX, arena, m);
    return sizes->payload > limits->max_message
               ? too_large("payload", sizes->payload, "max_message", limits->max_message, arena, m)
               : too_large("headers column", sizes->headers, "max_header_bytes",
                           limits->max_header_bytes, arena, m);
}

int message_row_headers(struct outbox_str column, const struct message_limits *limits,
                        struct arena *arena, struct outbox_message *m)
{
    struct outbox_str why;
    if (m->defect.p)
        return OUTBOX_OK;
    int r = headers_parse(column.p, (size_t)column.n, limits->max_headers, arena, &m->headers,
                          &m->n_headers, &why);
    if (r > 0)
        m->defect = why;
    return r < 0 ? r : OUTBOX_OK;
}
