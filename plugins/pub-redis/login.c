/* SPDX-License-Identifier: Apache-2.0 */
/* login.c - from the list of hosts to a master that takes messages. */
#include "redis.h"

/* The name of the connection, for CLIENT LIST. */
#define CLIENT_NAME "outboxd"

static int open_link(struct broker *b, const char *name, uint16_t port, int64_t until_us,
                     struct outbox_err *err)
{
    int r = dial_host(b, name, port, until_us, err);
    return r == OUTBOX_OK && b->settings.tls ? tls_begin(b, name, until_us, err) : r;
}

/* Servers before Redis 6.0 repeat what they do not understand. */
static const char *without(const char *text, const char *secret)
{
    return secret && *secret && strstr(text, secret) ? "it repeats the password" : text;
}

/* ---- HELLO: the login, and who it is. Each user may say it. ---- */

static int take_refusal(const char *error, const char *user, const char *password,
                        struct outbox_err *err)
{
    if (strncmp(error, "ERR unknown command", 19) == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "it does not know HELLO: it is older than Redis 6.0");
    if (message_is_error(error, "NOAUTH"))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "it wants a login, and there is none: set password_file");
    if (message_is_error(error, "WRONGPASS") || message_is_error(error, "NOPERM"))
        return outbox_fail(err, OUTBOX_E_CONFIG, "it refuses the login as `%s`: %.200s", user,
                           without(error, password));
    return outbox_fail(err, message_is_error(error, "DENIED") ? OUTBOX_E_CONFIG : OUTBOX_E_RETRY,
                       "it refuses the connection: %.300s", without(error, password));
}

/* What the reply has for the key, or "". */
static const char *value_of(const redisReply *reply, const char *key)
{
    for (size_t i = 0; i + 1 < reply->elements; i += 2)
        if (reply->element[i]->type == REDIS_REPLY_STRING &&
            reply->element[i + 1]->type == REDIS_REPLY_STRING &&
            strcmp(reply->element[i]->str, key) == 0)
            return reply->element[i + 1]->str;
    return "";
}

static int take_hello(const redisReply *reply, struct outbox_err *err)
{
    const char *mode = value_of(reply, "mode");
    if (reply->type != REDIS_REPLY_ARRAY)
        return outbox_fail(err, OUTBOX_E_RETRY, "its reply to HELLO is none");
    if (strcmp(mode, "cluster") == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "it belongs to a cluster, which is not supported: use one master with "
                           "replicas, or sentinels");
    if (strcmp(mode, "sentinel") == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "it is a sentinel: set sentinel to the name of the master");
    if (strcmp(value_of(reply, "role"), "master") != 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "it is a replica, and takes no messages");
    return OUTBOX_OK;
}

static int say_hello(struct broker *b, int64_t until_us, struct outbox_err *err)
{
    const struct settings *set = &b->settings;
    const char *user = set->url.has_user ? set->url.user : "default";
    const char *secret = set->url.has_user ? set->url.password : NULL;
    char password[1024] = "";
    redisReply *reply = NULL;
    uint64_t n;
    int r = OUTBOX_OK;
    if (b->client.host->option_is_set(b->client.cfg, "password")) {
        r = outbox_option_read(b->client.host, b->client.cfg, "password", password, sizeof password,
                               &n, err);
        secret = password;
    }
    if (r == OUTBOX_OK && secret)
        r = ask_server(b, until_us, &reply, err, "HELLO", "2", "AUTH", user, secret, "SETNAME",
                       CLIENT_NAME, NULL);
    else if (r == OUTBOX_OK)
        r = ask_server(b, until_us, &reply, err, "HELLO", "2", "SETNAME", CLIENT_NAME, NULL);
    if (r == OUTBOX_OK)
        r = reply->type == REDIS_REPLY_ERROR ? take_refusal(reply->str, user, secret, err)
                                             : take_hello(reply, err);
    explicit_bzero(password, sizeof password);
    freeReplyObject(reply);
    return r;
}

/* The link is that of a master afterwards, or closed. */
static int connect_server(struct broker *b, const char *name, uint16_t port, struct outbox_err *err)
{
    int64_t until_us = outbox_client_now_us(&b->client) + b->settings.connect_us;
    int r = name ? open_link(b, name, port, until_us, err)
                 : dial_socket(b, b->settings.path, until_us, err);
    if (r == OUTBOX_OK)
        r = say_hello(b, until_us, err);
    if (r == OUTBOX_OK)
        r = survey_run(b, until_us, err);
    if (r < 0)
        link_close(&b->link);
    return r;
}

/* ---- sentinels ---- */

static int log_in_at_sentinel(struct broker *b, int64_t until_us, struct outbox_err *err)
{
    const char *user = b->settings.sentinel_user ? b->settings.sentinel_user : "default";
    char password[1024] = "";
    redisReply *reply = NULL;
    uint64_t n;
    int r;
    if (!b->client.host->option_is_set(b->client.cfg, "sentinel_password"))
        return OUTBOX_OK;
    r = outbox_option_read(b->client.host, b->client.cfg, "sentinel_password", password,
                           sizeof password, &n, err);
    if (r == OUTBOX_OK)
        r = ask_server(b, until_us, &reply, err, "AUTH", user, password, NULL);
    if (r == OUTBOX_OK && reply->type == REDIS_REPLY_ERROR)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "the sentinel refuses the login as `%s`: %.200s",
                        user, without(reply->str, password));
    explicit_bzero(password, sizeof password);
    freeReplyObject(reply);
    return r;
}

/* Port: a decimal number, or 0. */
static uint16_t port_of(const char *text)
{
    uint32_t port = 0;
    for (; *text >= '0' && *text <= '9' && port <= 65535; text++)
        port = port * 10 + (uint32_t)(*text - '0');
    return *text || port > 65535 ? 0 : (uint16_t)port;
}

static int take_address(struct broker *b, const redisReply *reply, char name[OUTBOX_URL_TEXT],
                        uint16_t *port, struct outbox_err *err)
{
    if (reply->type == REDIS_REPLY_ERROR)
        return outbox_fail(err,
                           message_is_error(reply->str, "NOAUTH") ||
                                   message_is_error(reply->str, "NOPERM")
                               ? OUTBOX_E_CONFIG
                               : OUTBOX_E_RETRY,
                           "the sentinel refuses: %.300s", reply->str);
    if (reply->type == REDIS_REPLY_NIL)
        return outbox_fail(err, OUTBOX_E_RETRY, "the sentinel knows no master `%s`",
                           b->settings.sentinel);
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[0]->type == REDIS_REPLY_STRING &&
        reply->element[1]->type == REDIS_REPLY_STRING && reply->element[0]->len < OUTBOX_URL_TEXT) {
        snprintf(name, OUTBOX_URL_TEXT, "%s", reply->element[0]->str);
        *port = port_of(reply->element[1]->str);
        if (*port > 0)
            return OUTBOX_OK;
    }
    return outbox_fail(err, OUTBOX_E_RETRY, "the sentinel's reply is no address");
}

static int ask_sentinel(struct broker *b, const struct outbox_url_host *h,
                        char name[OUTBOX_URL_TEXT], uint16_t *port, struct outbox_err *err)
{
    int64_t until_us = outbox_client_now_us(&b->client) + b->settings.connect_us;
    redisReply *reply = NULL;
    int r = open_link(b, h->name, h->port, until_us, err);
    if (r == OUTBOX_OK)
        r = log_in_at_sentinel(b, until_us, err);
    if (r == OUTBOX_OK)
        r = ask_server(b, until_us, &reply, err, "SENTINEL", "get-master-addr-by-name",
                       b->settings.sentinel, NULL);
    if (r == OUTBOX_OK)
        r = take_address(b, reply, name, port, err);
    freeReplyObject(reply);
    link_close(&b->link);
    return r;
}

/* ---- the list ---- */

static int try_host(struct broker *b, const struct outbox_url_host *h, struct outbox_err *err)
{
    char name[OUTBOX_URL_TEXT];
    uint16_t port = 0;
    int r;
    snprintf(b->peer, sizeof b->peer, "%s", b->settings.path[0] ? b->settings.path : h->peer);
    if (b->settings.path[0])
        return connect_server(b, NULL, 0, err);
    if (!b->settings.sentinel)
        return connect_server(b, h->name, h->port, err);
    r = ask_sentinel(b, h, name, &port, err);
    if (r < 0)
        return r;
    snprintf(b->peer, sizeof b->peer, "%s:%u (of sentinel %s)", name, (unsigned)port, h->peer);
    return connect_server(b, name, port, err);
}

/* A refused login, a wrong certificate and the like end it: a person has to look. */
int login_make(struct broker *b, struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    int r = OUTBOX_E_RETRY;
    for (uint32_t i = 0; i < b->settings.url.n_hosts && r == OUTBOX_E_RETRY; i++) {
        r = try_host(b, &b->settings.url.hosts[i], &why);
        if (r < 0)
            outbox_fail(err, r, "%.240s: %.250s", b->peer, why.text);
        if (b->client.ending)
            return OUTBOX_E_CONFIG;
    }
    if (r == OUTBOX_OK)
        outbox_logf(b->client.host, OUTBOX_LOG_DEBUG, "connected to %s", b->peer);
    return r;
}
