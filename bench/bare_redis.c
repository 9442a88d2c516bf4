/* SPDX-License-Identifier: Apache-2.0 */
/* bare_redis.c - what hiredis does by itself: XADD in a pipeline, so many of them unanswered.
 * Prints messages a second. */
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int append(redisContext *c, long i, const char *payload, size_t size)
{
    char id[40];
    const char *argv[] = {"XADD",  "bare",  "*",       "message-id", id,
                          "topic", "bench", "payload", payload};
    size_t lens[] = {4, 4, 1, 10, 0, 5, 5, 7, size};
    lens[4] = (size_t)snprintf(id, sizeof id, "00000000-0000-4000-8000-%012ld", i);
    return redisAppendCommandArgv(c, 9, argv, lens) == REDIS_OK;
}

static int take(redisContext *c)
{
    void *reply = NULL;
    int ok =
        redisGetReply(c, &reply) == REDIS_OK && ((redisReply *)reply)->type == REDIS_REPLY_STRING;
    if (!ok)
        fprintf(stderr, "%s\n", reply ? ((redisReply *)reply)->str : c->errstr);
    if (reply)
        freeReplyObject(reply);
    return ok;
}

static int run(redisContext *c, long n, long window, const char *payload, size_t size)
{
    for (long sent = 0, taken = 0, until; taken < n;) {
        while (sent < n && sent - taken < window)
            if (!append(c, sent++, payload, size))
                return 0;
        /* Half of them, so that the server has something to do meanwhile. */
        for (until = sent < n ? taken + (window + 1) / 2 : n; taken < until; taken++)
            if (!take(c))
                return 0;
    }
    return 1;
}

int main(int argc, char **argv)
{
    long n = argc > 4 ? strtol(argv[3], NULL, 10) : 0;
    long window = argc > 5 ? strtol(argv[5], NULL, 10) : 1000;
    size_t size = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    redisContext *c;
    char *payload;
    double begin;
    int ok;
    if (n <= 0 || window <= 0) {
        fprintf(stderr, "usage: bare_redis HOST PORT MESSAGES SIZE [WINDOW]\n");
        return 2;
    }
    c = redisConnect(argv[1], (int)strtol(argv[2], NULL, 10));
    payload = malloc(size + 1);
    if (!c || c->err || !payload) {
        fprintf(stderr, "%s\n", c && c->err ? c->errstr : "out of memory");
        return 1;
    }
    memset(payload, 'x', size);
    begin = now_s();
    ok = run(c, n, window, payload, size);
    if (ok)
        printf("%.0f\n", (double)n / (now_s() - begin));
    redisFree(c);
    free(payload);
    return !ok;
}
