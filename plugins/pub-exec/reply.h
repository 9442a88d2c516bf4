/* SPDX-License-Identifier: Apache-2.0 */
/* reply.h - one line from a co-process. Pure: bytes in, a verdict out. */
#pragma once

#include <outbox/publisher.h>

#include <json-c/json.h>

#define REPLY_MAX 65536

struct reply {
    struct outbox_str id;
    struct outbox_str reason; /* NULL: none */
    uint32_t verdict;
    uint32_t after_ms;
    struct json_object *owner; /* of the texts; for reply_free */
};

/* NULL, or what is wrong with the line (n bytes, without its newline). */
const char *reply_parse(const char *line, size_t n, struct reply *ret);
void reply_free(struct reply *reply);
