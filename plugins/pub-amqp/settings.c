/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - the options of the section, read and checked against each other. */
#include "publisher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USER_DEFAULT "guest"

/* A copy of a text option; *ret is NULL when it is not set, or empty. */
static int copy(const struct amqp *a, const struct outbox_cfg *cfg, const char *name, char **ret,
                struct outbox_err *err)
{
    struct outbox_str text = a->host->option_text(cfg, name);
    *ret = text.n > 0 ? strdup(text.p) : NULL;
    if (text.n > 0 && !*ret)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return OUTBOX_OK;
}

static bool is_set(const struct amqp *a, const struct outbox_cfg *cfg, const char *name)
{
    return a->host->option_text(cfg, name).n > 0;
}

static bool choice_is(const struct amqp *a, const struct outbox_cfg *cfg, const char *name,
                      const char *value)
{
    return strcmp(a->host->option_text(cfg, name).p, value) == 0;
}

/* ---- where to, and as whom ---- */

static int read_login(struct amqp *a, const struct outbox_cfg *cfg, struct outbox_err *err)
{
    struct target *t = a->target;
    struct outbox_str password = a->host->option_text(cfg, "password");
    const char *secret = password.n > 0 ? password.p : t->url.password;
    if (password.n > 0 && memchr(password.p, '\0', (size_t)password.n))
        return outbox_fail(err, OUTBOX_E_CONFIG, "password: it holds a NUL byte");
    if (t->url.user && !secret)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "password: `url` names a user, but there is no password; set password "
                           "or password_file");
    t->user = strdup(t->url.user ? t->url.user : USER_DEFAULT);
    t->password = strdup(secret ? secret : USER_DEFAULT);
    if (!t->user || !t->password)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return OUTBOX_OK;
}

static int read_tls(struct amqp *a, const struct outbox_cfg *cfg, struct outbox_err *err)
{
    static const char *const files[] = {"ca_file", "cert_file", "key_file"};
    struct target *t = a->target;
    char **to[] = {&t->ca_file, &t->cert_file, &t->key_file};
    struct stat st;
    int r = OUTBOX_OK;
    t->verify = a->host->option_int(cfg, "tls_verify") != 0;
    for (size_t i = 0; r == 0 && i < 3; i++) {
        r = copy(a, cfg, files[i], to[i], err);
        if (r == 0 && *to[i] && !t->url.tls)
            r = outbox_fail(err, OUTBOX_E_CONFIG, "%s: only with a `url` that begins with amqps://",
                            files[i]);
    }
    if (r < 0 || !t->url.tls)
        return r;
    if (!t->cert_file != !t->key_file)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: needs %s, too",
                           t->cert_file ? "cert_file" : "key_file",
                           t->cert_file ? "key_file" : "cert_file");
    if (t->key_file && stat(t->key_file, &st) == 0 && (st.st_mode & 007))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "key_file: %.200s is a private key, but others can read it (mode %04o); "
                           "chmod o-rwx it",
                           t->key_file, (unsigned)st.st_mode & 07777);
    if (!t->verify)
        outbox_logf(a->host, OUTBOX_LOG_WARNING,
                    "tls_verify is off: anybody in between can read and change everything");
    return tls_check(t, err);
}

static int read_target(struct amqp *a, const struct outbox_cfg *cfg, struct outbox_err *err)
{
    struct target *t = calloc(1, sizeof *t);
    char machine[65] = "", name[256];
    if (!t)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    t->refs = 1;
    a->target = t;
    int r = is_set(a, cfg, "url") ? url_parse(a->host->option_text(cfg, "url").p, &t->url, err)
                                  : outbox_fail(err, OUTBOX_E_CONFIG, "url: it is empty");
    if (r == 0)
        r = read_login(a, cfg, err);
    if (r == 0)
        r = read_tls(a, cfg, err);
    if (r < 0)
        return r;
    t->heartbeat_s = (int)((a->host->option_int(cfg, "heartbeat") + 999) / 1000);
    gethostname(machine, sizeof machine - 1);
    snprintf(name, sizeof name, "outboxd %.100s on %s", a->host->instance, machine);
    t->client_name = strdup(name);
    t->client_version = strdup(PACKAGE_VERSION);
    if (!t->client_name || !t->client_version)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return OUTBOX_OK;
}

/* ---- what to publish to ---- */

static int read_allowed(struct amqp *a, const struct outbox_cfg *cfg, const char *option,
                        const struct template *names, struct outbox_err *err)
{
    struct settings *s = &a->settings;
    size_t n = (size_t)a->host->option_count(cfg, option);
    if (names->fixed && n > 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: only for an option `%s` that takes something from the message",
                           option, names->option);
    if (!names->fixed && n == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: `%s` takes something from the message, so the names that it may "
                           "become must be listed here",
                           option, names->option);
    s->allowed = calloc(n + 1, sizeof *s->allowed);
    for (; s->allowed && s->n_allowed < n; s->n_allowed++)
        if (!(s->allowed[s->n_allowed] = strdup(a->host->option_item(cfg, option, s->n_allowed).p)))
            break;
    if (!s->allowed || s->n_allowed < n)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    return OUTBOX_OK;
}

/* An option that the other mode has. */
static int check_unset(const struct amqp *a, const struct outbox_cfg *cfg, const char *name,
                       const char *mode, struct outbox_err *err)
{
    if (is_set(a, cfg, name) || a->host->option_count(cfg, name) > 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: only with mode = %s", name, mode);
    return OUTBOX_OK;
}

static int read_pubsub(struct amqp *a, const struct outbox_cfg *cfg, struct outbox_err *err)
{
    struct settings *s = &a->settings;
    const char *key =
        is_set(a, cfg, "routing_key") ? a->host->option_text(cfg, "routing_key").p : "{topic}";
    int r = check_unset(a, cfg, "queue", "queue", err);
    if (r == 0)
        r = check_unset(a, cfg, "allow_queues", "queue", err);
    if (r == 0 && !is_set(a, cfg, "exchange"))
        r = outbox_fail(err, OUTBOX_E_CONFIG, "exchange: mode = pubsub needs its name");
    if (r == 0)
        r = template_parse("exchange", a->host->option_text(cfg, "exchange").p, &s->exchange, err);
    if (r == 0)
        r = template_parse("routing_key", key, &s->key, err);
    return r < 0 ? r : read_allowed(a, cfg, "allow_exchanges", &s->exchange, err);
}

static int read_queue(struct amqp *a, const struct outbox_cfg *cfg, struct outbox_err *err)
{
    struct settings *s = &a->settings;
    int r = check_unset(a, cfg, "exchange", "pubsub", err);
    if (r == 0)
        r = check_unset(a, cfg, "routing_key", "pubsub", err);
    if (r == 0)
        r = check_unset(a, cfg, "allow_exchanges", "pubsub", err);
    if (r == 0 && !is_set(a, cfg, "queue"))
        r = outbox_fail(err, OUTBOX_E_CONFIG, "queue: mode = queue needs its name");
    if (r == 0)
        r = template_parse("queue", a->host->option_text(cfg, "queue").p, &s->key, err);
    if (r == 0)
        r = template_parse("exchange", "", &s->exchange, err);
    return r < 0 ? r : read_allowed(a, cfg, "allow_queues", &s->key, err);
}

int settings_read(struct amqp *a, const struct outbox_cfg *cfg, struct outbox_err *err)
{
    struct settings *s = &a->settings;
    const struct outbox_host *host = a->host;
    s->queue_mode = choice_is(a, cfg, "mode", "queue");
    s->declare = choice_is(a, cfg, "declare", "create")    ? DECLARE_CREATE
                 : choice_is(a, cfg, "declare", "passive") ? DECLARE_PASSIVE
                                                           : DECLARE_NONE;
    s->quorum = choice_is(a, cfg, "queue_type", "quorum");
    s->mandatory = host->option_int(cfg, "mandatory") != 0;
    s->persistent = host->option_int(cfg, "persistent") != 0;
    s->confirm_us = host->option_int(cfg, "confirm_timeout") * 1000;
    s->connect_us = host->option_int(cfg, "connect_timeout") * 1000;
    s->window = (uint32_t)host->option_int(cfg, "window");
    int r = copy(a, cfg, "exchange_type", &s->exchange_type, err);
    if (r == 0)
        r = read_target(a, cfg, err);
    if (r == 0)
        r = s->queue_mode ? read_queue(a, cfg, err) : read_pubsub(a, cfg, err);
    const struct template *names = s->queue_mode ? &s->key : &s->exchange;
    if (r == 0 && s->declare != DECLARE_NONE && !names->fixed)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "declare: not with an option `%s` that takes something from the message",
                        names->option);
    if (r == 0 && !s->exchange_type)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "exchange_type: it is empty");
    if (r == 0 && short_fault(s->exchange_type, strlen(s->exchange_type)))
        r = outbox_fail(err, OUTBOX_E_CONFIG, "exchange_type: it %s",
                        short_fault(s->exchange_type, strlen(s->exchange_type)));
    return r;
}

void settings_free(struct settings *s)
{
    template_free(&s->exchange);
    template_free(&s->key);
    for (size_t i = 0; i < s->n_allowed; i++)
        free(s->allowed[i]);
    free(s->allowed);
    free(s->exchange_type);
    *s = (struct settings){0};
}
