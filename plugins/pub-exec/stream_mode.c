/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_mode.c - messages to a co-process and its replies, a window of them under way.
 *
 * When publish returns, nothing is unanswered by a living process: either all was answered, or
 * the process is gone. So an answer can never be taken for that of a later sending.
 */
#include "common/failpoint.h"
#include "common/message_json.h"
#include "common/utf8.h"
#include "exec.h"
#include "reply.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Enough to keep the pipe full; more would only be held in memory. */
#define OUT_MAX (256 * 1024)
#define READ_SIZE 65536
#define LATE_US INT64_C(1000000)

struct call {
    struct exec *x;
    const struct outbox_message *const *msgs;
    struct outbox_outcome *const *outcomes;
    uint64_t n;
    uint64_t next;
    int64_t deadline_us;
    int cancel_fd;
    bool stop; /* send nothing more */
    bool cancelled;
    bool timed_out;
};

static int64_t now_us(const struct exec *x)
{
    return x->host->monotonic_us(x->host);
}

static size_t ring_next(const struct exec *x, size_t i)
{
    return i == x->window ? 0 : i + 1;
}

static size_t in_flight(const struct exec *x)
{
    const struct stream *st = x->stream;
    return st->tail >= st->head ? st->tail - st->head : st->tail + x->window + 1 - st->head;
}

/* ---- sending ---- */

/*
 * How many may be under way: the window, and no more than are answered within half of `timeout` at
 * the pace of late. Who works slowly and in order would be given more than it can do within the
 * call, and be killed for it.
 */
static size_t most_in_flight(const struct exec *x)
{
    int64_t most = x->answer_us > 0 ? x->timeout_ms * 1000 / 2 / x->answer_us : x->window;
    return most < 1 ? 1 : most < x->window ? (size_t)most : x->window;
}

/* Copies of one message have one id, by which an answer finds it: one at a time. */
static bool must_wait(const struct call *c, const struct outbox_message *msg)
{
    const struct stream *st = c->x->stream;
    if (outbox_str_eq(msg->id, msg->row_id))
        return false;
    for (size_t i = st->head; i != st->tail; i = ring_next(c->x, i))
        if (!st->sent[i].answered && outbox_str_eq(c->msgs[st->sent[i].index]->id, msg->id))
            return true;
    return false;
}

static void refuse(struct call *c, const char *why)
{
    struct outbox_outcome *outcome = c->outcomes[c->next++];
    outcome->verdict = OUTBOX_REJECTED;
    outcome->reason = outbox_cstr(why);
}

static int queue(struct call *c, int64_t now)
{
    struct stream *st = c->x->stream;
    size_t length;
    struct outbox_str id = c->msgs[c->next]->id;
    if (!utf8_is_clean(id.p, (size_t)id.n)) {
        refuse(c, "the id is not valid UTF-8, or holds a NUL, so that no reply could name it");
        return 0;
    }
    if (!message_json_fits(c->msgs[c->next])) {
        refuse(c, "it is too large to be written as JSON");
        return 0;
    }
    struct json_object *object = message_json(c->msgs[c->next]);
    const char *text = object ? message_json_text(object, c->msgs[c->next], &length) : NULL;
    int r = text ? buffer_add(&st->out, text, length) : -1;
    json_object_put(object);
    if (r < 0 || buffer_add(&st->out, "\n", 1) < 0)
        return -1;
    if (st->head == st->tail)
        st->answer_us = now;
    st->sent[st->tail] = (struct sent){.index = c->next++, .sent_us = now};
    st->tail = ring_next(c->x, st->tail);
    return 0;
}

static void queue_some(struct call *c)
{
    struct exec *x = c->x;
    int64_t now = now_us(x);
    size_t most = most_in_flight(x);
    while (!c->stop && c->next < c->n && in_flight(x) < most && x->stream->out.n < OUT_MAX &&
           !must_wait(c, c->msgs[c->next])) {
        if (queue(c, now) < 0) {
            stream_fail(x, "out of memory");
            return;
        }
    }
}

static bool write_some(struct exec *x)
{
    struct stream *st = x->stream;
    while (st->written < st->out.n) {
        ssize_t n = write(st->child.in_fd, st->out.p + st->written, st->out.n - st->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            child_close(&st->child.in_fd); /* its exit or its silence says the rest */
            break;
        }
        st->written += (size_t)n;
    }
    if (st->written > 0)
        failpoint("after_publish");
    st->out.n = st->written = 0;
    return true;
}

/* ---- answers ---- */

static struct sent *find_sent(const struct call *c, struct outbox_str id)
{
    struct stream *st = c->x->stream;
    for (size_t i = st->head; i != st->tail; i = ring_next(c->x, i))
        if (!st->sent[i].answered && outbox_str_eq(c->msgs[st->sent[i].index]->id, id))
            return &st->sent[i];
    return NULL;
}

/* How fast it is; and whoever is the oldest now has its whole time, since the program may do one
 * after the other. */
static void note_pace(struct exec *x, int64_t now)
{
    struct stream *st = x->stream;
    int64_t took = now - st->answer_us;
    x->answer_us = x->answer_us < 0 ? took : (x->answer_us * 7 + took) / 8;
    st->answer_us = now;
    if (st->head != st->tail && st->sent[st->head].answered) {
        while (st->head != st->tail && st->sent[st->head].answered)
            st->head = ring_next(x, st->head);
        if (st->head != st->tail)
            st->sent[st->head].sent_us = now;
    }
}

static bool take_reply(struct call *c, const char *line, size_t n)
{
    struct exec *x = c->x;
    struct stream *st = x->stream;
    struct reply reply;
    const char *wrong = reply_parse(line, n, &reply);
    struct sent *sent = wrong ? NULL : find_sent(c, reply.id);
    if (!wrong && !sent)
        wrong = "a reply's `id` is unknown, or was answered before";
    if (wrong) {
        reply_free(&reply);
        return stream_fail(x, "%.100s broke the protocol: %s", x->argv[0], wrong);
    }
    struct outbox_outcome *outcome = c->outcomes[sent->index];
    outcome->verdict = reply.verdict;
    outcome->after_ms = reply.after_ms;
    if (reply.reason.p)
        arena_str(&x->arena, reply.reason.p, (size_t)reply.reason.n, &outcome->reason);
    c->stop |= reply.verdict == OUTBOX_UNAVAILABLE;
    reply_free(&reply);
    sent->answered = true;
    st->answers++;
    x->failures = 0;
    note_pace(x, now_us(x));
    return true;
}

static bool take_lines(struct call *c)
{
    struct buffer *in = &c->x->stream->in;
    size_t done = 0;
    bool ok = true;
    while (ok && done < in->n) {
        char *newline = memchr(in->p + done, '\n', in->n - done);
        if (!newline)
            break;
        ok = take_reply(c, in->p + done, (size_t)(newline - in->p) - done);
        done = (size_t)(newline - in->p) + 1;
    }
    memmove(in->p, in->p + done, in->n - done);
    in->n -= done;
    if (ok && in->n > REPLY_MAX)
        ok = stream_fail(c->x, "%.100s broke the protocol: a reply is longer than 64 KiB",
                         c->x->argv[0]);
    return ok;
}

static bool read_some(struct call *c)
{
    struct stream *st = c->x->stream;
    char text[READ_SIZE];
    ssize_t n = read(st->child.out_fd, text, sizeof text);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
        child_close(&st->child.out_fd);
        return true;
    }
    if (buffer_add(&st->in, text, (size_t)n) < 0)
        return stream_fail(c->x, "out of memory");
    return take_lines(c);
}

/* ---- the call ---- */

/* The oldest unanswered message is charged, for it may be what the program hangs on: so long
 * nothing older was answered either. */
static void time_out(struct call *c)
{
    struct exec *x = c->x;
    const struct stream *st = x->stream;
    char why[128];
    snprintf(why, sizeof why, "no answer within %" PRId64 " ms", x->timeout_ms);
    struct outbox_outcome *outcome = c->outcomes[st->sent[st->head].index];
    outcome->verdict = OUTBOX_RETRY;
    arena_str(&x->arena, why, strlen(why), &outcome->reason);
    stream_kill(x, why);
    x->retry_us = 0; /* the message is to blame; the next ones need not wait */
    c->timed_out = true;
}

/* Has the oldest waited for its whole time? If that is noticed late, it was us who did not look:
 * the program may have answered meanwhile, or not have been told, so the time begins again. */
static bool is_timed_out(const struct call *c, int64_t now)
{
    struct stream *st = c->x->stream;
    int64_t late =
        st->head == st->tail ? -1 : now - st->sent[st->head].sent_us - c->x->timeout_ms * 1000;
    if (late > LATE_US)
        st->sent[st->head].sent_us = now;
    return late >= 0 && late <= LATE_US;
}

static int64_t wait_until(const struct call *c)
{
    const struct stream *st = c->x->stream;
    int64_t oldest =
        st->head != st->tail ? st->sent[st->head].sent_us + c->x->timeout_ms * 1000 : INT64_MAX;
    return c->deadline_us < oldest ? c->deadline_us : oldest;
}

static void check_cancel(struct call *c, short revents, uint32_t grace_ms)
{
    if (!revents)
        return;
    int64_t last = now_us(c->x) + (int64_t)grace_ms * 1000;
    c->cancelled = c->stop = true;
    if (last < c->deadline_us)
        c->deadline_us = last;
}

/* One wait for whatever comes. False: the process is gone or no more good. */
static bool turn(struct call *c, uint32_t grace_ms)
{
    struct stream *st = c->x->stream;
    struct pollfd fds[] = {
        {.fd = st->child.out_fd, .events = POLLIN},
        {.fd = st->written < st->out.n ? st->child.in_fd : -1, .events = POLLOUT},
        {.fd = st->child.err_fd, .events = POLLIN},
        {.fd = st->child.pid_fd, .events = POLLIN},
        {.fd = c->cancelled ? -1 : c->cancel_fd, .events = POLLIN},
    };
    int64_t left = (wait_until(c) - now_us(c->x) + 999) / 1000;
    poll(fds, 5, child_poll_ms(&st->child, left));
    check_cancel(c, fds[4].revents, grace_ms);
    if (fds[0].revents && !read_some(c))
        return false;
    if (fds[1].revents)
        write_some(c->x);
    if (fds[2].revents)
        stream_read_log(c->x);
    /* What it said before it ended counts: its output is read to the end first. */
    bool ended = st->child.pid_fd < 0 ? child_has_ended(&st->child) : fds[3].revents != 0;
    if (ended && (st->child.out_fd < 0 || !(fds[0].revents & POLLIN)))
        return !stream_has_ended(c->x);
    return !st->broken;
}

static void run(struct call *c, uint32_t grace_ms)
{
    struct exec *x = c->x;
    while (x->stream && !x->stream->broken) {
        if (now_us(x) + x->timeout_ms * 1000 > c->deadline_us && c->next > 0)
            c->stop = true; /* what is sent now could not have all of its time */
        queue_some(c);
        if (in_flight(x) == 0 && (c->stop || c->next == c->n))
            return;
        if (x->stream->written < x->stream->out.n && x->stream->child.in_fd >= 0)
            write_some(x);
        if (!turn(c, grace_ms))
            break;
        int64_t now = now_us(x);
        if (is_timed_out(c, now)) {
            time_out(c);
            return;
        }
        if (now >= c->deadline_us)
            break;
    }
    if (x->stream)
        stream_kill(x, x->stream->broken ? x->trouble : "called back before it had answered all");
}

static int paused(struct exec *x, uint64_t n, struct outbox_outcome *const *outcomes)
{
    int64_t ms = (x->retry_us - now_us(x) + 999) / 1000;
    for (uint64_t i = 0; i < n; i++) {
        outcomes[i]->verdict = OUTBOX_UNAVAILABLE;
        outcomes[i]->after_ms = (uint32_t)ms;
        outcomes[i]->reason = outbox_cstr(x->trouble);
    }
    return OUTBOX_OK;
}

int stream_publish(struct exec *x, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    struct call c = {.x = x,
                     .msgs = msgs,
                     .outcomes = outcomes,
                     .n = n,
                     .deadline_us = now_us(x) + (int64_t)call->timeout_ms * 1000,
                     .cancel_fd = call->cancel_fd};
    if (n == 0 || call->timeout_ms < x->timeout_ms)
        return OUTBOX_OK;
    if (x->stream && stream_has_ended(x))
        x->retry_us = 0; /* it ended while idle, owing nothing */
    if (now_us(x) < x->retry_us)
        return paused(x, n, outcomes);
    int r = x->stream ? OUTBOX_OK : stream_start(x, err);
    if (r < 0)
        return r;
    x->trouble[0] = '\0';
    run(&c, call->grace_ms);
    if (c.cancelled)
        return outbox_fail(err, OUTBOX_E_CANCELLED, "called back");
    bool charged =
        x->stream == NULL && x->retry_us == 0 && strncmp(x->trouble, "no answer", 9) == 0;
    return x->stream || charged ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "%s", x->trouble);
}

int stream_tend(struct exec *x, struct outbox_keepalive *ret)
{
    enum { AGAIN_MS = 1000 };
    char text[256];
    ret->verdict = OUTBOX_ACCEPTED;
    if (!x->stream || stream_has_ended(x))
        return OUTBOX_OK;
    stream_read_log(x);
    if (x->stream->child.out_fd >= 0 && read(x->stream->child.out_fd, text, sizeof text) > 0)
        stream_kill(x, "it replied though nothing had been asked");
    ret->again_ms = AGAIN_MS;
    return OUTBOX_OK;
}
