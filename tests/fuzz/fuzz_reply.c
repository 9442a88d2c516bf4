/* SPDX-License-Identifier: Apache-2.0 */
/* A line from a co-process. */
#include "fuzz.h"
#include "reply.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct reply reply;
    const char *wrong = reply_parse((const char *)data, n, &reply);
    if (!wrong &&
        (!reply.id.p || reply.verdict < OUTBOX_ACCEPTED || reply.verdict > OUTBOX_UNAVAILABLE))
        abort();
    reply_free(&reply);
    return 0;
}
