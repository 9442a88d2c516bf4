/* SPDX-License-Identifier: Apache-2.0 */
#include "common/message_row.h"

#include "common/headers.h"

#include <inttypes.h>
#include <stdio.h>

int message_row_too_large(const char *what, uint64_t n, uint64_t max_message, struct arena *arena,
                          struct outbox_message *m)
{
    char text[128];
    int length = snprintf(text, sizeof text,
                          "the %s has %" PRIu64 " bytes, more than max_message (%" PRIu64 ")", what,
                          n, max_message);
    return arena_str(arena, text, (size_t)length, &m->defect);
}

int message_row_headers(struct outbox_str column, uint64_t max_message, struct arena *arena,
                        struct outbox_message *m)
{
    struct outbox_str why;
    if (m->defect.p)
        return OUTBOX_OK;
    if (column.n > max_message)
        return message_row_too_large("headers column", column.n, max_message, arena, m);
    int r = headers_parse(column.p, (size_t)column.n, UINT64_MAX, arena, &m->headers, &m->n_headers,
                          &why);
    if (r > 0)
        m->defect = why;
    return r < 0 ? r : OUTBOX_OK;
}
