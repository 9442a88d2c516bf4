/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/checked_call.h"

#include "base/array.h"
#include "base/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- telling ---- */

/* With the lock. How often it happened if it is to be logged now, else 0. */
static uint64_t is_due(struct checked_plugin *plugin, const char *instance, const char *operation,
                       const char *rule)
{
    struct checked_told *told = NULL;
    for (size_t i = 0; i < plugin->n_told && !told; i++) {
        struct checked_told *t = &plugin->told[i];
        if (strcmp(t->instance, instance) == 0 && strcmp(t->operation, operation) == 0 &&
            strcmp(t->rule, rule) == 0)
            told = t;
    }
    if (!told) {
        told = array_add(&plugin->told, &plugin->n_told, sizeof *told);
        if (!told)
            return 1;
        snprintf(told->instance, sizeof told->instance, "%s", instance);
        told->operation = operation;
        told->rule = rule;
    }
    told->times++;
    return reminder_is_due(&told->reminder, clock_monotonic_us()) ? told->times : 0;
}

/* With the lock. An open instance that can log, of that section if there is one; NULL: none. */
static const struct checked_host *logger(const struct checked_plugin *plugin, const char *instance)
{
    const struct checked_host *any = NULL;
    for (const struct checked *c = plugin->open; c; c = c->next) {
        if (!checked_host_can_log(c->host))
            continue;
        if (strcmp(checked_host_label(c->host), instance) == 0)
            return c->host;
        any = c->host;
    }
    return any;
}

static void log_violation(struct checked_plugin *plugin, const char *instance,
                          const char *operation, const char *rule, const char *what)
{
    char text[1024], times[48] = "";
    pthread_mutex_lock(&plugin->lock);
    const struct checked_host *host = logger(plugin, instance);
    uint64_t n = host ? is_due(plugin, instance, operation, rule) : 0;
    if (n > 1)
        snprintf(times, sizeof times, " (%llu times so far)", (unsigned long long)n);
    snprintf(text, sizeof text,
             "%s-%s broke the rule %s of plugins in %s of %s: %s%s; report it to its author",
             descriptor_kind_prefix(plugin->inner->desc.kind), plugin->inner->desc.name, rule,
             operation, instance, what, times);
    if (n > 0)
        checked_host_log(host, text);
    pthread_mutex_unlock(&plugin->lock);
}

void checked_report(struct checked_plugin *plugin, const char *instance, const char *operation,
                    const char *rule, const char *what)
{
    if (plugin->checker.report)
        plugin->checker.report(plugin->checker.ctx, instance, operation, rule, what);
    else
        log_violation(plugin, instance, operation, rule, what);
}

void checked_call_report(const struct checked_call *c, const char *rule, const char *fmt, ...)
{
    char what[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    checked_report(c->of->plugin, checked_host_label(c->of->host), c->operation, rule, what);
}

/* ---- before ---- */

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return fd >= 0 && poll(&p, 1, 0) > 0 && (p.revents & POLLIN);
}

static void lend_call(struct checked_call *c)
{
    c->call = checked_pages_add(&c->pages, c->given, sizeof *c->call, false);
    if (!c->call || c->given->cancel_fd < 0)
        return;
    c->was_cancelled = is_readable(c->given->cancel_fd);
    int fd = fcntl(c->given->cancel_fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0) /* else it gets the host's own */
        c->call->cancel_fd = fd;
}

void checked_call_begin(struct checked_call *c, struct checked *of, const char *operation,
                        const struct outbox_call *call, struct outbox_err *err)
{
    memset(c, 0, offsetof(struct checked_call, before));
    c->of = of;
    c->operation = operation;
    c->pages.vault = &of->plugin->vault;
    c->given = call;
    c->given_err = err;
    if (!checked_reason_same(&of->reasons))
        checked_call_report(c, "reason-memory",
                            "a reason of the call before was gone before this one");
    checked_reason_drop(&of->reasons);
    checked_collect_begin(c);
    if (call)
        lend_call(c);
    if (err && (c->err = checked_pages_add(&c->pages, err, sizeof *err, true)))
        c->err->text[0] = c->err->option[0] = '\0';
}

bool checked_call_ready(struct checked_call *c)
{
    if (c->pages.failed)
        return false;
    checked_pages_seal(&c->pages);
    checked_state_read(&c->before, c->of->plugin->checker.flags & CHECKER_ALONE);
    c->began_us = clock_monotonic_us();
    atomic_store(&c->of->plugin->operation, c->operation);
    return true;
}

int64_t checked_call_ms(const struct checked_call *c)
{
    return (clock_monotonic_us() - c->began_us) / 1000;
}

/* ---- after ---- */

static void found(void *ctx, const char *rule, const char *what)
{
    checked_call_report(ctx, rule, "%s", what);
}

/* Is it still the host's, and not another one with that number? All event descriptors have the same
 * inode, so that one of those is not told from another. */
static bool is_same_file(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static void check_cancel(struct checked_call *c, int r)
{
    const struct checker *checker = &c->of->plugin->checker;
    int given = c->given ? c->given->cancel_fd : -1;
    bool cancelled = checker->is_cancelled ? checker->is_cancelled(checker->ctx) : c->was_cancelled;
    bool readable = is_readable(given);
    int lent = c->call ? c->call->cancel_fd : -1;
    if (given >= 0 && lent >= 0 && lent != given) {
        if (is_same_file(lent, given))
            close(lent);
        else
            checked_call_report(c, "closes-cancel-fd", "it closed cancel_fd, which others share");
    }
    if (given >= 0 && cancelled && !readable)
        checked_call_report(c, "reads-cancel-fd", "it read cancel_fd, which others wait for, too");
    if (r == OUTBOX_E_CANCELLED && !cancelled && !readable) {
        checked_call_report(c, "cancelled-unasked",
                            "it said that it was cancelled, and it was not");
        c->useless = "cancelled-unasked";
    }
}

/* The answers of `wait` that are none of its failures. */
static bool is_answer(const struct checked_call *c, int r)
{
    return (r == OUTBOX_E_TIMEOUT || r == OUTBOX_E_CANCELLED) && strcmp(c->operation, "wait") == 0;
}

static void check_error(struct checked_call *c, int r)
{
    struct outbox_err *err = c->err;
    if (r >= 0 || !err || is_answer(c, r))
        return;
    if (strnlen(err->text, sizeof err->text) == sizeof err->text ||
        strnlen(err->option, sizeof err->option) == sizeof err->option) {
        checked_call_report(c, "error-text", "no NUL ends the text of its error");
        err->text[sizeof err->text - 1] = err->option[sizeof err->option - 1] = '\0';
    } else if (err->text[0] == '\0') {
        checked_call_report(c, "error-text", "it failed (%d) without a reason", r);
    } else if (strpbrk(err->text, "\n\r")) {
        checked_call_report(c, "error-text", "the text of its error has several lines");
    } else if (err->code != r) {
        checked_call_report(c, "error-text", "it returned %d, and its error says %d", r, err->code);
    }
    if (checked_host_shows_secret(c->of, err->text)) {
        checked_call_report(c, "error-text", "the text of its error shows the value of a secret");
        snprintf(err->text, sizeof err->text, "failed with a text that shows a secret");
    }
}

static void check_time(struct checked_call *c)
{
    int64_t ms = checked_call_ms(c);
    if (c->call && ms > (int64_t)c->given->timeout_ms + CHECKED_LATE_MS)
        checked_call_report(c, "late-return", "it returned after %lld ms, and had %u",
                            (long long)ms, c->given->timeout_ms);
}

static int useless_result(struct checked_call *c, int r)
{
    const struct plugin *inner = c->of->plugin->inner;
    return c->useless
               ? outbox_fail(c->given_err, OUTBOX_E_BROKEN, "%s-%s broke the rule %s of plugins",
                             descriptor_kind_prefix(inner->desc.kind), inner->desc.name, c->useless)
               : r;
}

int checked_call_end(struct checked_call *c, int r)
{
    atomic_store(&c->of->plugin->operation, NULL);
    if (c->pages.failed) {
        if (c->call && c->call->cancel_fd != c->given->cancel_fd)
            close(c->call->cancel_fd);
        checked_pages_return(&c->pages);
        return outbox_fail(c->given_err, OUTBOX_E_RETRY, "out of memory");
    }
    check_time(c);
    if (r > 0) {
        checked_call_report(c, "result-positive", "its result was %d", r);
        c->useless = "result-positive";
    }
    if (!checked_pages_unchanged(&c->pages))
        checked_call_report(c, "changes-messages", "it changed what it had borrowed");
    if (!checked_pages_within(&c->pages))
        checked_call_report(c, "writes-beyond", "it wrote behind a struct or an array of the host");
    check_cancel(c, r);
    check_error(c, r);
    checked_state_compare(&c->before, found, c);
    if (r < 0 && c->err)
        *c->given_err = *c->err;
    checked_pages_return(&c->pages);
    return useless_result(c, r);
}
