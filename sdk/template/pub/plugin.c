/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pub-@name@.c - publishes messages to a server at a socket, by a small protocol of lines:
 *
 *     login TOKEN                            ok | refused REASON
 *     put N_ID N_TOPIC N_PAYLOAD, the bytes  ok | later MS | retry REASON | never REASON
 *
 * tests/server.c is that server. Replace what connects, sends and reads by your client; the shape
 * of open, close, check and publish can stay.
 */
#define _DEFAULT_SOURCE /* explicit_bzero */
#include <outbox/plugin.h>
#include <outbox/wait.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION "0.1.0"
#endif

/* So many messages wait for their answers at a time. */
#define WINDOW 64

struct publisher {
    const struct outbox_host *host; /* valid until close, as is cfg */
    const struct outbox_cfg *cfg;
    const char *path;
    int64_t answer_ms;
    int fd;         /* -1: not connected */
    char in[512];   /* what has come and is not read */
    size_t have;    /* so much of it */
    size_t read_to; /* a line ended here */
    struct outbox_reasons reasons;
};

static const struct outbox_option options[] = {
    {"socket", NULL, "The socket of the server.", NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED},
    {"token", NULL, "What the server wants at login, if anything.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     OUTBOX_OPT_SECRET},
    {"answer_timeout", "5s", "How long the server may take for an answer.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
};

/* ---- the connection ---- */

static void disconnect(struct publisher *x)
{
    if (x->fd >= 0)
        close(x->fd);
    x->fd = -1;
    x->have = x->read_to = 0;
}

/* Sends n bytes. MSG_NOSIGNAL: not every host ignores SIGPIPE. */
static int send_bytes(struct publisher *x, struct outbox_deadline *d, const char *p, uint64_t n,
                      struct outbox_err *err)
{
    while (n > 0) {
        ssize_t sent = send(x->fd, p, (size_t)n, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            int r = outbox_wait(d, x->fd, POLLOUT, 1);
            if (r < 0)
                return outbox_fail(err, r, "%s: the server takes nothing", x->path);
        } else if (sent < 0) {
            return outbox_fail(err, OUTBOX_E_RETRY, "%s: %s", x->path, strerror(errno));
        } else {
            p += sent;
            n -= (uint64_t)sent;
        }
    }
    return OUTBOX_OK;
}

/* Reads one line into *ret, which is valid until the next call. */
static int read_line(struct publisher *x, struct outbox_deadline *d, char **ret,
                     struct outbox_err *err)
{
    char *end;
    x->have -= x->read_to;
    memmove(x->in, x->in + x->read_to, x->have);
    x->read_to = 0;
    while (!(end = memchr(x->in, '\n', x->have))) {
        ssize_t n;
        int r = outbox_wait(d, x->fd, POLLIN, 1);
        if (r < 0)
            return outbox_fail(err, r, "%s: the server does not answer", x->path);
        n = recv(x->fd, x->in + x->have, sizeof x->in - x->have, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (n <= 0)
            return outbox_fail(err, OUTBOX_E_RETRY, "%s: %s", x->path,
                               n < 0                     ? strerror(errno)
                               : x->have == sizeof x->in ? "the answer is too long"
                                                         : "the server has hung up");
        x->have += (size_t)n;
    }
    *end = '\0';
    x->read_to = (size_t)(end + 1 - x->in);
    *ret = x->in;
    return OUTBOX_OK;
}

/* The token is read at each login, so that it can be changed while the relay runs. */
static int send_token(struct publisher *x, struct outbox_deadline *d, struct outbox_err *err)
{
    char token[256] = "";
    uint64_t n = 0;
    int r = OUTBOX_OK;
    if (x->host->option_is_set(x->cfg, "token"))
        r = outbox_option_read(x->host, x->cfg, "token", token, sizeof token, &n, err);
    if (r == OUTBOX_OK)
        r = send_bytes(x, d, "login ", 6, err);
    if (r == OUTBOX_OK)
        r = send_bytes(x, d, token, n, err);
    explicit_bzero(token, sizeof token);
    return r == OUTBOX_OK ? send_bytes(x, d, "\n", 1, err) : r;
}

/* Connects and logs in, unless that is done. A failure leaves no connection. */
static int connect_now(struct publisher *x, struct outbox_deadline *d, struct outbox_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char *answer;
    int r;
    if (x->fd >= 0)
        return OUTBOX_OK;
    memcpy(address.sun_path, x->path, strlen(x->path) + 1);
    x->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (x->fd < 0 || connect(x->fd, (struct sockaddr *)&address, sizeof address) < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "%s: %s", x->path, strerror(errno));
    else
        r = send_token(x, d, err);
    if (r == OUTBOX_OK)
        r = read_line(x, d, &answer, err);
    if (r == OUTBOX_OK && strcmp(answer, "ok") != 0)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "%s: the server refuses the login: %s", x->path,
                        answer);
    if (r < 0)
        disconnect(x);
    return r;
}

/* ---- messages ---- */

static int put(struct publisher *x, struct outbox_deadline *d, const struct outbox_message *m,
               struct outbox_err *err)
{
    char head[96];
    int n = snprintf(head, sizeof head, "put %llu %llu %llu\n", (unsigned long long)m->id.n,
                     (unsigned long long)m->topic.n, (unsigned long long)m->payload.n);
    int r = send_bytes(x, d, head, (uint64_t)n, err);
    if (r == OUTBOX_OK)
        r = send_bytes(x, d, m->id.p, m->id.n, err);
    if (r == OUTBOX_OK)
        r = send_bytes(x, d, m->topic.p, m->topic.n, err);
    return r == OUTBOX_OK ? send_bytes(x, d, m->payload.p, m->payload.n, err) : r;
}

/* What an answer means for its message. */
static int take_answer(struct publisher *x, const char *answer, struct outbox_outcome *outcome,
                       struct outbox_err *err)
{
    if (strcmp(answer, "ok") == 0) {
        outcome->verdict = OUTBOX_ACCEPTED;
    } else if (strncmp(answer, "later ", 6) == 0) {
        outbox_reason(&x->reasons, outcome, OUTBOX_LATER, "the server is busy");
        outcome->after_ms = (uint32_t)strtoul(answer + 6, NULL, 10);
    } else if (strncmp(answer, "retry ", 6) == 0) {
        outbox_reason(&x->reasons, outcome, OUTBOX_RETRY, "the server says: %s", answer + 6);
    } else if (strncmp(answer, "never ", 6) == 0) {
        outbox_reason(&x->reasons, outcome, OUTBOX_REJECTED, "the server says: %s", answer + 6);
    } else {
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: no answer of the protocol: %.40s", x->path,
                           answer);
    }
    return OUTBOX_OK;
}

/* Sends all messages and takes all answers. Once the host cancels, it only takes answers. */
static int exchange(struct publisher *x, struct outbox_deadline *d,
                    const struct outbox_message *const *msgs, uint64_t n,
                    struct outbox_outcome *const *outcomes, struct outbox_err *err)
{
    uint64_t sent = 0, answered = 0;
    int r = OUTBOX_OK;
    while (r == OUTBOX_OK && answered < n) {
        int may_send = sent < n && sent - answered < WINDOW && !outbox_deadline_cancelled(d);
        char *answer;
        if (may_send) {
            r = put(x, d, msgs[sent], err);
            sent++;
        } else if (answered < sent) {
            r = read_line(x, d, &answer, err);
            if (r == OUTBOX_OK)
                r = take_answer(x, answer, outcomes[answered++], err);
        } else {
            return outbox_fail(err, OUTBOX_E_CANCELLED, "the host cancelled the call");
        }
    }
    return r;
}

/* ---- the operations ---- */

static void close_instance(void *instance)
{
    struct publisher *x = instance;
    if (!x)
        return;
    disconnect(x);
    outbox_reasons_clear(&x->reasons);
    free(x);
}

/* Validates and allocates. It does not connect: the server may be down now and up later. */
static int open_instance(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                         struct outbox_err *err)
{
    struct publisher *x = calloc(1, sizeof *x);
    int r = OUTBOX_OK;
    if (!x)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    x->host = host;
    x->cfg = cfg;
    x->path = host->option_text(cfg, "socket").p;
    x->answer_ms = host->option_int(cfg, "answer_timeout");
    x->fd = -1;
    if (strlen(x->path) >= sizeof((struct sockaddr_un *)0)->sun_path)
        r = outbox_fail_option(err, "socket", "socket: the path is longer than a socket's may be");
    return outbox_opened(r, x, close_instance, ret);
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    struct publisher *x = instance;
    struct outbox_deadline d;
    outbox_deadline_begin(&d, x->host, call);
    outbox_deadline_shorten(&d, x->answer_ms);
    return connect_now(x, &d, err);
}

/*
 * A negative result is about the connection: the host pauses this publisher, and charges no
 * message. What is about one message is its outcome.
 */
static int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    struct publisher *x = instance;
    struct outbox_deadline d;
    int r;
    outbox_reasons_clear(&x->reasons);
    outbox_deadline_begin(&d, x->host, call);
    r = connect_now(x, &d, err);
    if (r == OUTBOX_OK)
        r = exchange(x, &d, msgs, n, outcomes, err);
    /* An answer that comes from now on would be taken for that of another message. */
    if (r < 0)
        disconnect(x);
    return r;
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_instance,
    .close = close_instance,
    .check = check,
    .publish = publish,
};

OUTBOX_DEFINE_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "@name@", PLUGIN_VERSION,
                     "Publishes messages to a server at a socket.", NULL, ops, options)
