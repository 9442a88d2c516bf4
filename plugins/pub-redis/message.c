/* SPDX-License-Identifier: Apache-2.0 */
/* message.c - from a message to an XADD, and from its reply to an outcome. */
#include "redis.h"

#include <limits.h>

#define UNKNOWN "ERR unknown command"

int message_is_error(const char *error, const char *class)
{
    size_t n = strlen(class);
    return strncmp(error, class, n) == 0 && (error[n] == ' ' || error[n] == '\0');
}

/* ---- out ---- */

/* Makes the name in b->stream. OUTBOX_E_CONFIG: never, with the reason. */
static int make_stream(struct broker *b, const struct outbox_message *msg, size_t *ret_n,
                       struct outbox_err *err)
{
    int r =
        outbox_template_render(&b->settings.stream, msg, b->stream, sizeof b->stream, ret_n, err);
    if (r < 0)
        return r;
    if (*ret_n == 0 || strlen(b->stream) != *ret_n)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the stream's name %s",
                           *ret_n == 0 ? "is empty" : "has a NUL");
    if (b->settings.restricted &&
        !outbox_template_allows(b->client.host, b->client.cfg, "allow_streams", b->stream))
        return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is not among allow_streams", b->stream);
    return OUTBOX_OK;
}

/* A word has its length and the ends of two lines around it: fewer bytes than this. Old versions of
 * hiredis count the bytes of a command in an int. */
#define AROUND_WORD 32
#define COMMAND_MAX (INT_MAX - AROUND_WORD)

/* The words of a command, and memory for the names of its fields. */
struct words {
    const char **argv;
    size_t *lens;
    int argc;
    char *names;
    int64_t longest, total;
};

static void add_word(struct words *w, const char *p, size_t n)
{
    w->argv[w->argc] = p ? p : "";
    w->lens[w->argc++] = n;
    if ((int64_t)n > w->longest)
        w->longest = (int64_t)n;
    w->total += (int64_t)n + AROUND_WORD;
}

static void add_text(struct words *w, const char *text)
{
    add_word(w, text, strlen(text));
}

static void add_field(struct words *w, const char *name, struct outbox_str value)
{
    if (!name)
        return;
    add_text(w, name);
    add_word(w, value.p, (size_t)value.n);
}

static int is_ours(const struct settings *set, const char *name, size_t n)
{
    const char *const ours[] = {set->id_field, set->topic_field, set->key_field,
                                set->payload_field};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (ours[i] && strlen(ours[i]) == n && memcmp(ours[i], name, n) == 0)
            return 1;
    return 0;
}

static void add_headers(struct words *w, const struct settings *set,
                        const struct outbox_message *msg)
{
    size_t prefix = strlen(set->header_prefix);
    char *name = w->names;
    for (uint64_t i = 0; i < msg->n_headers; i++) {
        const struct outbox_header *h = &msg->headers[i];
        size_t n = prefix + (size_t)h->name.n;
        memcpy(name, set->header_prefix, prefix);
        if (h->name.n > 0)
            memcpy(name + prefix, h->name.p, (size_t)h->name.n);
        if (!is_ours(set, name, n)) {
            add_word(w, name, n);
            add_word(w, h->value.p, (size_t)h->value.n);
        }
        name += n;
    }
}

static int words_begin(struct words *w, const struct settings *set,
                       const struct outbox_message *msg)
{
    size_t names = 1, most = 16 + 2 * (size_t)msg->n_headers;
    memset(w, 0, sizeof *w);
    for (uint64_t i = 0; i < msg->n_headers; i++)
        names += strlen(set->header_prefix) + (size_t)msg->headers[i].name.n;
    w->argv = calloc(most, sizeof *w->argv);
    w->lens = calloc(most, sizeof *w->lens);
    w->names = malloc(names);
    return w->argv && w->lens && w->names;
}

static void words_end(struct words *w)
{
    free(w->argv);
    free(w->lens);
    free(w->names);
}

static void add_entry(struct broker *b, struct words *w, const struct outbox_message *msg,
                      size_t stream_n, char maxlen[24])
{
    const struct settings *set = &b->settings;
    add_text(w, "XADD");
    add_word(w, b->stream, stream_n);
    if (set->nomkstream)
        add_text(w, "NOMKSTREAM");
    if (set->maxlen > 0) {
        add_text(w, "MAXLEN");
        add_text(w, set->maxlen_exact ? "=" : "~");
        add_text(w, outbox_int_text(set->maxlen, maxlen).p);
    }
    add_text(w, "*");
    add_field(w, set->id_field, msg->id);
    add_field(w, set->topic_field, msg->topic);
    if (msg->key.n > 0)
        add_field(w, set->key_field, msg->key);
    add_headers(w, set, msg);
    if (msg->payload.p)
        add_field(w, set->payload_field, msg->payload);
}

/* OUTBOX_E_CONFIG: this message can never be added. */
static int put_command(struct broker *b, const struct outbox_message *msg, struct outbox_err *err)
{
    struct words w;
    char maxlen[24];
    size_t stream_n = 0, before;
    int r = make_stream(b, msg, &stream_n, err);
    if (r < 0)
        return r;
    if (!words_begin(&w, &b->settings, msg)) {
        words_end(&w);
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    }
    add_entry(b, &w, msg, stream_n, maxlen);
    before = (size_t)w.argc - (b->settings.nomkstream ? 1 : 0) - (b->settings.maxlen > 0 ? 3 : 0);
    if (w.longest > b->value_max)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "it has %lld bytes, and the server takes %lld at most (proto-max-bulk-len)",
                        (long long)w.longest, (long long)b->value_max);
    else if (w.total > COMMAND_MAX)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "with its fields it has more than 2 GiB");
    else if (before <= 3)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "it has no payload, and nothing else for a field");
    else
        link_command(&b->link, w.argc, w.argv, w.lens);
    words_end(&w);
    return r;
}

void message_send(struct broker *b, struct outbox_job *job)
{
    struct outbox_client *c = &b->client;
    struct outbox_err err = {.size = sizeof err};
    int r = put_command(b, job->msg, &err);
    if (r < 0) {
        outbox_job_done(c, job, r == OUTBOX_E_RETRY ? OUTBOX_LATER : OUTBOX_REJECTED, 0, "%s",
                        err.text);
        return;
    }
    job->number = b->added = b->link.asked;
    outbox_client_sent(c, job);
    if (!b->unanswered)
        b->unanswered = job;
}

/* ---- replies ---- */

int message_ends_link(const char *error)
{
    static const struct {
        const char *class;
        int code;
    } ends[] = {
        {"READONLY", OUTBOX_E_RETRY},   {"LOADING", OUTBOX_E_RETRY},
        {"MASTERDOWN", OUTBOX_E_RETRY}, {"CLUSTERDOWN", OUTBOX_E_RETRY},
        {"MOVED", OUTBOX_E_CONFIG},     {"ASK", OUTBOX_E_CONFIG},
        {"NOAUTH", OUTBOX_E_CONFIG},
    };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (message_is_error(error, ends[i].class))
            return ends[i].code;
    return OUTBOX_OK;
}

int message_is_about_server(const struct settings *set, const char *error)
{
    static const char *const classes[] = {"OOM", "MISCONF", "NOREPLICAS", "BUSY", "TRYAGAIN"};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        if (message_is_error(error, classes[i]))
            return 1;
    if (message_is_error(error, "NOPERM")) /* the command, or this stream */
        return set->stream.fixed || strstr(error, " command") != NULL;
    if (message_is_error(error, "WRONGTYPE"))
        return set->stream.fixed != 0;
    return strncmp(error, UNKNOWN, strlen(UNKNOWN)) == 0;
}

static void take_error(struct broker *b, struct outbox_job *job, const char *error)
{
    int ends = message_ends_link(error);
    if (strncmp(error, UNKNOWN, strlen(UNKNOWN)) == 0)
        error = UNKNOWN; /* the message's words follow */
    if (ends < 0) {
        link_end(&b->link, ends, "%s", error);
        return;
    }
    outbox_job_done(&b->client, job,
                    message_is_about_server(&b->settings, error) ? OUTBOX_UNAVAILABLE
                                                                 : OUTBOX_RETRY,
                    0, "Redis refuses it: %.400s", error);
}

void message_take_reply(struct broker *b, struct outbox_job *job, const redisReply *reply)
{
    struct outbox_client *c = &b->client;
    if (reply->type == REDIS_REPLY_ERROR)
        take_error(b, job, reply->str);
    else if (reply->type == REDIS_REPLY_NIL)
        outbox_job_done(c, job, b->settings.stream.fixed ? OUTBOX_UNAVAILABLE : OUTBOX_RETRY, 0,
                        "the stream does not exist (nomkstream)");
    else if (reply->type != REDIS_REPLY_STRING)
        link_end(&b->link, OUTBOX_E_RETRY, "its reply to XADD is none");
    else if (b->settings.replicas == 0 && b->settings.fsync == FSYNC_NO)
        outbox_job_done(c, job, OUTBOX_ACCEPTED, 0, NULL);
}
