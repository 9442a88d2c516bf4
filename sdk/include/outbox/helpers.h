/* SPDX-License-Identifier: Apache-2.0 */
/* outbox/helpers.h - small inline functions for plugins. Any thread; there is nothing to link. */
#ifndef OUTBOX_HELPERS_H
#define OUTBOX_HELPERS_H

#include <outbox/abi.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define OUTBOX_PRINTF(f, a) __attribute__((format(printf, f, a), unused))
#else
#define OUTBOX_PRINTF(f, a)
#endif

/** Fills *err, if err is not NULL, and returns code: `return outbox_fail(err, OUTBOX_E_CONFIG,
 * ...)`.
 */
static OUTBOX_PRINTF(3, 4) int outbox_fail(struct outbox_err *err, int code, const char *fmt, ...)
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
static OUTBOX_PRINTF(3, 4) int outbox_fail_option(struct outbox_err *err, const char *option,
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
static OUTBOX_PRINTF(3, 4) void outbox_logf(const struct outbox_host *host, int level,
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
    host->log(host, level, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
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
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, (size_t)a.n) == 0);
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
    memcpy(buf, value.p, (size_t)value.n + 1);
    *ret_n = value.n;
    return OUTBOX_OK;
}

#ifdef __cplusplus
}
#endif
#endif
