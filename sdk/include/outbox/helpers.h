/* SPDX-License-Identifier: Apache-2.0 */
/* outbox/helpers.h - small inline functions for plugins. Any thread; there is nothing to link. */
#ifndef OUTBOX_HELPERS_H
#define OUTBOX_HELPERS_H

#include <outbox/publisher.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define OUTBOX_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define OUTBOX_PRINTF(f, a)
#endif

/** Fills *err, if err is not NULL, and returns code: `return outbox_fail(err, OUTBOX_E_CONFIG,
 * ...)`.
 */
static inline OUTBOX_PRINTF(3, 4) int outbox_fail(struct outbox_err *err, int code, const char *fmt,
                                                  ...)
{
    va_list ap;
    if (err && OUTBOX_HAS(err, text)) {
        err->code = code;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
    }
    if (err && OUTBOX_HAS(err, option))
        err->option[0] = '\0';
    return code;
}

/** The same for an option whose value is to blame; the code is OUTBOX_E_CONFIG. */
static inline OUTBOX_PRINTF(3, 4) int outbox_fail_option(struct outbox_err *err, const char *option,
                                                         const char *fmt, ...)
{
    va_list ap;
    if (err && OUTBOX_HAS(err, text)) {
        err->code = OUTBOX_E_CONFIG;
        va_start(ap, fmt);
        vsnprintf(err->text, sizeof err->text, fmt, ap);
        va_end(ap);
    }
    if (err && OUTBOX_HAS(err, option))
        snprintf(err->option, sizeof err->option, "%s", option);
    return OUTBOX_E_CONFIG;
}

/** Logs one formatted line of at most 1 KiB through the host. */
static inline OUTBOX_PRINTF(3, 4) void outbox_logf(const struct outbox_host *host, int level,
                                                   const char *fmt, ...)
{
    char text[1024];
    int n;
    va_list ap;
    va_start(ap, fmt);
    n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    host->log(host, level, text,
              OUTBOX_CAST(size_t, n) < sizeof text ? OUTBOX_CAST(size_t, n) : sizeof text - 1);
}

/**
 * Checks a file that a secret stands in, such as the key of a certificate: a regular file that
 * nobody but its owner can read, or root's that a group may read, too, such as a credential that a
 * service manager hands out. `option` names it. OUTBOX_E_CONFIG.
 */
static inline int outbox_private_file(const char *option, const char *path, struct outbox_err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return outbox_fail_option(err, option, "%s: %s: %s", option, path, strerror(errno));
    if (!S_ISREG(st.st_mode) || (st.st_mode & (st.st_uid == 0 ? 037 : 077)) != 0)
        return outbox_fail_option(err, option,
                                  "%s: %s is no regular file, or others may read it: chmod 600, or "
                                  "640 for root's",
                                  option, path);
    return OUTBOX_OK;
}

/** The string s, which ends with NUL, as a borrowed outbox_str. NULL stays NULL. */
static inline struct outbox_str outbox_cstr(const char *s)
{
    struct outbox_str r;
    r.p = s;
    r.n = s ? strlen(s) : 0;
    return r;
}

/** 1 if both have the same bytes, else 0. NULL equals only NULL. */
static inline int outbox_str_eq(struct outbox_str a, struct outbox_str b)
{
    if (!a.p || !b.p)
        return a.p == b.p;
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/** outbox_host.option_read; of an older host: the value as it was at the start. */
static inline int outbox_option_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                                     const char *name, char *buf, uint64_t cap, uint64_t *ret_n,
                                     struct outbox_err *err)
{
    struct outbox_str value;
    if (OUTBOX_HAS(host, option_read))
        return host->option_read(cfg, name, buf, cap, ret_n, err);
    value = host->option_text(cfg, name);
    if (!value.p || value.n >= cap)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s is %s", name,
                           value.p ? "too long" : "not set");
    memcpy(buf, value.p, value.n + 1);
    *ret_n = value.n;
    return OUTBOX_OK;
}

/** The value of the header `name`; p == NULL if the message has none of that name. */
static inline struct outbox_str outbox_header_value(const struct outbox_message *msg,
                                                    const char *name)
{
    struct outbox_str wanted = outbox_cstr(name);
    for (uint64_t i = 0; i < msg->n_headers; i++)
        if (outbox_str_eq(msg->headers[i].name, wanted))
            return msg->headers[i].value;
    return outbox_cstr(OUTBOX_NULL);
}

/** n in decimal digits in buf, with a NUL behind them. */
static inline struct outbox_str outbox_int_text(int64_t n, char buf[24])
{
    snprintf(buf, 24, "%lld", OUTBOX_CAST(long long, n));
    return outbox_cstr(buf);
}

/**
 * The last line of an open: hands out the instance x, or frees it after a failure.
 *
 *     return outbox_opened(r, x, close_instance, ret);
 */
static inline int outbox_opened(int r, void *x, void (*close)(void *), void **ret)
{
    if (r < 0)
        close(x);
    else
        *ret = x;
    return r;
}

/**
 * Reads the options ca_file, cert_file, key_file (NULL where they are not set) and tls_verify,
 * whose values are the host's. missing: NULL, or the scheme that the url would need for them to
 * make sense, as "mqtts://". OUTBOX_E_CONFIG.
 */
static inline int outbox_tls_options(const struct outbox_host *host, const struct outbox_cfg *cfg,
                                     const char *missing, const char **ret_ca,
                                     const char **ret_cert, const char **ret_key, int *ret_verify,
                                     struct outbox_err *err)
{
    static const char *const names[] = {"ca_file", "cert_file", "key_file", "tls_verify"};
    const char *files[3];
    for (int i = 0; i < 4; i++)
        if (missing && host->option_is_set(cfg, names[i]))
            return outbox_fail_option(err, names[i], "%s: it needs an url with %s", names[i],
                                      missing);
    for (int i = 0; i < 3; i++) {
        struct outbox_str file = host->option_text(cfg, names[i]);
        files[i] = file.n > 0 ? file.p : OUTBOX_NULL;
    }
    if (!files[1] != !files[2])
        return outbox_fail_option(err, names[files[1] ? 1 : 2],
                                  "cert_file and key_file need each other");
    *ret_ca = files[0];
    *ret_cert = files[1];
    *ret_key = files[2];
    *ret_verify = host->option_int(cfg, names[3]) != 0;
    return OUTBOX_OK;
}

/* ---- reasons ---- */

/**
 * Memory for the reasons of one instance. Zero it at the start. Call outbox_reasons_clear at the
 * beginning of each call that sets outcomes, and in close.
 */
struct outbox_reasons {
    struct outbox_reason_text *first;
};
struct outbox_reason_text {
    struct outbox_reason_text *next; /* the text follows */
};

static inline void outbox_reasons_clear(struct outbox_reasons *reasons)
{
    while (reasons->first) {
        struct outbox_reason_text *next = reasons->first->next;
        free(reasons->first);
        reasons->first = next;
    }
}

/** A formatted reason, of at most 1023 bytes, that is valid until outbox_reasons_clear. */
static inline OUTBOX_PRINTF(2, 0) struct outbox_str
    outbox_vreason(struct outbox_reasons *reasons, const char *fmt, va_list ap)
{
    char text[1024];
    int n = vsnprintf(text, sizeof text, fmt, ap);
    size_t len = n < 0 ? 0 : strlen(text);
    struct outbox_reason_text *t = OUTBOX_CAST(struct outbox_reason_text *,
                                               malloc(sizeof(struct outbox_reason_text) + len + 1));
    char *copy;
    if (!t)
        return outbox_cstr("out of memory for the reason");
    copy = OUTBOX_CAST(char *, OUTBOX_CAST(void *, t + 1));
    memcpy(copy, n < 0 ? "" : text, len + 1);
    t->next = reasons->first;
    reasons->first = t;
    return outbox_cstr(copy);
}

/** Sets an outcome with a formatted reason: outbox_reason(&x->reasons, outcomes[i], OUTBOX_RETRY,
 * ...). */
static inline OUTBOX_PRINTF(4, 5) void outbox_reason(struct outbox_reasons *reasons,
                                                     struct outbox_outcome *outcome,
                                                     uint32_t verdict, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    outcome->verdict = verdict;
    outcome->reason = outbox_vreason(reasons, fmt, ap);
    va_end(ap);
}

#ifdef __cplusplus
}
#endif
#endif
