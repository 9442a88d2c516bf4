/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/url.h"

#include "common/utf8.h"

#include <outbox/helpers.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PORT 5672
#define PORT_TLS 5671
#define NAME_MAX_BYTES 255

/* A piece of the text. */
struct span {
    const char *p;
    size_t n;
};

static int wrong(struct outbox_err *err, const char *what)
{
    return outbox_fail_option(err, "url", "url: %s", what);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A part of the url, terminated and with its %XX replaced. On failure url_free frees it, too. */
static int decode(struct span from, const char *what, char **ret, struct outbox_err *err)
{
    const char *fault = NULL;
    size_t n = 0;
    char *out = *ret = malloc(from.n + 1);
    if (!out)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (size_t i = 0; i < from.n && !fault; i++) {
        char c = from.p[i];
        if (c == '%') {
            int high = i + 2 < from.n ? hex(from.p[i + 1]) : -1;
            int low = high >= 0 ? hex(from.p[i + 2]) : -1;
            if (low < 0)
                fault = "has a `%` that no two hexadecimal digits follow; write %25 for a `%`";
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (!fault && ((unsigned char)c < 0x20 || c == 0x7F))
            fault = "holds a NUL or a control character";
        out[n++] = c;
    }
    out[n] = '\0';
    if (!fault && n > NAME_MAX_BYTES)
        fault = "is longer than 255 bytes";
    if (!fault && !utf8_is_clean(out, n))
        fault = "is not valid UTF-8";
    return fault ? outbox_fail_option(err, "url", "url: its %s %s", what, fault) : OUTBOX_OK;
}

static int parse_user(struct span part, struct url *ret, struct outbox_err *err)
{
    const char *colon = memchr(part.p, ':', part.n);
    struct span user = {part.p, colon ? (size_t)(colon - part.p) : part.n};
    if (memchr(part.p, '@', part.n))
        return wrong(err, "it has more than one `@`; write %40 for one inside a user or password");
    if (user.n == 0)
        return wrong(err, "there is no user before the `@`");
    int r = decode(user, "user", &ret->user, err);
    if (r < 0 || !colon)
        return r;
    struct span password = {colon + 1, part.n - user.n - 1};
    return decode(password, "password", &ret->password, err);
}

/* ---- hosts ---- */

static int host_wrong(const struct url *url, const char *what, struct outbox_err *err)
{
    return outbox_fail_option(err, "url", "url: host %zu %s", url->n_hosts + 1, what);
}

static int parse_port(struct span digits, const struct url *url, uint16_t *ret,
                      struct outbox_err *err)
{
    if (strspn(digits.p, "0123456789") < digits.n)
        return host_wrong(url,
                          memchr(digits.p, ':', digits.n)
                              ? "has more than one `:`; an IPv6 address stands in brackets"
                              : "has a port that is not a number",
                          err);
    unsigned long port = strtoul(digits.p, NULL, 10);
    if (port == 0 || port > 65535)
        return host_wrong(url, "has a port that is not one of 1 to 65535", err);
    *ret = (uint16_t)port;
    return OUTBOX_OK;
}

static bool is_name(struct span name)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return name.n > 0 && name.n < 254 && strspn(name.p, allowed) >= name.n;
}

static bool is_ipv6(struct span name)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (name.n >= sizeof text)
        return false;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

static int parse_host(struct span part, struct url *ret, struct outbox_err *err)
{
    struct span name = part, rest;
    uint16_t port = ret->tls ? PORT_TLS : PORT;
    if (part.n > 0 && part.p[0] == '[') {
        const char *end = memchr(part.p, ']', part.n);
        name = (struct span){part.p + 1, end ? (size_t)(end - part.p) - 1 : 0};
        if (!end || !is_ipv6(name))
            return host_wrong(ret, "is no IPv6 address in brackets", err);
        rest = (struct span){end + 1, part.n - name.n - 2};
    } else {
        const char *colon = memchr(part.p, ':', part.n);
        name.n = colon ? (size_t)(colon - part.p) : part.n;
        rest = (struct span){part.p + name.n, part.n - name.n};
        if (name.n == 0)
            return host_wrong(ret, "has no name", err);
        if (!is_name(name))
            return host_wrong(ret, "is neither a name nor an address", err);
    }
    if (rest.n > 0 && rest.p[0] != ':')
        return host_wrong(ret, "has something else than a port behind its address", err);
    if (rest.n > 0) {
        int r = parse_port((struct span){rest.p + 1, rest.n - 1}, ret, &port, err);
        if (r < 0)
            return r;
    }
    struct url_host *host = &ret->hosts[ret->n_hosts++];
    char *peer; /* asprintf leaves it undefined without memory */
    host->port = port;
    host->name = strndup(name.p, name.n);
    if (!host->name || asprintf(&peer, "%.*s:%u", (int)(rest.p - part.p), part.p, port) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    host->peer = peer;
    return OUTBOX_OK;
}

static int parse_hosts(struct span part, struct url *ret, struct outbox_err *err)
{
    ret->hosts = calloc(URL_HOSTS_MAX, sizeof *ret->hosts);
    if (!ret->hosts)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (;;) {
        const char *comma = memchr(part.p, ',', part.n);
        struct span host = {part.p, comma ? (size_t)(comma - part.p) : part.n};
        if (ret->n_hosts == URL_HOSTS_MAX)
            return outbox_fail_option(err, "url", "url: it has more than %d hosts", URL_HOSTS_MAX);
        int r = parse_host(host, ret, err);
        if (r < 0 || !comma)
            return r;
        part = (struct span){comma + 1, part.n - host.n - 1};
    }
}

/* ---- the whole ---- */

static int parse_vhost(const char *path, struct url *ret, struct outbox_err *err)
{
    /* A lone slash names the empty virtual host, which nobody means. */
    struct span name = {"/", 1};
    if (path[0] == '/' && path[1] != '\0')
        name = (struct span){path + 1, strlen(path + 1)};
    if (path[0] == '/' && strchr(path + 1, '/'))
        return wrong(err, "its virtual host holds a `/`; write %2F for it");
    return decode(name, "virtual host", &ret->vhost, err);
}

static int parse(const char *text, struct url *ret, struct outbox_err *err)
{
    if (strncasecmp(text, "amqps://", 8) == 0)
        ret->tls = true;
    else if (strncasecmp(text, "amqp://", 7) != 0)
        return wrong(err, "it must begin with amqp:// or amqps://");
    text += ret->tls ? 8 : 7;
    if (strpbrk(text, "?#"))
        return wrong(err, "it has a `?` or `#`: options belong into the section; write %3F or %23 "
                          "for one inside a user or password");
    struct span hosts = {text, strcspn(text, "/")};
    const char *path = text + hosts.n, *at = memrchr(text, '@', hosts.n);
    int r = OUTBOX_OK;
    if (strchr(path, '@'))
        return wrong(err, "an `@` stands behind the `/`; write %2F for a `/` inside a password");
    if (at) {
        hosts = (struct span){at + 1, (size_t)(path - at) - 1};
        r = parse_user((struct span){text, (size_t)(at - text)}, ret, err);
    }
    if (r == 0)
        r = parse_hosts(hosts, ret, err);
    return r < 0 ? r : parse_vhost(path, ret, err);
}

int url_parse(const char *text, struct url *ret, struct outbox_err *err)
{
    *ret = (struct url){0};
    int r = parse(text, ret, err);
    if (r < 0)
        url_free(ret);
    return r;
}

void url_free(struct url *url)
{
    if (url->password)
        explicit_bzero(url->password, strlen(url->password));
    for (size_t i = 0; i < url->n_hosts; i++)
        free(url->hosts[i].name), free(url->hosts[i].peer);
    free(url->hosts);
    free(url->user);
    free(url->password);
    free(url->vhost);
    *url = (struct url){0};
}
