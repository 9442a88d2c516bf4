/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - a socket, what goes out on it, and the reader of what comes in. */
#include "link.h"

#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* No reply is so long that we ask for. */
#define REPLY_MAX (64u << 20)
/* What an idle buffer may keep. */
#define KEEP_MAX (4u << 20)

int link_open(struct link *l, int fd, struct outbox_err *err)
{
    memset(l, 0, sizeof *l);
    l->fd = fd;
    l->reader = redisReaderCreate();
    return l->reader ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
}

void link_close(struct link *l)
{
    if (l->fd < 0)
        return;
    SSL_free(l->ssl);
    close(l->fd);
    if (l->reader)
        redisReaderFree(l->reader);
    if (l->out)
        explicit_bzero(l->out, l->cap); /* the login was in it */
    free(l->out);
    memset(l, 0, sizeof *l);
    l->fd = -1;
}

void link_end(struct link *l, int code, const char *fmt, ...)
{
    va_list ap;
    if (l->gone)
        return;
    l->gone = code;
    va_start(ap, fmt);
    vsnprintf(l->why, sizeof l->why, fmt, ap);
    va_end(ap);
}

/* ---- commands ---- */

static int make_room(struct link *l, size_t n)
{
    size_t cap = l->cap ? l->cap : 4096;
    char *out;
    if (l->cap - l->filled >= n)
        return 1;
    if (l->written > 0) {
        memmove(l->out, l->out + l->written, l->filled - l->written);
        l->filled -= l->written;
        l->written = 0;
    }
    while (cap - l->filled < n)
        cap *= 2;
    if (cap == l->cap)
        return 1;
    out = malloc(cap); /* realloc would leave a copy of the login */
    if (!out)
        return 0;
    if (l->filled > 0)
        memcpy(out, l->out, l->filled);
    if (l->out)
        explicit_bzero(l->out, l->filled);
    free(l->out);
    l->out = out;
    l->cap = cap;
    return 1;
}

void link_command(struct link *l, int argc, const char **argv, const size_t *lens)
{
    char *command = NULL;
    long long n = redisFormatCommandArgv(&command, argc, argv, lens);
    l->asked++;
    if (n < 0 || !make_room(l, (size_t)n)) {
        link_end(l, OUTBOX_E_RETRY, "out of memory");
        redisFreeCommand(command);
        return;
    }
    memcpy(l->out + l->filled, command, (size_t)n);
    l->filled += (size_t)n;
    if (l->asked == 1)
        explicit_bzero(command, (size_t)n); /* the login */
    redisFreeCommand(command);
}

/* ---- in and out ---- */

short link_events(const struct link *l)
{
    int out = link_unwritten(l) > 0 && !l->write_wants_read;
    return (short)(POLLIN | (out || l->read_wants_write ? POLLOUT : 0));
}

static void note_ssl(struct link *l, int r, int *other_way, int other)
{
    int why = SSL_get_error(l->ssl, r);
    unsigned long e = ERR_peek_last_error();
    if (why == other)
        *other_way = 1;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return;
    if (why == SSL_ERROR_SSL && e)
        link_end(l, OUTBOX_E_RETRY, "TLS: %s", ERR_reason_error_string(e));
    else if (why == SSL_ERROR_SYSCALL && errno != 0)
        link_end(l, OUTBOX_E_RETRY, "TLS: %s", strerror(errno));
    else
        link_end(l, OUTBOX_E_RETRY, "TLS: the server has closed it");
}

/* Bytes, or -1: none now. */
static ssize_t write_some(struct link *l)
{
    const char *p = l->out + l->written;
    size_t n = l->filled - l->written;
    ssize_t r;
    if (l->ssl) {
        ERR_clear_error();
        errno = 0;
        l->write_wants_read = 0;
        r = SSL_write(l->ssl, p, n > 1 << 30 ? 1 << 30 : (int)n);
        if (r <= 0)
            note_ssl(l, (int)r, &l->write_wants_read, SSL_ERROR_WANT_READ);
        return r > 0 ? r : -1;
    }
    r = send(l->fd, p, n, MSG_NOSIGNAL);
    if (r < 0 && errno != EAGAIN && errno != EINTR)
        link_end(l, OUTBOX_E_RETRY, "%s", strerror(errno));
    return r;
}

static ssize_t read_some(struct link *l, char *buf, size_t cap)
{
    ssize_t r;
    if (l->ssl) {
        ERR_clear_error();
        errno = 0;
        l->read_wants_write = 0;
        r = SSL_read(l->ssl, buf, (int)cap);
        if (r <= 0)
            note_ssl(l, (int)r, &l->read_wants_write, SSL_ERROR_WANT_WRITE);
        return r > 0 ? r : -1;
    }
    r = recv(l->fd, buf, cap, 0);
    if (r == 0)
        link_end(l, OUTBOX_E_RETRY, "the server has closed it");
    else if (r < 0 && errno != EAGAIN && errno != EINTR)
        link_end(l, OUTBOX_E_RETRY, "%s", strerror(errno));
    return r > 0 ? r : -1;
}

static void write_out(struct link *l)
{
    while (!l->gone && link_unwritten(l) > 0) {
        ssize_t n = write_some(l);
        if (n < 0)
            break;
        l->written += (size_t)n;
    }
    if (link_unwritten(l) > 0)
        return;
    if (l->asked == 1)
        explicit_bzero(l->out, l->filled); /* the login */
    l->filled = l->written = 0;
    if (l->cap > KEEP_MAX) {
        free(l->out);
        l->out = NULL;
        l->cap = 0;
    }
}

/* What the server said before it hung up is read, too: an error explains it. */
size_t link_work(struct link *l)
{
    char buf[16384];
    size_t total = 0;
    int was_gone = l->gone;
    write_out(l);
    if (was_gone)
        return 0;
    /* All of it: what is left inside of TLS, poll does not see. */
    while (l->reader->len - l->reader->pos < REPLY_MAX) {
        ssize_t n = read_some(l, buf, sizeof buf);
        if (n < 0)
            return total;
        total += (size_t)n;
        if (redisReaderFeed(l->reader, buf, (size_t)n) != REDIS_OK)
            break;
    }
    link_end(l, OUTBOX_E_RETRY, "a reply is too long, or memory is short");
    return total;
}

redisReply *link_reply(struct link *l)
{
    void *reply = NULL;
    if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
        l->gone = OUTBOX_OK; /* this says more than that it hung up, too */
        link_end(l, OUTBOX_E_RETRY, "it does not speak the protocol of Redis: %s",
                 l->reader->errstr);
        return NULL;
    }
    if (reply)
        l->answered++;
    return reply;
}
