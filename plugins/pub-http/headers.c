/* SPDX-License-Identifier: Apache-2.0 */
/* headers.c - which headers leave. Names here are in lower case; HTTP has no case. */
#include "http.h"

#include <ctype.h>
#include <strings.h>

#define NAME_MAX_BYTES 200
#define VALUE_MAX_BYTES 8192

int headers_is_token(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "!#$%&'*+-.^_`|~";
    size_t n = strlen(name);
    return n > 0 && n <= NAME_MAX_BYTES && strspn(name, letters) == n;
}

/* The same header to CGI, WSGI and the like, which make HTTP_X_A of both X-A and X_A. */
static int is_same(const char *name, const char *other, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int a = tolower((unsigned char)(name[i] == '_' ? '-' : name[i]));
        int b = tolower((unsigned char)(other[i] == '_' ? '-' : other[i]));
        if (a != b)
            return 0;
        if (a == '\0')
            return 1;
    }
    return 1;
}

/* What describes the connection, the body or the sender is the relay's to say. */
int headers_is_reserved(const char *name)
{
    static const char *const names[] = {
        "accept-encoding",
        "authorization",
        "cf-connecting-ip",
        "client-ip",
        "connection",
        "content-digest",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "digest",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "range",
        "signature",
        "signature-input",
        "te",
        "trailer",
        "transfer-encoding",
        "true-client-ip",
        "upgrade",
        "user-agent",
        "via",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-original-url",
        "x-real-ip",
        "x-rewrite-url",
    };
    static const char *const beginnings[] = {"ce-", "proxy", "webhook-", "x-forwarded-"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (is_same(name, names[i], SIZE_MAX))
            return 1;
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++)
        if (is_same(name, beginnings[i], strlen(beginnings[i])))
            return 1;
    return *name == ':';
}

int headers_add_raw(struct curl_slist **list, const char *line, struct outbox_err *err)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (!longer)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    *list = longer;
    return OUTBOX_OK;
}

int headers_add(struct curl_slist **list, const char *name, struct outbox_str value,
                struct outbox_err *err)
{
    char *line;
    int r;
    size_t n = strlen(name);
    for (uint64_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7F)
            return outbox_fail(err, OUTBOX_E_CONFIG, "the header `%.80s` has a control character",
                               name);
    if (value.n > VALUE_MAX_BYTES)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the header `%.80s` has more than %d bytes", name,
                           VALUE_MAX_BYTES);
    line = malloc(n + (size_t)value.n + 3);
    if (!line)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    memcpy(line, name, n);
    memcpy(line + n, value.n ? ": " : ";", value.n ? 2 : 1); /* as the library wants it */
    if (value.n > 0)
        memcpy(line + n + 2, value.p, (size_t)value.n);
    line[n + (value.n ? 2 + (size_t)value.n : 1)] = '\0';
    r = headers_add_raw(list, line, err);
    free(line);
    return r;
}

static int is_set_by_us(const struct client *c, const char *name)
{
    const struct settings *set = &c->settings;
    const struct outbox_host *host = c->base.host;
    if ((set->id_header && is_same(name, set->id_header, SIZE_MAX)) ||
        (set->key_header && is_same(name, set->key_header, SIZE_MAX)) ||
        (set->auth == AUTH_BEARER && is_same(name, set->bearer_header, SIZE_MAX)))
        return 1;
    for (uint64_t i = 0; i < host->option_count(c->base.cfg, "header"); i++)
        if (is_same(name, host->option_key(c->base.cfg, "header", i).p, SIZE_MAX))
            return 1;
    return 0;
}

int headers_leaves(const struct client *c, const struct outbox_header *h)
{
    return outbox_template_allows(c->base.host, c->base.cfg, "message_headers", h->name.p) &&
           strcmp(h->name.p, "content-type") != 0;
}

int headers_add_messages(const struct client *c, const struct outbox_message *msg,
                         struct curl_slist **list, struct outbox_err *err)
{
    int events = c->settings.format != FORMAT_RAW, r = OUTBOX_OK;
    for (uint64_t i = 0; i < msg->n_headers && r == OUTBOX_OK; i++) {
        const struct outbox_header *h = &msg->headers[i];
        if (!headers_leaves(c, h) || headers_is_reserved(h->name.p) || is_set_by_us(c, h->name.p) ||
            (events && event_is_attribute(h->name.p)))
            continue;
        if (strlen(h->name.p) != h->name.n || !headers_is_token(h->name.p))
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "HTTP has no header `%.80s`; leave it out by message_headers",
                               h->name.p);
        r = headers_add(list, h->name.p, h->value, err);
    }
    return r;
}

int headers_add_own(const struct client *c, struct curl_slist **list, struct outbox_err *err)
{
    const struct outbox_host *host = c->base.host;
    int r = OUTBOX_OK;
    for (uint64_t i = 0; i < host->option_count(c->base.cfg, "header") && r == OUTBOX_OK; i++)
        r = headers_add(list, host->option_key(c->base.cfg, "header", i).p,
                        host->option_item(c->base.cfg, "header", i), err);
    return r;
}

int headers_check(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct outbox_err *err)
{
    struct curl_slist *list = NULL;
    int r = OUTBOX_OK;
    for (uint64_t i = 0; i < host->option_count(cfg, "header") && r == OUTBOX_OK; i++) {
        const char *name = host->option_key(cfg, "header", i).p;
        if (!headers_is_token(name) ||
            (headers_is_reserved(name) && strcasecmp(name, "user-agent") != 0))
            return outbox_fail_option(err, "header", "header.%.80s: the relay sets that one itself",
                                      name);
        r = headers_add(&list, name, host->option_item(cfg, "header", i), NULL);
        if (r < 0)
            outbox_fail_option(err, "header",
                               "header.%.80s: it has a control character, or more than %d bytes",
                               name, VALUE_MAX_BYTES);
    }
    curl_slist_free_all(list);
    return r;
}
