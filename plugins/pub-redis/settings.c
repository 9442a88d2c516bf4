/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - what the options say. */
#include "redis.h"

#include <ctype.h>

#define DATABASE_MAX 1000000

static const char *text_of(const struct outbox_host *host, const struct outbox_cfg *cfg,
                           const char *name)
{
    struct outbox_str text = host->option_text(cfg, name);
    return text.n > 0 ? text.p : NULL;
}

/* ---- where to ---- */

/* unix://USER:PASSWORD@/PATH: as if there were a host. */
static int parse_unix(const char *text, struct settings *set, struct outbox_err *err)
{
    static const struct outbox_url_scheme schemes[] = {{"unix", 1}, {NULL, 0}};
    const char *slash = strchr(text + strlen("unix://"), '/');
    size_t before, n = strlen(text) + sizeof "localhost";
    int r;
    if (!slash || !slash[1])
        return outbox_fail_option(err, "url", "url: unix:// has no path of a socket");
    before = (size_t)(slash - text);
    set->unix_text = malloc(n);
    if (!set->unix_text)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    snprintf(set->unix_text, n, "%.*slocalhost%s", (int)before, text, slash);
    r = outbox_url_parse("url", set->unix_text, schemes, &set->url, err);
    if (r < 0)
        return r;
    if (strcmp(set->url.hosts[0].name, "localhost") != 0 || set->url.n_hosts != 1)
        return outbox_fail_option(err, "url", "url: unix:// has a host; write unix:///PATH");
    set->url.path = strstr(set->unix_text, "localhost/") + strlen("localhost");
    return outbox_url_decode("url", "path", set->url.path, strlen(set->url.path), set->path, err);
}

static int read_database(const struct outbox_host *host, const struct outbox_cfg *cfg,
                         struct settings *set, struct outbox_err *err)
{
    const char *path = set->path[0] || !set->url.path ? "" : set->url.path;
    set->database = (uint32_t)host->option_int(cfg, "database");
    if (!*path)
        return OUTBOX_OK;
    if (host->option_is_set(cfg, "database"))
        return outbox_fail_option(err, "database", "database: url has one, too");
    for (; isdigit((unsigned char)*path) && set->database <= DATABASE_MAX; path++)
        set->database = set->database * 10 + (uint32_t)(*path - '0');
    if (*path || set->database > DATABASE_MAX)
        return outbox_fail_option(
            err, "url", "url: what stands behind the `/` is not the number of a database");
    return OUTBOX_OK;
}

static int read_url(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct settings *set, struct outbox_err *err)
{
    static const struct outbox_url_scheme servers[] = {
        {"redis", 6379}, {"rediss", 6379}, {NULL, 0}};
    static const struct outbox_url_scheme sentinels[] = {
        {"redis", 26379}, {"rediss", 26379}, {NULL, 0}};
    const char *text = host->option_text(cfg, "url").p;
    int r;
    set->sentinel = text_of(host, cfg, "sentinel");
    if (strncmp(text, "unix://", 7) == 0)
        r = parse_unix(text, set, err);
    else
        r = outbox_url_parse("url", text, set->sentinel ? sentinels : servers, &set->url, err);
    if (r < 0)
        return r;
    if (set->sentinel && set->path[0])
        return outbox_fail_option(err, "sentinel",
                                  "sentinel: url names a socket, and no sentinels");
    if (host->option_is_set(cfg, "password") && set->url.has_password)
        return outbox_fail_option(err, "password", "password: url has one, too");
    set->tls = set->url.scheme == 1;
    set->sentinel_user = text_of(host, cfg, "sentinel_user");
    if (!set->sentinel && (set->sentinel_user || host->option_is_set(cfg, "sentinel_password")))
        return outbox_fail_option(err, "sentinel", "sentinel: it is not set, but its login is");
    if (set->sentinel_user && !host->option_is_set(cfg, "sentinel_password"))
        return outbox_fail_option(err, "sentinel_user",
                                  "sentinel_user: there is no sentinel_password");
    return read_database(host, cfg, set, err);
}

static int read_tls(const struct outbox_host *host, const struct outbox_cfg *cfg,
                    struct settings *set, struct outbox_err *err)
{
    return outbox_tls_options(host, cfg, set->tls ? NULL : "rediss://", &set->ca_file,
                              &set->cert_file, &set->key_file, &set->tls_verify, err);
}

/* ---- what arrives ---- */

static int read_stream(const struct outbox_host *host, const struct outbox_cfg *cfg,
                       struct settings *set, struct outbox_err *err)
{
    struct outbox_str text = host->option_text(cfg, "stream");
    int r = outbox_template_parse("stream", text.p, &set->stream, err);
    if (r < 0)
        return r;
    if (text.n == 0 || text.n > STREAM_MAX)
        return outbox_fail_option(err, "stream", "stream: it is empty, or longer than %d bytes",
                                  STREAM_MAX);
    set->restricted = host->option_count(cfg, "allow_streams") > 0;
    if (set->stream.fixed && set->restricted &&
        !outbox_template_allows(host, cfg, "allow_streams", text.p))
        return outbox_fail_option(err, "stream", "stream: it is not among allow_streams");
    set->nomkstream = host->option_int(cfg, "nomkstream") != 0;
    set->maxlen = host->option_int(cfg, "maxlen");
    set->maxlen_exact = host->option_int(cfg, "maxlen_exact") != 0;
    if (set->maxlen_exact && set->maxlen == 0)
        return outbox_fail_option(err, "maxlen_exact", "maxlen_exact: it needs maxlen");
    return OUTBOX_OK;
}

static int read_fields(const struct outbox_host *host, const struct outbox_cfg *cfg,
                       struct settings *set, struct outbox_err *err)
{
    static const char *const names[] = {"id_field", "key_field", "topic_field", "payload_field"};
    const char *values[4];
    for (size_t i = 0; i < 4; i++) {
        values[i] = text_of(host, cfg, names[i]);
        for (size_t j = 0; j < i; j++)
            if (values[i] && values[j] && strcmp(values[i], values[j]) == 0)
                return outbox_fail_option(err, names[i], "%s: %s has that name, too", names[i],
                                          names[j]);
    }
    set->id_field = values[0];
    set->key_field = values[1];
    set->topic_field = values[2];
    set->payload_field = values[3];
    set->header_prefix = host->option_text(cfg, "header_prefix").p;
    if (!set->payload_field)
        return outbox_fail_option(err, "payload_field", "payload_field: it is empty");
    return OUTBOX_OK;
}

/* ---- when it counts as delivered ---- */

static int read_durability(const struct outbox_host *host, const struct outbox_cfg *cfg,
                           struct settings *set, struct outbox_err *err)
{
    const char *fsync = host->option_text(cfg, "fsync").p;
    const char *appendonly = host->option_text(cfg, "require_appendonly").p;
    int64_t wait_ms = host->option_int(cfg, "wait_timeout");
    set->replicas = (uint32_t)host->option_int(cfg, "replicas");
    set->wait_ms = (uint32_t)wait_ms;
    set->fsync = strcmp(fsync, "no") == 0      ? FSYNC_NO
                 : strcmp(fsync, "local") == 0 ? FSYNC_LOCAL
                                               : FSYNC_ALL;
    set->appendonly = strcmp(appendonly, "no") == 0    ? APPENDONLY_ANY
                      : strcmp(appendonly, "yes") == 0 ? APPENDONLY_YES
                                                       : APPENDONLY_ALWAYS;
    if (set->fsync == FSYNC_ALL && set->replicas == 0)
        return outbox_fail_option(err, "fsync", "fsync: `all` needs replicas");
    if ((set->replicas > 0 || set->fsync != FSYNC_NO) && wait_ms * 1000 >= set->publish_us)
        return outbox_fail_option(err, "wait_timeout",
                                  "wait_timeout: it must be shorter than publish_timeout");
    return OUTBOX_OK;
}

int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err)
{
    int r = read_url(host, cfg, set, err);
    set->window = (uint32_t)host->option_int(cfg, "window");
    set->connect_us = host->option_int(cfg, "connect_timeout") * 1000;
    set->publish_us = host->option_int(cfg, "publish_timeout") * 1000;
    set->keepalive_us = host->option_int(cfg, "keepalive") * 1000;
    if (r == OUTBOX_OK)
        r = read_tls(host, cfg, set, err);
    if (r == OUTBOX_OK)
        r = read_stream(host, cfg, set, err);
    if (r == OUTBOX_OK)
        r = read_fields(host, cfg, set, err);
    return r == OUTBOX_OK ? read_durability(host, cfg, set, err) : r;
}

void settings_clear(struct settings *set)
{
    outbox_url_clear(&set->url);
    if (set->unix_text) {
        explicit_bzero(set->unix_text, strlen(set->unix_text));
        free(set->unix_text);
        set->unix_text = NULL;
    }
}
