/* SPDX-License-Identifier: Apache-2.0 */
/* survey.c - what a server says of itself, and whether that is enough. What its user may not ask
 * stays unknown, and that is told, too. */
#include "redis.h"

/* What proto-max-bulk-len is unless somebody changes it. */
#define VALUE_MAX (INT64_C(512) << 20)
/* A replica that was silent for so long, in seconds, does not count: as min-replicas-max-lag. */
#define LAG_MAX 10

struct survey {
    struct broker *b;
    int64_t until_us;
    char *info;        /* NULL: refused */
    char refusal[160]; /* why */
    char fsync[16], limit[24];
};

/* ---- asking ---- */

/* An error as reply is one here. */
static int demand(const char *what, redisReply *reply, int code, struct outbox_err *err)
{
    int ends = reply->type == REDIS_REPLY_ERROR ? message_ends_link(reply->str) : OUTBOX_OK;
    if (reply->type != REDIS_REPLY_ERROR)
        return OUTBOX_OK;
    return outbox_fail(err, ends < 0 ? ends : code, "%s: %.300s", what, reply->str);
}

static int select_database(struct survey *s, struct outbox_err *err)
{
    redisReply *reply = NULL;
    char number[24];
    int r;
    if (s->b->settings.database == 0)
        return OUTBOX_OK;
    r = ask_server(s->b, s->until_us, &reply, err, "SELECT",
                   outbox_int_text(s->b->settings.database, number).p, NULL);
    if (r == OUTBOX_OK)
        r = demand("database", reply,
                   reply->type == REDIS_REPLY_ERROR && message_is_error(reply->str, "BUSY")
                       ? OUTBOX_E_RETRY
                       : OUTBOX_E_CONFIG,
                   err);
    freeReplyObject(reply);
    return r;
}

static int ask_info(struct survey *s, struct outbox_err *err)
{
    redisReply *reply = NULL;
    int r = ask_server(s->b, s->until_us, &reply, err, "INFO", NULL);
    if (r == OUTBOX_OK && reply->type == REDIS_REPLY_STRING) {
        s->info = strdup(reply->str);
        if (!s->info)
            r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    } else if (r == OUTBOX_OK) {
        snprintf(s->refusal, sizeof s->refusal, "%s",
                 reply->type == REDIS_REPLY_ERROR ? reply->str : "its reply is none");
    }
    freeReplyObject(reply);
    return r;
}

/* "": it is not known. */
static int ask_config(struct survey *s, const char *name, char *ret, size_t cap,
                      struct outbox_err *err)
{
    redisReply *reply = NULL;
    int r = ask_server(s->b, s->until_us, &reply, err, "CONFIG", "GET", name, NULL);
    *ret = '\0';
    if (r == OUTBOX_OK && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[1]->type == REDIS_REPLY_STRING)
        snprintf(ret, cap, "%s", reply->element[1]->str);
    freeReplyObject(reply);
    return r;
}

/* The value of a line `key:value` of INFO; "" if there is none. */
static const char *info_value(const struct survey *s, const char *key, char *ret, size_t cap)
{
    size_t n = strlen(key);
    const char *p = s->info;
    *ret = '\0';
    for (; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        if (strncmp(p, key, n) == 0 && p[n] == ':') {
            snprintf(ret, cap, "%.*s", (int)strcspn(p + n + 1, "\r\n"), p + n + 1);
            break;
        }
    return ret;
}

/* ---- judging ---- */

/* A finding is told once, and again when it was gone meanwhile. */
static OUTBOX_PRINTF(5, 6) void tell(struct survey *s, uint32_t finding, int is_found, int level,
                                     const char *fmt, ...)
{
    struct broker *b = s->b;
    char text[400];
    va_list ap;
    if (is_found && !(b->told & finding)) {
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        outbox_logf(b->client.host, level, "%s: %s", b->peer, text);
    }
    b->told = is_found ? b->told | finding : b->told & ~finding;
}

static void tell_durability(struct survey *s)
{
    char aof[8], policy[32], limit[24];
    int off, lazy, evicts;
    info_value(s, "aof_enabled", aof, sizeof aof);
    info_value(s, "maxmemory_policy", policy, sizeof policy);
    info_value(s, "maxmemory", limit, sizeof limit);
    off = s->info && strcmp(aof, "1") != 0;
    lazy = s->info && !off && strcmp(s->fsync, "always") != 0 && s->b->settings.fsync == FSYNC_NO;
    evicts = strncmp(policy, "allkeys-", 8) == 0;
    tell(s, 1, !s->info, OUTBOX_LOG_WARNING,
         "it is not known whether it keeps what it acknowledges, for it refuses INFO: %s",
         s->refusal);
    tell(s, 2, off, OUTBOX_LOG_WARNING,
         "appendonly is off: what it acknowledges is lost when it is killed, back to its last "
         "snapshot");
    tell(s, 4, evicts, OUTBOX_LOG_WARNING,
         "maxmemory-policy is %s: when its memory is full%s, it deletes whole streams", policy,
         strcmp(limit, "0") == 0 ? " (it has no maxmemory yet)" : "");
    tell(s, 8, lazy && *s->fsync, OUTBOX_LOG_INFO,
         "appendfsync is %s: what it has acknowledged is lost when the machine fails soon after",
         s->fsync);
    tell(s, 16, lazy && !*s->fsync, OUTBOX_LOG_INFO,
         "appendfsync is not known, for CONFIG GET is refused; unless it is always, what it has "
         "acknowledged is lost when the machine fails soon after");
}

static int require_appendonly(const struct survey *s, struct outbox_err *err)
{
    enum appendonly_need need = s->b->settings.appendonly;
    char aof[8];
    info_value(s, "aof_enabled", aof, sizeof aof);
    if (need != APPENDONLY_ANY && strcmp(aof, "1") != 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "require_appendonly: appendonly is %s",
                           s->info ? "off" : "not known, since INFO is refused");
    if (need == APPENDONLY_ALWAYS && strcmp(s->fsync, "always") != 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "require_appendonly: appendfsync is %s",
                           *s->fsync ? s->fsync : "not known, since CONFIG GET is refused");
    return OUTBOX_OK;
}

/* A number of digits, or `otherwise`. */
static int64_t number_of(const char *text, int64_t otherwise)
{
    int64_t n = 0;
    if (!*text)
        return otherwise;
    for (; *text >= '0' && *text <= '9' && n < INT64_MAX / 10 - 9; text++)
        n = n * 10 + (*text - '0');
    return n;
}

/* So that messages are not added here again and again while no replica takes them. */
static int require_replicas(const struct survey *s, struct outbox_err *err)
{
    uint32_t n = 0;
    char key[24], line[256];
    for (int i = 0; s->info && i < 1000; i++) {
        const char *lag;
        snprintf(key, sizeof key, "slave%d", i);
        if (!*info_value(s, key, line, sizeof line))
            break;
        lag = strstr(line, "lag=");
        n += strstr(line, "state=online") && lag && number_of(lag + 4, LAG_MAX + 1) <= LAG_MAX;
    }
    if (s->info && n < s->b->settings.replicas)
        return outbox_fail(err, OUTBOX_E_RETRY, "%u of %u replicas are connected", (unsigned)n,
                           (unsigned)s->b->settings.replicas);
    return OUTBOX_OK;
}

/* ---- trying ---- */

static int try_waits(struct survey *s, struct outbox_err *err)
{
    redisReply *reply = NULL;
    int r = OUTBOX_OK;
    if (s->b->settings.fsync != FSYNC_NO) {
        r = ask_server(s->b, s->until_us, &reply, err, "WAITAOF", "1", "0", "1", NULL);
        if (r == OUTBOX_OK && reply->type == REDIS_REPLY_ERROR &&
            strncmp(reply->str, "ERR unknown command", 19) == 0)
            r = outbox_fail(err, OUTBOX_E_CONFIG,
                            "fsync: it does not know WAITAOF, which needs Redis 7.2 or Valkey");
        if (r == OUTBOX_OK)
            r = demand("fsync", reply, OUTBOX_E_CONFIG, err);
        freeReplyObject(reply);
    }
    if (r < 0 || s->b->settings.replicas == 0)
        return r;
    r = ask_server(s->b, s->until_us, &reply, err, "WAIT", "0", "1", NULL);
    if (r == OUTBOX_OK)
        r = demand("replicas", reply, OUTBOX_E_CONFIG, err);
    freeReplyObject(reply);
    return r;
}

/* What is at the stream's name. A user who may not ask finds out by the first message. */
static int look_at_stream(struct survey *s, struct outbox_err *err)
{
    const char *stream = s->b->settings.stream.text, *type;
    redisReply *reply = NULL;
    int r = ask_server(s->b, s->until_us, &reply, err, "TYPE", stream, NULL);
    if (r < 0)
        return r;
    type = reply->type == REDIS_REPLY_STATUS ? reply->str : "stream";
    if (strcmp(type, "none") == 0 && s->b->settings.nomkstream)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "the stream `%.80s` does not exist (nomkstream)",
                        stream);
    else if (strcmp(type, "none") != 0 && strcmp(type, "stream") != 0)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is no stream: it has the type %.40s", stream,
                        type);
    freeReplyObject(reply);
    return r;
}

/* An entry 0-0 is refused, and before that all that would keep a message from being added. */
static int try_to_add(struct survey *s, struct outbox_err *err)
{
    const char *stream = s->b->settings.stream.text;
    redisReply *reply = NULL;
    int r = look_at_stream(s, err);
    if (r == OUTBOX_OK)
        r = ask_server(s->b, s->until_us, &reply, err, "XADD", stream, "0-0", "x", "x", NULL);
    if (r == OUTBOX_OK && reply->type == REDIS_REPLY_ERROR &&
        (message_ends_link(reply->str) < 0 || message_is_about_server(&s->b->settings, reply->str)))
        r = demand("it takes no messages", reply,
                   message_is_error(reply->str, "NOPERM") ||
                           strncmp(reply->str, "ERR unknown", 11) == 0
                       ? OUTBOX_E_CONFIG
                       : OUTBOX_E_RETRY,
                   err);
    freeReplyObject(reply);
    return r;
}

/* Which streams there will be is not known: whether it has loaded its data, at least, and does not
 * run a script. */
static int try_to_ping(struct survey *s, struct outbox_err *err)
{
    redisReply *reply = NULL;
    int r = ask_server(s->b, s->until_us, &reply, err, "PING", NULL);
    if (r == OUTBOX_OK && reply->type == REDIS_REPLY_ERROR &&
        !message_is_error(reply->str, "NOPERM"))
        r = demand("it takes no messages", reply, OUTBOX_E_RETRY, err);
    freeReplyObject(reply);
    return r;
}

int survey_run(struct broker *b, int64_t until_us, struct outbox_err *err)
{
    struct survey s = {.b = b, .until_us = until_us};
    int r = select_database(&s, err);
    if (r == OUTBOX_OK)
        r = ask_info(&s, err);
    if (r == OUTBOX_OK)
        r = ask_config(&s, "appendfsync", s.fsync, sizeof s.fsync, err);
    if (r == OUTBOX_OK)
        r = ask_config(&s, "proto-max-bulk-len", s.limit, sizeof s.limit, err);
    if (r == OUTBOX_OK)
        r = b->settings.stream.fixed ? try_to_add(&s, err) : try_to_ping(&s, err);
    if (r == OUTBOX_OK)
        r = require_appendonly(&s, err);
    if (r == OUTBOX_OK)
        r = try_waits(&s, err);
    if (r == OUTBOX_OK)
        r = require_replicas(&s, err);
    if (r == OUTBOX_OK) {
        tell_durability(&s);
        b->value_max = number_of(s.limit, VALUE_MAX);
    }
    free(s.info);
    return r;
}
