/* SPDX-License-Identifier: Apache-2.0 */
/* answer.c - what came back, and what that means for the messages. Under the lock. */
#include "http.h"

#define SHOWN 200
/* How long to wait when the receiver does not say it, ms. */
#define LATER_MS 5000
/* For so long a 500 tells what the next one means. */
#define FAILED_US 600000000

/* ---- texts for people ---- */

/* The beginning of the answer's body, fit for a log: no control characters, and nothing if what was
 * kept of it repeats a secret of ours. */
static void show_body(const struct client *c, const struct request *q, char shown[SHOWN + 16])
{
    size_t n = 0;
    shown[0] = '\0';
    if (q->answer_n == 0 || secret_is_in(c, (struct outbox_str){q->answer, q->answer_n}))
        return;
    memcpy(shown, ": ", 2);
    for (size_t i = 0; i < q->answer_n && n < SHOWN; i++) {
        char b = q->answer[i];
        shown[2 + n++] = b >= 0x20 && b < 0x7F ? b : b == '\n' || b == '\t' ? ' ' : '?';
    }
    shown[2 + n] = '\0';
}

static const char *peer(const struct client *c)
{
    return c->settings.url.hosts[0].peer;
}

/* Why it is refused by a person's configuration, if so. */
static int is_config(const struct request *q, CURLcode code)
{
    long connect_status = 0;
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_NOT_BUILT_IN:
    case CURLE_LOGIN_DENIED:
    case CURLE_AUTH_ERROR:
        return 1;
    default:
        curl_easy_getinfo(q->easy, CURLINFO_HTTP_CONNECTCODE, &connect_status);
        return connect_status == 407 || connect_status == 403;
    }
}

int answer_fault(const struct client *c, const struct request *q, CURLcode code,
                 struct outbox_err *err)
{
    const char *what = q->error[0] ? q->error : curl_easy_strerror(code);
    const char *to = q->kind == KIND_TOKEN ? "oauth2_token_url" : peer(c);
    if (q->refused && code != CURLE_OPERATION_TIMEDOUT)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: its address %s is of this machine or a private network; set "
                           "allow_private if it may be used",
                           to, q->address);
    if (code == CURLE_OPERATION_TIMEDOUT && !q->begun)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: no connection within connect_timeout", to);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: no answer within publish_timeout", to);
    return outbox_fail(err, is_config(q, code) ? OUTBOX_E_CONFIG : OUTBOX_E_RETRY, "%s: %.300s", to,
                       what);
}

/* ---- the verdict on all messages of a request ---- */

static OUTBOX_PRINTF(5, 6) void done_all(struct client *c, struct request *q, uint32_t verdict,
                                         uint32_t after_ms, const char *fmt, ...)
{
    char text[1024] = "";
    va_list ap;
    if (fmt) {
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
    }
    for (uint32_t i = 0; i < q->n; i++)
        if (q->jobs[i] && fmt)
            outbox_job_done(&c->base, q->jobs[i], verdict, after_ms, "%s", text);
        else if (q->jobs[i])
            outbox_job_done(&c->base, q->jobs[i], verdict, after_ms, NULL);
}

/* Nothing more is sent: the host pauses, and begins with one message. keepalive does not tell it
 * before the outcome does, which may have a time in it. */
static void unavailable(struct client *c)
{
    c->base.is_connected = 0;
    outbox_jobs_give_back(&c->base, &c->base.queue, NULL);
}

static uint32_t after_ms(const struct request *q, uint32_t verdict)
{
    curl_off_t s = 0;
    if (verdict != OUTBOX_LATER && verdict != OUTBOX_UNAVAILABLE)
        return 0;
    curl_easy_getinfo(q->easy, CURLINFO_RETRY_AFTER, &s);
    if (s <= 0)
        return verdict == OUTBOX_LATER ? LATER_MS : 0;
    return s >= OUTBOX_AFTER_MAX_MS / 1000 ? OUTBOX_AFTER_MAX_MS : (uint32_t)s * 1000;
}

/* 401: are there other credentials by now, or can they be fetched? */
static int are_renewed(struct client *c, const struct request *q)
{
    struct outbox_err err = {.size = sizeof err};
    struct secret *s = c->settings.auth == AUTH_BEARER ? &c->bearer : &c->password;
    switch (c->settings.auth) {
    case AUTH_OAUTH2:
        if (q->credentials == c->token_version)
            token_drop(c);
        return 1;
    case AUTH_BASIC:
    case AUTH_BEARER:
        s->read_us = 0;
        return secret_read(c->base.host, c->base.cfg, s, &err) == OUTBOX_OK &&
               body_credentials(c) != q->credentials;
    default:
        return 0;
    }
}

static int send_again(struct client *c, struct request *q, long status, uint32_t verdict)
{
    uint64_t flags = 0;
    for (uint32_t i = 0; i < q->n; i++)
        if (q->jobs[i])
            flags |= q->jobs[i]->number;
    if (status == 401 && !(flags & JOB_RENEWED) && are_renewed(c, q)) {
        request_requeue(c, q, JOB_RENEWED);
        return 1;
    }
    /* One of them may be to blame: which one it is shows when they go alone. */
    if ((verdict == OUTBOX_RETRY || verdict == OUTBOX_REJECTED) && q->n > 1) {
        request_requeue(c, q, JOB_ALONE);
        return 1;
    }
    return 0;
}

/*
 * 500 may be about the message or about the receiver. It is about the message if the receiver has
 * accepted others since the last one; those that were on their way when it began to fail do not
 * count.
 */
static int others_accepted(const struct client *c)
{
    return c->accepted_since && outbox_client_now_us(&c->base) - c->failed_us < FAILED_US;
}

static void note_accepted(struct client *c, const struct request *q)
{
    if (c->failed_us > 0 && q->begun_us >= c->failed_us)
        c->accepted_since = 1;
}

static void note_failed(struct client *c, long status, uint32_t verdict)
{
    if (status < 0 || status >= STATUS_MAX ||
        c->settings.verdicts[status] != VERDICT_UNAVAILABLE_UNLESS_ACCEPTED)
        return;
    c->accepted_since = 0;
    if (verdict == OUTBOX_UNAVAILABLE)
        c->failed_us = outbox_client_now_us(&c->base);
}

static void take_status(struct client *c, struct request *q, long status)
{
    uint32_t verdict = status_verdict(&c->settings, status, others_accepted(c));
    uint32_t ms = after_ms(q, verdict);
    struct outbox_err err = {.size = sizeof err};
    char shown[SHOWN + 16];
    char *location = NULL;
    c->answered_us = c->work_us;
    if (verdict == OUTBOX_ACCEPTED) {
        note_accepted(c, q);
        outbox_client_connected(&c->base);
        done_all(c, q, verdict, 0, NULL);
        return;
    }
    if (send_again(c, q, status, verdict))
        return;
    note_failed(c, status, verdict);
    show_body(c, q, shown);
    curl_easy_getinfo(q->easy, CURLINFO_REDIRECT_URL, &location);
    outbox_fail(&err, OUTBOX_E_RETRY, "the receiver answers %ld%s%s", status,
                location ? ", another url, which is not followed" : "", location ? "" : shown);
    done_all(c, q, verdict, ms, "%s", err.text);
    if (verdict == OUTBOX_UNAVAILABLE)
        unavailable(c);
    else
        outbox_client_connected(&c->base);
}

/* ---- without a status ---- */

/* The other side cannot have it. */
static void take_unsent(struct client *c, struct request *q, CURLcode code)
{
    struct outbox_err err = {.size = sizeof err};
    if (code == CURLE_URL_MALFORMAT && !c->settings.path.fixed) {
        done_all(c, q, OUTBOX_REJECTED, 0, "its url is none");
        return;
    }
    answer_fault(c, q, code, &err);
    request_requeue(c, q, 0);
    outbox_client_failed(&c->base, &err);
}

/*
 * The other side may have it. A message that the receiver does not stand makes it hang up or fall
 * silent: one that was alone is told of, as is one of HTTP/1.1, which has a connection of its own,
 * while others were answered. Where another one is lost, too, during its time, nothing is known,
 * and the host goes on with one at a time.
 */
static void take_unknown(struct client *c, struct request *q, CURLcode code)
{
    struct outbox_err err = {.size = sizeof err};
    int alone = c->base.sent.n == q->left;
    int others = c->multiplexes == 0 && c->answered_us > q->begun_us;
    int only = c->n_lost == 1 && c->lost_us <= q->begun_us;
    c->lost_us = outbox_client_now_us(&c->base);
    answer_fault(c, q, code, &err);
    if (q->n == 1 && only && (alone || others)) {
        done_all(c, q, OUTBOX_UNAVAILABLE, 0, "%s", err.text);
        unavailable(c);
        return;
    }
    c->base.is_connected = 0;
    c->base.down = err;
    for (uint32_t i = 0; i < q->n; i++)
        if (q->jobs[i])
            q->jobs[i]->owner->failure = err;
    done_all(c, q, OUTBOX_UNSET, 0, NULL);
    outbox_jobs_fail(&c->base, &c->base.queue, &err);
}

int answer_is_lost(struct request *q)
{
    long status = 0;
    curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
    /* Libraries before 8.1 take it as an error that the receiver did not wait for the body's end.
     */
    if (q->code == CURLE_HTTP2_STREAM && status >= 200)
        q->complete = 1;
    return q->kind == KIND_MESSAGES && q->begun && !q->complete;
}

static void take_messages(struct client *c, struct request *q)
{
    long status = 0, version = 0;
    curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(q->easy, CURLINFO_HTTP_VERSION, &version);
    if (q->complete && c->settings.http_version != VERSION_2)
        c->multiplexes = version >= CURL_HTTP_VERSION_2_0;
    if (q->complete)
        take_status(c, q, status);
    else if (q->begun)
        take_unknown(c, q, q->code == CURLE_OK ? CURLE_GOT_NOTHING : q->code);
    else
        take_unsent(c, q, q->code);
}

void answer_take(struct client *c, struct request *q)
{
    struct outbox_err err = {.size = sizeof err};
    CURLcode code = q->code;
    int r = OUTBOX_OK;
    request_end(c, q);
    switch (q->kind) {
    case KIND_MESSAGES:
        take_messages(c, q);
        break;
    case KIND_CHECK:
        r = code == CURLE_OK ? OUTBOX_OK : answer_fault(c, q, code, &err);
        if (r == OUTBOX_OK)
            outbox_client_connected(&c->base);
        break;
    case KIND_TOKEN:
        r = token_take(c, q, code, &err);
        break;
    }
    if (r < 0)
        outbox_client_failed(&c->base, &err);
    request_put_back(c, q);
}
