/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - what the options say. */
#include "http.h"

#include <strings.h>

static const char *text_of(const struct outbox_host *host, const struct outbox_cfg *cfg,
                           const char *name)
{
    struct outbox_str text = host->option_text(cfg, name);
    return text.n > 0 ? text.p : NULL;
}

static int choice_of(const struct outbox_host *host, const struct outbox_cfg *cfg, const char *name,
                     const char *const *choices)
{
    const char *text = host->option_text(cfg, name).p;
    int i = 0;
    while (choices[i] && strcmp(choices[i], text) != 0)
        i++;
    return i;
}

/* These make sense only with that. */
static int check_needs(const struct outbox_host *host, const struct outbox_cfg *cfg, int there,
                       const char *const *names, const char *what, struct outbox_err *err)
{
    for (; *names && !there; names++)
        if (host->option_is_set(cfg, *names))
            return outbox_fail_option(err, *names, "%s: it needs %s", *names, what);
    return OUTBOX_OK;
}

static int read_tls(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct settings *set, struct outbox_err *err)
{
    static const char *const names[] = {"cert_file", "key_file", NULL};
    static const char *const verify[] = {"tls_verify", "ca_file", NULL};
    int https = set->url.scheme == 1;
    int any =
        https || host->option_is_set(cfg, "oauth2_token_url") || host->option_is_set(cfg, "proxy");
    int r = check_needs(host, cfg, https, names, "an url with https://", err);
    if (r == OUTBOX_OK)
        r = check_needs(host, cfg, any, verify, "an url with https://", err);
    if (r < 0)
        return r;
    set->ca_file = text_of(host, cfg, "ca_file");
    set->cert_file = text_of(host, cfg, "cert_file");
    set->key_file = text_of(host, cfg, "key_file");
    set->tls_verify = host->option_int(cfg, "tls_verify") != 0;
    if (!set->cert_file != !set->key_file)
        return outbox_fail_option(err, set->cert_file ? "cert_file" : "key_file",
                                  "cert_file and key_file need each other");
    return set->key_file ? outbox_private_file("key_file", set->key_file, err) : OUTBOX_OK;
}

/* A url of something else than messages: https, or http to a place that allow_private opens. */
static int check_other_url(const struct settings *set, const char *option, const char *text,
                           struct outbox_err *err)
{
    static const struct outbox_url_scheme schemes[] = {{"https", 443}, {"http", 80}, {NULL, 0}};
    struct outbox_url url;
    char origin[512];
    size_t n = strcspn(text, "?#");
    int r;
    if (n >= sizeof origin)
        return outbox_fail_option(err, option, "%s: it is too long", option);
    memcpy(origin, text, n);
    origin[n] = '\0';
    r = outbox_url_parse(option, origin, schemes, &url, err);
    if (r < 0)
        return r;
    if (url.n_hosts != 1 || url.has_user)
        r = outbox_fail_option(err, option, "%s: it needs one host, and no user", option);
    else if (url.scheme == 1 && !set->allow_private)
        r = outbox_fail_option(err, option, "%s: it must begin with https://", option);
    else
        r = target_check_private(set, option, url.hosts[0].name, err);
    outbox_url_clear(&url);
    return r;
}

static int read_oauth2(const struct outbox_host *host, const struct outbox_cfg *cfg,
                       struct settings *set, struct outbox_err *err)
{
    static const char *const names[] = {"oauth2_client_id", "oauth2_client_secret", "oauth2_scope",
                                        "oauth2_audience",  "oauth2_auth",          NULL};
    set->token_url = text_of(host, cfg, "oauth2_token_url");
    set->client_id = text_of(host, cfg, "oauth2_client_id");
    set->scope = text_of(host, cfg, "oauth2_scope");
    set->audience = text_of(host, cfg, "oauth2_audience");
    set->token_by_body = strcmp(host->option_text(cfg, "oauth2_auth").p, "body") == 0;
    if (!set->token_url)
        return check_needs(host, cfg, 0, names, "oauth2_token_url", err);
    if (!set->client_id || !host->option_is_set(cfg, "oauth2_client_secret"))
        return outbox_fail_option(
            err, "oauth2_token_url",
            "oauth2_token_url: it needs oauth2_client_id and oauth2_client_secret");
    return check_other_url(set, "oauth2_token_url", set->token_url, err);
}

static int read_auth(const struct outbox_host *host, const struct outbox_cfg *cfg,
                     struct settings *set, struct outbox_err *err)
{
    int password = host->option_is_set(cfg, "password");
    int bearer = host->option_is_set(cfg, "bearer_token");
    int r = read_oauth2(host, cfg, set, err);
    if (r < 0)
        return r;
    set->bearer_header = text_of(host, cfg, "bearer_header");
    if (!set->bearer_header || !headers_is_token(set->bearer_header))
        return outbox_fail_option(err, "bearer_header", "bearer_header: it is no name of a header");
    if (password && set->url.has_password)
        return outbox_fail_option(err, "password", "password: url has one, too");
    if (password && !set->url.has_user)
        return outbox_fail_option(err, "password", "password: url names no user");
    if ((set->url.has_user != 0) + bearer + (set->token_url != NULL) > 1)
        return outbox_fail_option(
            err, bearer ? "bearer_token" : "oauth2_token_url",
            "there is more than one of a user in url, bearer_token and oauth2_token_url");
    if (bearer)
        r = secret_check_header("bearer_token", host->option_text(cfg, "bearer_token").p, err);
    if (r < 0)
        return r;
    set->auth = set->url.has_user ? AUTH_BASIC
                : bearer          ? AUTH_BEARER
                : set->token_url  ? AUTH_OAUTH2
                                  : AUTH_NONE;
    if (set->auth != AUTH_NONE && set->url.scheme == 0 && !set->allow_private)
        return outbox_fail_option(err, "url",
                                  "url: credentials would leave in the clear; use https://, or "
                                  "allow_private in a network of your own");
    return OUTBOX_OK;
}

static int read_proxy(const struct outbox_host *host, const struct outbox_cfg *cfg,
                      struct settings *set, struct outbox_err *err)
{
    static const struct outbox_url_scheme schemes[] = {
        {"http", 3128}, {"https", 443}, {"socks5h", 1080}, {NULL, 0}};
    const char *text = text_of(host, cfg, "proxy");
    struct outbox_url url;
    int r, has_user, more;
    set->proxy_env = text && strcmp(text, "env") == 0;
    set->proxy_password = host->option_is_set(cfg, "proxy_password");
    if (!text || set->proxy_env)
        return set->proxy_password ? outbox_fail_option(err, "proxy_password",
                                                        "proxy_password: proxy names no user")
                                   : OUTBOX_OK;
    r = outbox_url_parse("proxy", text, schemes, &url, err);
    if (r < 0)
        return r;
    has_user = url.has_user != 0;
    snprintf(set->proxy, sizeof set->proxy, "%s://%s", schemes[url.scheme].name, url.hosts[0].peer);
    snprintf(set->proxy_user, sizeof set->proxy_user, "%s", url.user);
    more = url.n_hosts != 1 || (url.path && *url.path) || url.has_password;
    outbox_url_clear(&url);
    if (more)
        return outbox_fail_option(
            err, "proxy",
            "proxy: it is http, https or socks5h://USER@HOST:PORT; its password is proxy_password");
    if (set->proxy_password && !has_user)
        return outbox_fail_option(err, "proxy_password", "proxy_password: proxy names no user");
    return OUTBOX_OK;
}

static int read_template(const struct outbox_host *host, const struct outbox_cfg *cfg,
                         const char *name, struct outbox_template *ret, struct outbox_err *err)
{
    struct outbox_str text = host->option_text(cfg, name);
    return outbox_template_parse(name, text.p ? text.p : "", ret, err);
}

static int read_messages(const struct outbox_host *host, const struct outbox_cfg *cfg,
                         struct settings *set, struct outbox_err *err)
{
    static const char *const formats[] = {"raw", "cloudevents-binary", "cloudevents-structured",
                                          "cloudevents-batch", NULL};
    static const char *const ce[] = {"ce_source", "ce_type", "ce_subject", NULL};
    static const char *const batch[] = {"batch_max", "batch_bytes", NULL};
    const char *headers[] = {text_of(host, cfg, "id_header"), text_of(host, cfg, "key_header")};
    int r;
    set->format = (enum format)choice_of(host, cfg, "format", formats);
    set->method = host->option_text(cfg, "method").p;
    set->content_type = text_of(host, cfg, "content_type");
    set->id_header = headers[0];
    set->key_header = headers[1];
    for (int i = 0; i < 2; i++)
        if (headers[i] && (!headers_is_token(headers[i]) || (headers_is_reserved(headers[i]) &&
                                                             strcasecmp(headers[i], "webhook-id"))))
            return outbox_fail_option(err, i ? "key_header" : "id_header",
                                      "%s: it is no name of a header, or one that is the relay's",
                                      i ? "key_header" : "id_header");
    r = check_needs(host, cfg, set->format != FORMAT_RAW, ce, "a format of CloudEvents", err);
    if (r == OUTBOX_OK)
        r = check_needs(host, cfg, set->format == FORMAT_BATCH, batch, "format = cloudevents-batch",
                        err);
    if (r == OUTBOX_OK)
        r = read_template(host, cfg, "ce_source", &set->ce_source, err);
    if (r == OUTBOX_OK)
        r = read_template(host, cfg, "ce_type", &set->ce_type, err);
    if (r == OUTBOX_OK)
        r = read_template(host, cfg, "ce_subject", &set->ce_subject, err);
    if (r == OUTBOX_OK && set->format != FORMAT_RAW && set->ce_source.n_parts == 0)
        r = outbox_fail_option(err, "format", "format: an event needs ce_source, which is not set");
    return r == OUTBOX_OK ? headers_check(host, cfg, err) : r;
}

static int read_signing(const struct outbox_host *host, const struct outbox_cfg *cfg,
                        struct settings *set, struct outbox_err *err)
{
    struct outbox_str secrets = host->option_text(cfg, "signing_secret");
    set->signs = host->option_is_set(cfg, "signing_secret") != 0;
    return set->signs ? signature_check(secrets.p ? secrets.p : "", err) : OUTBOX_OK;
}

/* Libraries before 8.1 send nothing when they use such a connection a second time. */
static int check_version(const struct settings *set, struct outbox_err *err)
{
    const curl_version_info_data *library = curl_version_info(CURLVERSION_NOW);
    if (set->http_version == VERSION_2 && !(library->features & CURL_VERSION_HTTP2))
        return outbox_fail_option(err, "http_version", "http_version: this libcurl has no HTTP/2");
    if (set->http_version == VERSION_2 && set->url.scheme == 0 && library->version_num < 0x080100)
        return outbox_fail_option(err, "http_version",
                                  "http_version: libcurl %s has no HTTP/2 without TLS that works",
                                  library->version);
    return OUTBOX_OK;
}

int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err)
{
    static const char *const versions[] = {"auto", "1.1", "2", NULL};
    int (*const parts[])(const struct outbox_host *, const struct outbox_cfg *, struct settings *,
                         struct outbox_err *) = {read_proxy,    target_read,  read_tls, read_auth,
                                                 read_messages, read_signing, NULL};
    int r = status_read(host, cfg, set->verdicts, err);
    set->allow_private = host->option_int(cfg, "allow_private") != 0;
    for (int i = 0; parts[i] && r == OUTBOX_OK; i++)
        r = parts[i](host, cfg, set, err);
    set->http_version = (enum http_version)choice_of(host, cfg, "http_version", versions);
    if (r == OUTBOX_OK)
        r = check_version(set, err);
    set->in_flight = (uint32_t)host->option_int(cfg, "max_in_flight");
    set->connections = (uint32_t)host->option_int(cfg, "max_connections");
    set->batch_max = (uint32_t)host->option_int(cfg, "batch_max");
    set->batch_bytes = (uint64_t)host->option_int(cfg, "batch_bytes");
    set->connect_ms = (long)host->option_int(cfg, "connect_timeout");
    set->publish_ms = (long)host->option_int(cfg, "publish_timeout");
    return r;
}
