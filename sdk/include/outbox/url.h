/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/url.h - scheme://user:password@host:port,host:port/path, with %XX in it. A url may hold a
 * password: no message about it shows a part of it. Any thread.
 */
#ifndef OUTBOX_URL_H
#define OUTBOX_URL_H

#include <outbox/helpers.h>

#include <arpa/inet.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OUTBOX_URL_HOSTS 32
#define OUTBOX_URL_TEXT 256

/** A scheme that the plugin knows, in lower case, and its port. A list ends with a NULL name. */
struct outbox_url_scheme {
    const char *name;
    uint16_t port;
};

struct outbox_url_host {
    char name[OUTBOX_URL_TEXT];     /* without the brackets of an IPv6 address */
    char peer[OUTBOX_URL_TEXT + 8]; /* name:port, for messages */
    uint16_t port;
};

/** Clear it with outbox_url_clear, because of the password. */
struct outbox_url {
    uint32_t scheme; /* the index */
    uint32_t n_hosts;
    uint32_t has_user, has_password;
    char user[OUTBOX_URL_TEXT];
    char password[OUTBOX_URL_TEXT];
    const char *path; /* what stands behind the slash, not decoded; into the text; NULL: no slash */
    struct outbox_url_host hosts[OUTBOX_URL_HOSTS];
};

static inline void outbox_url_clear(struct outbox_url *url)
{
    volatile char *p = url->password;
    for (size_t i = 0; i < sizeof url->password; i++)
        p[i] = 0;
    memset(url, 0, sizeof *url);
}

static inline int outbox_url_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/** Copies n bytes with their %XX replaced. OUTBOX_E_CONFIG names `option` and `what` ("password").
 */
static inline int outbox_url_decode(const char *option, const char *what, const char *p, size_t n,
                                    char ret[OUTBOX_URL_TEXT], struct outbox_err *err)
{
    const char *fault = OUTBOX_NULL;
    size_t used = 0;
    for (size_t i = 0; i < n && !fault; i++) {
        char c = p[i];
        if (c == '%') {
            int high = i + 2 < n ? outbox_url_hex(p[i + 1]) : -1;
            int low = high >= 0 ? outbox_url_hex(p[i + 2]) : -1;
            if (low < 0)
                fault = "has a `%` that no two hexadecimal digits follow; write %25 for a `%`";
            c = OUTBOX_CAST(char, high * 16 + low);
            i += 2;
        }
        if (!fault && (OUTBOX_CAST(unsigned char, c) < 0x20 || c == 0x7F))
            fault = "holds a NUL or a control character";
        else if (!fault && used + 1 >= OUTBOX_URL_TEXT)
            fault = "is longer than 255 bytes";
        if (!fault)
            ret[used++] = c;
    }
    ret[used] = '\0';
    return fault ? outbox_fail_option(err, option, "%s: its %s %s", option, what, fault)
                 : OUTBOX_OK;
}

static inline int outbox_url_user(const char *option, const char *p, size_t n,
                                  struct outbox_url *ret, struct outbox_err *err)
{
    const char *colon = OUTBOX_CAST(const char *, memchr(p, ':', n));
    size_t user = colon ? OUTBOX_CAST(size_t, colon - p) : n;
    int r;
    if (memchr(p, '@', n))
        return outbox_fail_option(
            err, option,
            "%s: it has more than one `@`; write %%40 for one inside a user or password", option);
    if (user == 0)
        return outbox_fail_option(err, option, "%s: there is no user before the `@`", option);
    ret->has_user = 1;
    r = outbox_url_decode(option, "user", p, user, ret->user, err);
    if (r < 0 || !colon)
        return r;
    ret->has_password = 1;
    return outbox_url_decode(option, "password", colon + 1, n - user - 1, ret->password, err);
}

/* ---- hosts ---- */

static inline const char *outbox_url_port(const char *p, size_t n, uint16_t *ret)
{
    uint32_t port = 0;
    if (memchr(p, ':', n))
        return "has more than one `:`; an IPv6 address stands in brackets";
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return "has a port that is not a number";
        port = port > 65535 ? port : port * 10 + OUTBOX_CAST(uint32_t, p[i] - '0');
    }
    if (port == 0 || port > 65535)
        return "has a port that is not one of 1 to 65535";
    *ret = OUTBOX_CAST(uint16_t, port);
    return OUTBOX_NULL;
}

/* What is wrong with a host, or NULL; n bytes of host:port. */
static inline const char *outbox_url_read_host(const char *p, size_t n, struct outbox_url_host *ret)
{
    const char *end =
        n > 0 && *p == '[' ? OUTBOX_CAST(const char *, memchr(p, ']', n)) : OUTBOX_NULL;
    const char *colon = OUTBOX_CAST(const char *, memchr(p, ':', n));
    const char *name = end ? p + 1 : p, *fault = OUTBOX_NULL;
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    struct in6_addr address;
    size_t name_n = end     ? OUTBOX_CAST(size_t, end - name)
                    : colon ? OUTBOX_CAST(size_t, colon - p)
                            : n;
    size_t used = end ? name_n + 2 : name_n;
    if (n > 0 && *p == '[' && !end)
        return "is no IPv6 address in brackets";
    if (name_n == 0 && !end)
        return "has no name";
    if (name_n > 253)
        return "is neither a name nor an address";
    memcpy(ret->name, name, name_n);
    ret->name[name_n] = '\0';
    if (end ? inet_pton(AF_INET6, ret->name, &address) != 1 : strspn(ret->name, letters) != name_n)
        return end ? "is no IPv6 address in brackets" : "is neither a name nor an address";
    if (used < n && p[used] != ':')
        return "has something else than a port behind its address";
    if (used < n)
        fault = outbox_url_port(p + used + 1, n - used - 1, &ret->port);
    snprintf(ret->peer, sizeof ret->peer, "%.*s:%u", OUTBOX_CAST(int, used), p,
             OUTBOX_CAST(unsigned, ret->port));
    return fault;
}

static inline int outbox_url_hosts(const char *option, const char *p, size_t n, uint16_t port,
                                   struct outbox_url *ret, struct outbox_err *err)
{
    for (;;) {
        const char *comma = OUTBOX_CAST(const char *, memchr(p, ',', n));
        size_t one = comma ? OUTBOX_CAST(size_t, comma - p) : n;
        const char *fault;
        if (ret->n_hosts == OUTBOX_URL_HOSTS)
            return outbox_fail_option(err, option, "%s: it has more than %d hosts", option,
                                      OUTBOX_URL_HOSTS);
        ret->hosts[ret->n_hosts].port = port;
        fault = outbox_url_read_host(p, one, &ret->hosts[ret->n_hosts]);
        ret->n_hosts++;
        if (fault)
            return outbox_fail_option(err, option, "%s: host %u %s", option, ret->n_hosts, fault);
        if (!comma)
            return OUTBOX_OK;
        p = comma + 1;
        n -= one + 1;
    }
}

/* ---- the whole ---- */

/* Is `scheme` what the n bytes at p spell, in any case? */
static inline int outbox_url_is_scheme(const char *scheme, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!scheme[i] || scheme[i] != (p[i] >= 'A' && p[i] <= 'Z' ? p[i] + ('a' - 'A') : p[i]))
            return 0;
    return scheme[n] == '\0';
}

static inline const char *outbox_url_last_at(const char *p, size_t n)
{
    for (; n > 0; n--)
        if (p[n - 1] == '@')
            return p + n - 1;
    return OUTBOX_NULL;
}

static inline int outbox_url_parse_rest(const char *option, const char *text, uint16_t port,
                                        struct outbox_url *ret, struct outbox_err *err)
{
    size_t n = strcspn(text, "/");
    const char *path = text + n, *at = outbox_url_last_at(text, n);
    int r = OUTBOX_OK;
    if (strpbrk(text, "?#"))
        return outbox_fail_option(
            err, option,
            "%s: it has a `?` or `#`: options belong into the section; write %%3F or %%23 for one "
            "inside a user or password",
            option);
    if (strchr(path, '@'))
        return outbox_fail_option(
            err, option, "%s: an `@` stands behind the `/`; write %%2F for a `/` inside a password",
            option);
    if (at) {
        size_t user = OUTBOX_CAST(size_t, at - text);
        r = outbox_url_user(option, text, user, ret, err);
        text = at + 1;
        n -= user + 1;
    }
    if (r == OUTBOX_OK)
        r = outbox_url_hosts(option, text, n, port, ret, err);
    if (*path == '/')
        ret->path = path + 1;
    return r;
}

/**
 * Reads the value of the option. OUTBOX_E_CONFIG with a text that begins with the option's name;
 * *ret is clear then.
 */
static inline int outbox_url_parse(const char *option, const char *text,
                                   const struct outbox_url_scheme *schemes, struct outbox_url *ret,
                                   struct outbox_err *err)
{
    const char *end = strstr(text, "://");
    char known[128] = "";
    memset(ret, 0, sizeof *ret);
    for (uint32_t i = 0; schemes[i].name; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s://", i > 0 ? " or " : "",
                 schemes[i].name);
        if (end && outbox_url_is_scheme(schemes[i].name, text, OUTBOX_CAST(size_t, end - text))) {
            int r = outbox_url_parse_rest(option, end + 3, schemes[i].port, ret, err);
            ret->scheme = i;
            if (r < 0)
                outbox_url_clear(ret);
            return r;
        }
    }
    return outbox_fail_option(err, option, "%s: it must begin with %s", option, known);
}

#ifdef __cplusplus
}
#endif
#endif
