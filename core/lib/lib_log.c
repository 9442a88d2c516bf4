/* SPDX-License-Identifier: Apache-2.0 */
/* lib_log.c - liboutbox: a log that goes to a function of the application. */
#include "base/log.h"
#include "lib/liboutbox.h"

#define FIELDS_MAX 16

static void pass_on(void *ctx, int level, const char *message, const struct log_pair *pairs,
                    size_t n, const char *line)
{
    const struct lib_sink *sink = ctx;
    struct outbox_setting fields[FIELDS_MAX];
    if (!sink->fn)
        return;
    n = n < FIELDS_MAX ? n : FIELDS_MAX;
    for (size_t i = 0; i < n; i++)
        fields[i] = (struct outbox_setting){pairs[i].name, pairs[i].value};
    const struct outbox_log_line event = {
        .size = sizeof event,
        .level = level,
        .text = message,
        .fields = fields,
        .n_fields = n,
        .line = line,
    };
    sink->fn(sink->ctx, &event);
}

struct log *lib_log_new(struct lib_sink *sink, int level)
{
    return log_new_sink(pass_on, sink, level);
}
