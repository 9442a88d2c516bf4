/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream_mode.c - messages to a co-process and its replies, a window of them in flight.
 *
 * When publish returns, nothing is unanswered by a living process: either all was answered, or
 * the process is gone. So a reply can never be taken for that of a later sending.
 */
#include "abandoned.h"
#include "common/message_json.h"
#include "common/utf8.h"
#include "coprocess.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* Enough to keep the pipe full; more would only be held in memory. */
#define OUT_MAX (256 * 1024)
#define LATE_US INT64_C(1000000)

struct sent {
    int64_t sent_us;
    bool answered;
};

/* One call of publish. */
struct exchange {
    struct exec *x;
    const struct outbox_message *const *msgs;
    struct outbox_outcome *const *outcomes;
    uint64_t n;
    struct sent *sent; /* for each message */
    uint64_t oldest;   /* the first one that is not answered; */
    uint64_t next;     /* the first one that is not sent: those between are in flight */
    int64_t deadline_us;
    int64_t last_reply_us; /* or when it was given something to do after it had nothing */
    bool stop;             /* send nothing more */
    bool cancelled;
};

static void skip_answered(struct exchange *e)
{
    while (e->oldest < e->next && e->sent[e->oldest].answered)
        e->oldest++;
}

/* The message in flight with this id; NULL: there is none. */
static struct sent *find_in_flight(const struct exchange *e, struct outbox_str id)
{
    for (uint64_t i = e->oldest; i < e->next; i++)
        if (!e->sent[i].answered && outbox_str_eq(e->msgs[i]->id, id))
            return &e->sent[i];
    return NULL;
}

/* ---- sending ---- */

/*
 * How many may be in flight: the window, and no more than are answered within half of `timeout` at
 * the pace of late. A program that works slowly and in order would be given more than it can do
 * within the call, and be killed for it.
 */
static uint64_t max_in_flight(const struct exec *x)
{
    int64_t most =
        x->reply_interval_us > 0 ? x->timeout_ms * 1000 / 2 / x->reply_interval_us : x->window;
    return most < 1 ? 1 : most < x->window ? (uint64_t)most : x->window;
}

/* Copies of one message have one id, by which a reply finds it: one at a time. */
static bool must_wait(const struct exchange *e)
{
    const struct outbox_message *msg = e->msgs[e->next];
    return !outbox_str_eq(msg->id, msg->row_id) && find_in_flight(e, msg->id);
}

/* Why a message cannot be sent; NULL: it can. */
static const char *defect_of(const struct outbox_message *msg)
{
    if (!utf8_is_clean(msg->id.p, (size_t)msg->id.n))
        return "the id is not valid UTF-8, or holds a NUL, so that no reply could name it";
    return message_json_defect(msg);
}

static int queue_next(struct exchange *e, int64_t now)
{
    const struct outbox_message *msg = e->msgs[e->next];
    const char *defect = defect_of(msg);
    if (defect) {
        e->outcomes[e->next]->verdict = OUTBOX_REJECTED;
        e->outcomes[e->next]->reason = outbox_cstr(defect);
    } else {
        const char *text;
        size_t length;
        struct json_object *object = message_json(msg, &text, &length);
        int r = object ? coprocess_queue(e->x->co, text, length) : OUTBOX_E_RETRY;
        json_object_put(object);
        if (r < 0)
            return coprocess_fail(e->x, "out of memory");
    }
    if (e->oldest == e->next)
        e->last_reply_us = now;
    e->sent[e->next++] = (struct sent){.sent_us = now, .answered = defect};
    skip_answered(e);
    return OUTBOX_OK;
}

static int send_some(struct exchange *e)
{
    struct exec *x = e->x;
    int64_t now = exec_now_us(x);
    uint64_t most = max_in_flight(x);
    int r = OUTBOX_OK;
    if (now + x->timeout_ms * 1000 > e->deadline_us && e->next > 0)
        e->stop = true; /* what is sent now could not have all of its time */
    while (r == 0 && !e->stop && e->next < e->n && e->next - e->oldest < most &&
           x->co->out_n < OUT_MAX && !must_wait(e))
        r = queue_next(e, now);
    coprocess_write(x->co);
    return r;
}

/* ---- replies ---- */

/* How fast it is; and the message that is the oldest now has its whole time, since the program may
 * do one after the other. */
static void note_pace(struct exchange *e)
{
    struct exec *x = e->x;
    uint64_t oldest = e->oldest;
    int64_t now = exec_now_us(x), took = now - e->last_reply_us;
    x->reply_interval_us = x->reply_interval_us < 0 ? took : (x->reply_interval_us * 7 + took) / 8;
    e->last_reply_us = now;
    skip_answered(e);
    if (e->oldest != oldest && e->oldest < e->next)
        e->sent[e->oldest].sent_us = now;
}

static int take_reply(struct exchange *e, const char *line, size_t n)
{
    struct exec *x = e->x;
    struct reply reply;
    const char *wrong = reply_parse(line, n, &reply);
    struct sent *sent = wrong ? NULL : find_in_flight(e, reply.id);
    if (!wrong && !sent)
        wrong = "a reply's `id` is unknown, or was answered before";
    if (!wrong) {
        struct outbox_outcome *outcome = e->outcomes[sent - e->sent];
        outcome->verdict = reply.verdict;
        outcome->after_ms = reply.after_ms;
        arena_str(&x->arena, reply.reason.p, (size_t)reply.reason.n, &outcome->reason);
        e->stop |= reply.verdict == OUTBOX_UNAVAILABLE;
        sent->answered = true;
        x->co->n_replies++;
        note_pace(e);
    }
    reply_free(&reply);
    return wrong ? coprocess_fail(x, "%.100s broke the protocol: %s", x->argv[0], wrong)
                 : OUTBOX_OK;
}

/* The replies of one read, so that sending goes on between reads; all when the program has ended.
 */
static int take_replies(struct exchange *e, bool has_ended)
{
    struct coprocess *co = e->x->co;
    int r = OUTBOX_OK;
    while (r == 0 && coprocess_read(co)) {
        char *line = co->in, *end = co->in + co->in_n, *newline;
        while (r == 0 && (newline = memchr(line, '\n', (size_t)(end - line)))) {
            r = take_reply(e, line, (size_t)(newline - line));
            line = newline + 1;
        }
        co->in_n = (size_t)(end - line);
        memmove(co->in, line, co->in_n);
        if (r == 0 && co->in_n > REPLY_MAX)
            r = take_reply(e, co->in, co->in_n); /* which says that it is too long */
        if (!has_ended)
            break;
    }
    return r;
}

/* ---- the exchange ---- */

static void cancel(struct exchange *e, uint32_t grace_ms)
{
    int64_t last = exec_now_us(e->x) + (int64_t)grace_ms * 1000;
    e->cancelled = e->stop = true;
    if (last < e->deadline_us)
        e->deadline_us = last;
}

/* Waits for whatever comes first, and handles it. A failure: the process is gone, or has to go. */
static int wait_once(struct exchange *e, const struct outbox_call *call)
{
    struct exec *x = e->x;
    struct coprocess *co = x->co;
    struct child *child = &co->child;
    struct pollfd fds[] = {
        {.fd = child->out_fd, .events = POLLIN},
        {.fd = co->written < co->out_n ? child->in_fd : -1, .events = POLLOUT},
        {.fd = child->err_fd, .events = POLLIN},
        {.fd = child->pid_fd, .events = POLLIN},
        {.fd = e->cancelled ? -1 : call->cancel_fd, .events = POLLIN},
    };
    int64_t until_us = e->deadline_us;
    if (e->oldest < e->next && e->sent[e->oldest].sent_us + x->timeout_ms * 1000 < until_us)
        until_us = e->sent[e->oldest].sent_us + x->timeout_ms * 1000;
    poll(fds, 5, child_poll_ms(child, (until_us - exec_now_us(x) + 999) / 1000));
    if (fds[4].revents)
        cancel(e, call->grace_ms);
    if (fds[2].revents)
        coprocess_log(x);
    /* What it replied before it ended counts: its end is noticed first, then all is read. */
    bool ended = (child->pid_fd < 0 || fds[3].revents) && child_has_ended(child);
    int r = fds[0].revents || ended ? take_replies(e, ended) : OUTBOX_OK;
    return r == 0 && ended && coprocess_reap_ended(x) ? OUTBOX_E_RETRY : r;
}

/* Has the oldest waited for its whole time? If that is noticed late, we were not running: the
 * program may have replied meanwhile, or have been sent nothing, so the time begins again. */
static bool is_timed_out(const struct exchange *e, int64_t now)
{
    if (e->oldest == e->next)
        return false;
    int64_t late = now - e->sent[e->oldest].sent_us - e->x->timeout_ms * 1000;
    if (late > LATE_US)
        e->sent[e->oldest].sent_us = now;
    return late >= 0 && late <= LATE_US;
}

static uint32_t until_restart_ms(const struct exec *x)
{
    int64_t ms = (x->restart_us - exec_now_us(x) + 999) / 1000;
    return ms < 0 ? 0 : (uint32_t)ms;
}

/* A program that answered others may hang on the oldest message, which is charged: nothing older is
 * unanswered, and the next process may start at once. One that has answered nothing at all is at
 * fault itself. */
static void time_out(struct exchange *e)
{
    struct exec *x = e->x;
    struct outbox_outcome *outcome = e->outcomes[e->oldest];
    bool has_answered = x->co->n_replies > 0;
    coprocess_fail(x, "no answer within %" PRId64 " ms%s", x->timeout_ms,
                   has_answered ? ""
                                : ", nor any since the program was started: does it flush its "
                                  "output after each line?");
    outcome->verdict = has_answered ? OUTBOX_RETRY : OUTBOX_UNAVAILABLE;
    arena_str(&x->arena, x->last_error, strlen(x->last_error), &outcome->reason);
    coprocess_kill(x);
    if (has_answered)
        x->restart_us = 0;
    else
        outcome->after_ms = until_restart_ms(x);
}

/*
 * Sends and takes replies, until all that was sent is answered, or the oldest message has timed
 * out: OUTBOX_OK. A failure: the process is gone, with last_error; what it did not answer is
 * unknown, and so uncharged.
 */
static int run(struct exchange *e, const struct outbox_call *call)
{
    struct exec *x = e->x;
    int r = OUTBOX_OK;
    while (r == 0) {
        r = send_some(e);
        if (r == 0 && e->oldest == e->next && (e->stop || e->next == e->n))
            return OUTBOX_OK;
        if (r == 0)
            r = wait_once(e, call);
        int64_t now = exec_now_us(x);
        if (r == 0 && is_timed_out(e, now)) {
            time_out(e);
            return OUTBOX_OK;
        }
        if (r == 0 && now >= e->deadline_us)
            r = coprocess_fail(x, "the call ended before all messages were answered");
    }
    if (x->co)
        coprocess_kill(x);
    return r;
}

static int set_unavailable(const char *why, uint32_t after_ms, uint64_t n,
                           struct outbox_outcome *const *outcomes)
{
    for (uint64_t i = 0; i < n; i++) {
        outcomes[i]->verdict = OUTBOX_UNAVAILABLE;
        outcomes[i]->after_ms = after_ms;
        outcomes[i]->reason = outbox_cstr(why);
    }
    return OUTBOX_OK;
}

/*
 * Nothing is sent that could not have all of `timeout`: a message is never charged because the call
 * was short. A program that ended while it had nothing to do owes nothing and starts at once; one
 * that ends before it has replied at all starts ever later, and until then all is unavailable. Only
 * the message on which a program hangs is charged; whatever else ends the process charges none.
 */
int stream_mode_publish(struct exec *x, const struct outbox_message *const *msgs, uint64_t n,
                        const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                        struct outbox_err *err)
{
    struct exchange e = {.x = x,
                         .msgs = msgs,
                         .outcomes = outcomes,
                         .n = n,
                         .sent = arena_array(&x->arena, n, sizeof *e.sent),
                         .deadline_us = exec_now_us(x) + (int64_t)call->timeout_ms * 1000};
    const char *why;
    if (n == 0 || call->timeout_ms < x->timeout_ms)
        return OUTBOX_OK;
    if (!e.sent)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (x->co && coprocess_reap_ended(x))
        x->restart_us = 0;
    if (exec_now_us(x) < x->restart_us)
        return set_unavailable(x->last_error, until_restart_ms(x), n, outcomes);
    if (!x->co && !abandoned_allow(x, &why))
        return set_unavailable(why, 0, n, outcomes);
    int r = x->co ? OUTBOX_OK : coprocess_start(x, err);
    if (r < 0)
        return r;
    r = run(&e, call);
    if (e.cancelled)
        return outbox_fail(err, OUTBOX_E_CANCELLED, "the call was cancelled");
    return r < 0 ? outbox_fail(err, r, "%s", x->last_error) : OUTBOX_OK;
}

int stream_mode_keepalive(void *instance, struct outbox_keepalive *ret, struct outbox_err *err)
{
    enum { AGAIN_MS = 1000 };
    struct exec *x = instance;
    (void)err;
    ret->verdict = OUTBOX_ACCEPTED;
    if (!x->co || coprocess_reap_ended(x))
        return OUTBOX_OK;
    coprocess_log(x);
    if (coprocess_read(x->co)) {
        coprocess_fail(x, "%.100s broke the protocol: a reply to no message", x->argv[0]);
        coprocess_kill(x);
    }
    ret->again_ms = AGAIN_MS;
    return OUTBOX_OK;
}
