/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/attempt.h"

#include "connection/monotonic.h"

#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

struct attempt *attempt_new(struct endpoint *endpoint, const char *password, size_t host,
                            int64_t until_us)
{
    struct attempt *a = calloc(1, sizeof *a);
    char *copy = strdup(password);
    if (!a || !copy) {
        secret_free(copy);
        free(a);
        return NULL;
    }
    a->endpoint = endpoint_ref(endpoint);
    a->password = copy;
    a->host = host;
    a->until_us = until_us;
    a->err.size = sizeof a->err;
    return a;
}

void attempt_free(void *attempt)
{
    struct attempt *a = attempt;
    if (!a)
        return;
    amqp_destroy_connection(a->state);
    endpoint_unref(a->endpoint);
    secret_free(a->password);
    free(a);
}

struct timeval attempt_time_left(const struct attempt *a)
{
    int64_t left = a->until_us - now_us();
    if (left < 0)
        left = 0;
    return (struct timeval){.tv_sec = left / 1000000, .tv_usec = left % 1000000};
}
