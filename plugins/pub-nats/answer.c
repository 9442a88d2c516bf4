/* SPDX-License-Identifier: Apache-2.0 */
/* answer.c - what an answer of JetStream, or a complaint of the server, means for messages. */
#include "broker.h"
#include "json.h"

/* How long to wait when there is no room, and when it is a matter of a moment, ms. */
#define ROOM_MS 5000
#define MOMENT_MS 1000
/* Full streams in turn are logged once in so long a time. */
#define FULL_AGAIN_US 60000000

/* Most answers come in order. */
static struct outbox_job *find(const struct broker *b, const char *digits)
{
    char *end;
    uint64_t number = strtoull(digits, &end, 10);
    struct outbox_job *job = *end == '\0' ? b->client.sent.first : NULL;
    while (job && job->number != number)
        job = job->next;
    return job; /* NULL: nobody waits for it any longer */
}

/* What is wrong with the stream: all messages of a fixed subject go there, so nothing is wrong with
 * this one. */
static uint32_t of_stream(const struct broker *b, uint32_t otherwise)
{
    return b->settings.subject.fixed ? OUTBOX_UNAVAILABLE : otherwise;
}

/* The numbers are those of server/errors.json of nats-server. */
static uint32_t judge(const struct broker *b, const struct json_error *e, uint32_t *ret_after_ms)
{
    *ret_after_ms = 0;
    switch (e->err_code) {
    case 10054: /* larger than the stream's max_msg_size */
    case 10097: /* more than 64 KiB of headers */
        return OUTBOX_REJECTED;
    case 10077: /* the stream cannot store it: it is full, with discard = new */
        *ret_after_ms = ROOM_MS;
        return of_stream(b, OUTBOX_LATER);
    case 10002: /* the account's limits */
    case 10023: /* the server has no room */
    case 10028:
    case 10047:
    case 10120:
        *ret_after_ms = ROOM_MS;
        return OUTBOX_UNAVAILABLE;
    case 10008: /* JetStream is not there */
    case 10035:
    case 10039:
    case 10076:
        return OUTBOX_UNAVAILABLE;
    case 10118: /* the stream is offline */
    case 10194:
        *ret_after_ms = ROOM_MS;
        return of_stream(b, OUTBOX_LATER);
    case 10059: /* there is no such stream; it is another one; it is sealed */
    case 10060:
    case 10109:
        return of_stream(b, OUTBOX_RETRY);
    case 10063: /* the stream counts anew */
    case 10158: /* the same message is being stored */
    case 10163:
        *ret_after_ms = MOMENT_MS;
        return OUTBOX_LATER;
    default:
        break;
    }
    if (e->code != 429 && e->code < 500)
        return OUTBOX_RETRY;
    *ret_after_ms = ROOM_MS;
    return e->code == 429 ? OUTBOX_LATER : of_stream(b, OUTBOX_LATER);
}

/* A stream of a subject that is not fixed: the host keeps its messages back, and says nothing. */
static void note_room(struct broker *b, const char *stream, const char *why)
{
    const struct outbox_client *c = &b->client;
    int64_t now_us = outbox_client_now_us(c);
    if (!why && *b->full && strcmp(b->full, stream) == 0) {
        outbox_logf(c->host, OUTBOX_LOG_INFO, "the stream `%.80s` takes messages again", stream);
        b->full[0] = '\0';
    }
    if (!why || strcmp(b->full, stream) == 0 ||
        (b->full_us != 0 && now_us < b->full_us + FULL_AGAIN_US))
        return;
    outbox_logf(c->host, OUTBOX_LOG_WARNING, "the stream `%.80s` takes no messages for now: %.300s",
                stream, why);
    snprintf(b->full, sizeof b->full, "%s", stream);
    b->full_us = now_us;
}

/* ---- acknowledgements ---- */

static void take_ack(struct broker *b, struct outbox_job *job, json_object *root)
{
    struct outbox_client *c = &b->client;
    struct json_error e = json_error_of(root);
    const char *stream = json_text(root, "stream");
    uint32_t verdict, after_ms;
    if (json_member(root, "error", json_type_object)) {
        verdict = judge(b, &e, &after_ms);
        if (verdict == OUTBOX_LATER && after_ms == ROOM_MS)
            note_room(b, stream, e.text);
        outbox_job_done(c, job, verdict, after_ms, "JetStream refuses it: %.300s (%d)%s%.80s",
                        e.text, e.err_code, *stream ? ", stream " : "", stream);
    } else if (!*stream || !json_member(root, "seq", json_type_int)) {
        outbox_job_done(c, job, of_stream(b, OUTBOX_RETRY), 0,
                        "somebody else than JetStream answers on its subject");
    } else if (b->settings.stream && strcmp(stream, b->settings.stream) != 0) {
        outbox_job_done(c, job, of_stream(b, OUTBOX_RETRY), 0,
                        "the stream `%.80s` has taken it, and not `%.80s`", stream,
                        b->settings.stream);
    } else {
        if (*b->full)
            note_room(b, stream, NULL);
        outbox_job_done(c, job, OUTBOX_ACCEPTED, 0, NULL);
    }
}

static void take_answer(struct broker *b, const struct answer *a)
{
    struct outbox_job *job = find(b, a->token);
    json_object *root;
    if (!job)
        return;
    if (!a->none && job->number > b->answered)
        b->answered = job->number;
    if (a->none && b->settings.subject.fixed) {
        outbox_job_done(&b->client, job, OUTBOX_UNAVAILABLE, 0,
                        "no stream takes the subject `%.80s`, or JetStream is not there",
                        b->settings.subject.text);
        return;
    }
    if (a->none) {
        look_why(b, job);
        return;
    }
    root = json_parse(a->text);
    take_ack(b, job, root);
    json_object_put(root);
}

/* The streams that take the subject of a message that nobody answered. */
static void take_why(struct broker *b, const struct answer *a)
{
    struct outbox_client *c = &b->client;
    struct outbox_job *job = find(b, a->token + 1);
    json_object *root, *streams;
    if (!job)
        return;
    root = json_parse(a->text);
    streams = json_member(root, "streams", json_type_array);
    if (a->none || json_member(root, "error", json_type_object))
        outbox_job_done(c, job, OUTBOX_UNAVAILABLE, 0, "JetStream is not there");
    else if (streams && json_object_array_length(streams) > 0)
        outbox_job_done(c, job, OUTBOX_LATER, MOMENT_MS, "its stream has no leader now");
    else
        outbox_job_done(c, job, OUTBOX_RETRY, 0, "no stream takes its subject");
    json_object_put(root);
}

/* ---- complaints ---- */

/* The server names the subject, and not the message: all of that subject that are on their way. */
static void forbid(struct broker *b, const char *subject, size_t n, int is_whole)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_job *next;
    uint32_t verdict = of_stream(b, OUTBOX_RETRY);
    for (struct outbox_job *job = b->client.sent.first; job; job = next) {
        next = job->next;
        if (subject_make(b, job->msg, &err) < 0 || strncmp(b->subject, subject, n) != 0 ||
            (is_whole && b->subject[n] != '\0'))
            continue;
        outbox_job_done(&b->client, job, verdict, 0,
                        "the user may not publish to the subject `%.80s`", b->subject);
    }
}

/* The server writes bytes of a subject that cannot be printed as \xNN, \uNNNN or \UNNNNNNNN; one
 * that is cut off at the end is left out. In place; returns the length. */
static size_t unquote(char *subject)
{
    size_t n = 0;
    for (const char *p = subject; *p;) {
        size_t digits = p[1] == 'x' ? 2 : p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0;
        char hex[9] = "";
        unsigned long c;
        if (*p != '\\') {
            subject[n++] = *p++;
            continue;
        }
        snprintf(hex, digits + 1, "%s", p[1] ? p + 2 : "");
        if (digits == 0 || strspn(hex, "0123456789abcdef") != digits)
            break;
        p += 2 + digits;
        c = strtoul(hex, NULL, 16);
        if (c >= 0x10000)
            subject[n++] = (char)(0xF0 | c >> 18);
        if (c >= 0x800)
            subject[n++] = (char)(c >= 0x10000 ? 0x80 | (c >> 12 & 0x3F) : 0xE0 | c >> 12);
        if (digits > 2 && c >= 0x80)
            subject[n++] = (char)(c >= 0x800 ? 0x80 | (c >> 6 & 0x3F) : 0xC0 | c >> 6);
        subject[n++] = (char)(digits > 2 && c >= 0x80 ? 0x80 | (c & 0x3F) : c);
    }
    subject[n] = '\0';
    return n;
}

/* Permissions Violation for Publish to "SUBJECT"; the library cuts what is longer than 255 bytes.
 */
static void take_error(struct broker *b, const char *text)
{
    const char *begin = strchr(text, '"'), *end = begin ? strchr(begin + 1, '"') : NULL;
    char subject[256];
    size_t n;
    if (!begin || !strstr(text, "Permissions Violation"))
        return; /* the connection ends, and says why */
    if (strstr(text, "for Subscription")) {
        connection_end(b, OUTBOX_E_CONFIG,
                       "the user may not subscribe to its inbox, see inbox_prefix: %.150s", text);
        return;
    }
    n = end ? (size_t)(end - begin - 1) : strlen(begin + 1);
    snprintf(subject, sizeof subject, "%.*s", n < 255 ? (int)n : 255, begin + 1);
    n = unquote(subject);
    look_forbidden(b, subject);
    forbid(b, subject, n, end != NULL);
}

void answer_take(struct broker *b, const struct answer *a)
{
    if (a->kind == LINK_ERROR)
        take_error(b, a->text);
    else if (*a->token == 'p' || *a->token == 'n' || *a->token == 'i')
        look_take(b, a);
    else if (*a->token == 'q')
        take_why(b, a);
    else
        take_answer(b, a);
}
