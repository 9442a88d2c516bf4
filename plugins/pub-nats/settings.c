/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - what the options say. */
#include "broker.h"

static const char *text_of(const struct outbox_host *host, const struct outbox_cfg *cfg,
                           const char *name)
{
    struct outbox_str text = host->option_text(cfg, name);
    return text.n > 0 ? text.p : NULL;
}

/* At most one way to log in. */
static int read_login(const struct outbox_host *host, const struct outbox_cfg *cfg,
                      struct settings *set, struct outbox_err *err)
{
    const char *way = set->url.has_user ? "url" : NULL;
    static const char *const names[] = {"token", "creds_file", "nkey_file"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (host->option_is_set(cfg, names[i])) {
            if (way)
                return outbox_fail_option(err, names[i], "%s: %s says how to log in, too", names[i],
                                          way);
            way = names[i];
        }
    if (host->option_is_set(cfg, "password") && set->url.has_password)
        return outbox_fail_option(err, "password", "password: url has one, too");
    if (host->option_is_set(cfg, "password") && !set->url.has_user)
        return outbox_fail_option(err, "password", "password: url names no user");
    if (set->url.has_user && !set->url.has_password && !host->option_is_set(cfg, "password"))
        return outbox_fail_option(err, "url",
                                  "url: it names a user without a password; for a "
                                  "token there is token");
    set->has_token = host->option_is_set(cfg, "token");
    set->creds_file = text_of(host, cfg, "creds_file");
    set->nkey_file = text_of(host, cfg, "nkey_file");
    return OUTBOX_OK;
}

static int read_url(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct settings *set, struct outbox_err *err)
{
    static const struct outbox_url_scheme schemes[] = {{"nats", 4222}, {"tls", 4222}, {NULL, 0}};
    int r = outbox_url_parse("url", host->option_text(cfg, "url").p, schemes, &set->url, err);
    if (r < 0)
        return r;
    if (set->url.path && *set->url.path)
        return outbox_fail_option(err, "url", "url: NATS has nothing that stands behind the `/`");
    set->tls = set->url.scheme == 1;
    return read_login(host, cfg, set, err);
}

static int read_tls(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct settings *set, struct outbox_err *err)
{
    return outbox_tls_options(host, cfg, set->tls ? NULL : "tls://", &set->ca_file, &set->cert_file,
                              &set->key_file, &set->tls_verify, err);
}

static int read_subject(const struct outbox_host *host, const struct outbox_cfg *cfg,
                        struct settings *set, struct outbox_err *err)
{
    struct outbox_str text = host->option_text(cfg, "subject");
    int r = outbox_template_parse("subject", text.p, &set->subject, err);
    const char *fault = set->subject.fixed && r == OUTBOX_OK ? subject_fault(text.p, text.n) : NULL;
    if (r < 0)
        return r;
    if (fault || text.n == 0)
        return outbox_fail_option(err, "subject", "subject: it %s", fault ? fault : "is empty");
    set->restricted = host->option_count(cfg, "allow_subjects") > 0;
    if (set->subject.fixed && set->restricted &&
        !outbox_template_allows(host, cfg, "allow_subjects", text.p))
        return outbox_fail_option(err, "subject", "subject: it is not among allow_subjects");
    return OUTBOX_OK;
}

static int read_names(const struct outbox_host *host, const struct outbox_cfg *cfg,
                      struct settings *set, struct outbox_err *err)
{
    const char *fault;
    set->stream = text_of(host, cfg, "stream");
    if (set->stream && (strlen(set->stream) > 255 || strpbrk(set->stream, ".*>/\\ \t\r\n")))
        return outbox_fail_option(err, "stream", "stream: it is no name of a stream");
    set->key_header = text_of(host, cfg, "key_header");
    if (set->key_header &&
        (strpbrk(set->key_header, ": \t\r\n") || strncasecmp(set->key_header, "Nats-", 5) == 0))
        return outbox_fail_option(err, "key_header",
                                  "key_header: it has a blank or `:`, or begins with `Nats-`");
    set->inbox_prefix = text_of(host, cfg, "inbox_prefix");
    fault = set->inbox_prefix ? subject_fault(set->inbox_prefix, strlen(set->inbox_prefix))
                              : "is empty";
    if (!fault && strlen(set->inbox_prefix) > 64)
        fault = "is longer than 64 bytes";
    return fault ? outbox_fail_option(err, "inbox_prefix", "inbox_prefix: it %s", fault)
                 : OUTBOX_OK;
}

int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err)
{
    int r = read_url(host, cfg, set, err);
    if (r == OUTBOX_OK)
        r = read_tls(host, cfg, set, err);
    if (r == OUTBOX_OK)
        r = read_subject(host, cfg, set, err);
    if (r == OUTBOX_OK)
        r = read_names(host, cfg, set, err);
    set->window = (uint32_t)host->option_int(cfg, "window");
    set->keepalive_us = host->option_int(cfg, "keepalive") * 1000;
    set->connect_us = host->option_int(cfg, "connect_timeout") * 1000;
    set->publish_us = host->option_int(cfg, "publish_timeout") * 1000;
    return r;
}
