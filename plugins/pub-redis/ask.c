/* SPDX-License-Identifier: Apache-2.0 */
/* ask.c - one command and its reply, while the connection is being made. */
#include "redis.h"

#define WORDS_MAX 16

int ask_wait(struct broker *b, short events, int64_t until_us, struct outbox_err *err)
{
    struct outbox_client *c = &b->client;
    if (outbox_client_now_us(c) >= until_us)
        return outbox_fail(err, OUTBOX_E_RETRY, "no answer within connect_timeout");
    outbox_client_wait(c, b->link.fd, events, until_us);
    if (c->ending)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the relay ends");
    return OUTBOX_OK;
}

int ask_server(struct broker *b, int64_t until_us, redisReply **ret, struct outbox_err *err, ...)
{
    const char *argv[WORDS_MAX];
    size_t lens[WORDS_MAX];
    va_list ap;
    int argc = 0, r = OUTBOX_OK;
    *ret = NULL;
    va_start(ap, err);
    while (argc < WORDS_MAX && (argv[argc] = va_arg(ap, const char *)) != NULL) {
        lens[argc] = strlen(argv[argc]);
        argc++;
    }
    va_end(ap);
    link_command(&b->link, argc, argv, lens);
    while (r == OUTBOX_OK) {
        link_work(&b->link);
        *ret = link_reply(&b->link);
        if (*ret)
            return OUTBOX_OK;
        if (b->link.gone)
            return outbox_fail(err, b->link.gone, "%s", b->link.why);
        r = ask_wait(b, link_events(&b->link), until_us, err);
    }
    return r;
}
