/* SPDX-License-Identifier: Apache-2.0 */
/* link.h - commands out and replies in, on a socket that never blocks. It knows no client. */
#pragma once

#include <outbox/helpers.h>

#include <hiredis/hiredis.h>
#include <openssl/ssl.h>

struct link {
    int fd;   /* -1: there is none */
    SSL *ssl; /* NULL: plain */
    redisReader *reader;
    char *out; /* to be written: from `written` to `filled` */
    size_t filled, written, cap;
    int read_wants_write, write_wants_read; /* of TLS */
    uint64_t asked, answered;               /* the numbers of the last command, and of its reply */
    int gone;                               /* it has ended: OUTBOX_E_RETRY or OUTBOX_E_CONFIG */
    char why[320];
};

/* Takes the socket. */
int link_open(struct link *l, int fd, struct outbox_err *err);
void link_close(struct link *l);
OUTBOX_PRINTF(3, 4) void link_end(struct link *l, int code, const char *fmt, ...);

/* Appends a command; its number is l->asked then. Without memory the link ends. */
void link_command(struct link *l, int argc, const char **argv, const size_t *lens);
static inline size_t link_unwritten(const struct link *l)
{
    return l->filled - l->written;
}
/* What poll is to wait for. */
short link_events(const struct link *l);
/* Writes and reads what can be without waiting. The number of bytes that came. */
size_t link_work(struct link *l);
/* The next reply, which the caller frees; its number is l->answered then. NULL: none is there. */
redisReply *link_reply(struct link *l);
