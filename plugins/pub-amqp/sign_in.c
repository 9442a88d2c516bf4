/* SPDX-License-Identifier: Apache-2.0 */
#include "sign_in.h"

#include "connection/connect.h"
#include "connection/monotonic.h"
#include "login_settings.h"
#include "publish/frames.h"

#include <outbox/helpers.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* An attempt that hangs in spite of its own deadline gets so much more time, or a tenth of it. */
#define HANG_US 50000
/* A refused login is repeated slowly: brokers lock out users that repeat it. */
#define REFUSED_US 15000000

/* ---- the hosts ---- */

static void take_over(struct amqp *a, struct attempt *attempt)
{
    connection_open(&a->connection, attempt, &a->watchdog, frames_receive, a);
    a->next_host = attempt->host;
    roster_join(&a->member, a->cfg);
    a->host->count(a->host, "amqp_connects_total", 1);
    outbox_logf(a->host, OUTBOX_LOG_INFO, "connected to %s%s%s%s, heartbeat %d s",
                a->connection.peer, *attempt->broker ? " (" : "", attempt->broker,
                *attempt->broker ? ")" : "", attempt->heartbeat_s);
}

/* What the attempts of one login have found out. */
struct findings {
    bool refused;     /* the other hosts would refuse the login, too */
    bool turned_away; /* a broker answered, and closed the connection */
};

static int connect_to(struct amqp *a, const char *password, size_t host, int64_t us,
                      const struct limits *limits, struct findings *found, struct outbox_err *err)
{
    const char *peer = a->endpoint->url.parts.hosts[host].peer;
    int64_t hang_us = earlier(us / 10, HANG_US);
    int64_t end_us = earlier(now_us() + us + hang_us, limits->until_us);
    if (!a->connecting[host])
        a->connecting[host] = timed_call_new();
    if (!a->connecting[host])
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory or descriptors");
    struct attempt *attempt = attempt_new(a->endpoint, password, host, end_us - hang_us);
    if (!attempt)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    int r = timed_call_run(a->connecting[host], connect_run, attempt_free, attempt,
                           ms_until(end_us), limits->cancel_fd);
    if (r == OUTBOX_E_CANCELLED)
        return outbox_fail(err, r, "cancelled");
    if (r == OUTBOX_E_TIMEOUT)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot connect to %s: no answer in time", peer);
    /* It is ours again. */
    const char *why = r == OUTBOX_E_BROKEN
                          ? "an earlier attempt still hangs, perhaps in the resolution of its name"
                      : r < 0 ? "no thread for it"
                              : attempt->err.text;
    r = r < 0 ? OUTBOX_E_RETRY : attempt->err.code;
    if (r < 0)
        outbox_fail(err, r, "cannot connect to %s: %s", peer, why);
    else
        take_over(a, attempt);
    found->refused = attempt->login_refused;
    found->turned_away |= attempt->turned_away;
    attempt_free(attempt);
    return r;
}

/* Tries the hosts in turn, beginning with the one that was connected last. */
static int connect_any(struct amqp *a, const char *password, const struct limits *limits,
                       struct findings *found, struct outbox_err *err)
{
    size_t n = a->endpoint->url.parts.n_hosts, first = a->next_host % n;
    int r = OUTBOX_E_RETRY;
    for (size_t i = 0; i < n && !found->refused; i++) {
        int64_t now = now_us();
        /* Each gets a share, so that one that does not answer leaves time for the others. */
        int64_t share = (limits->until_us - now) / (int64_t)(n - i);
        int64_t us = earlier(share, a->settings.connect_us);
        if (us <= 0)
            return i > 0 ? r : outbox_fail(err, OUTBOX_E_TIMEOUT, "there was no time to connect");
        r = connect_to(a, password, (first + i) % n, us, limits, found, err);
        /* With all of connect_timeout it might have answered: that says nothing about the host. */
        if (r == OUTBOX_E_RETRY && share < a->settings.connect_us && now_us() >= now + us - HANG_US)
            r = err->code = OUTBOX_E_TIMEOUT;
        if (r == OUTBOX_OK || r == OUTBOX_E_CANCELLED)
            return r;
        if (n > 1 && i + 1 < n)
            outbox_logf(a->host, OUTBOX_LOG_INFO, "%s; trying the next host", err->text);
    }
    a->next_host = found->refused ? first : (first + 1) % n;
    return r;
}

/* ---- the login ---- */

static uint64_t hash(const char *text)
{
    return window_hash(text, strlen(text));
}

/* Another value for another file, or other contents. */
static uint64_t file_hash(const char *path)
{
    char text[128];
    struct stat st = {0};
    stat(path, &st);
    snprintf(text, sizeof text, "%jd %jd %jd.%09ld", (intmax_t)st.st_ino, (intmax_t)st.st_size,
             (intmax_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    return hash(text);
}

static int read_login(struct amqp *a, char **ret_password, uint64_t *ret_login,
                      struct outbox_err *err)
{
    struct endpoint *endpoint;
    int r = login_settings_read(a->host, a->cfg, &endpoint, ret_password, err);
    if (r < 0)
        return r;
    endpoint_unref(a->endpoint);
    a->endpoint = endpoint;
    *ret_login = hash(endpoint->user) + 3 * hash(*ret_password) + 5 * hash(endpoint->url.vhost);
    if (endpoint->external)
        *ret_login += 7 * file_hash(endpoint->cert_file) + 11 * file_hash(endpoint->key_file);
    return OUTBOX_OK;
}

static int try_login(struct amqp *a, const struct limits *limits, struct findings *found,
                     struct outbox_err *err)
{
    struct refusal *refusal = &a->refusal;
    char *password = NULL;
    uint64_t login = 0;
    int r = read_login(a, &password, &login, err);
    if (r == 0 && login == refusal->login && now_us() < refusal->until_us) {
        secret_free(password);
        found->turned_away = true;
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s", refusal->err.text);
    }
    if (r == 0)
        r = connect_any(a, password, limits, found, err);
    secret_free(password);
    if (found->refused)
        *refusal = (struct refusal){login, now_us() + REFUSED_US, *err};
    return r;
}

int sign_in_turned_away(const struct amqp *a, int code, struct outbox_err *err)
{
    struct outbox_err why = *err;
    if (!roster_has(a->cfg))
        return code;
    return outbox_fail(err, OUTBOX_E_FULL, "%.380s; other workers are connected%s", why.text,
                       now_us() < a->refusal.until_us
                           ? ", with an earlier login"
                           : ": lower `workers`, or raise the broker's limit of connections");
}

int sign_in(struct amqp *a, const struct limits *limits, struct outbox_err *err)
{
    struct findings found = {0};
    int r = try_login(a, limits, &found, err);
    /* A secret that was changed meanwhile is worth another try at once. */
    if (found.refused) {
        found = (struct findings){0};
        r = try_login(a, limits, &found, err);
    }
    return r < 0 && found.turned_away ? sign_in_turned_away(a, r, err) : r;
}
