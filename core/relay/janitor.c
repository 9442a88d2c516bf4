/* SPDX-License-Identifier: Apache-2.0 */
/* janitor.c - renews the workers' claims, keeps this relay's row, and deletes what is old. */
#include "relay/context.h"

#include "base/clock.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <string.h>

#define REGISTRY_MS 2000
#define PURGE_LIMIT 500
#define PURGE_IDLE_MS 60000

struct keeper {
    struct relay *relay;
    struct heartbeat_view registry;
    int64_t renew_us; /* monotonic: when each thing is due */
    int64_t registry_us;
    int64_t purge_us;
};

/* Nothing the keeper does may take so long that a claim runs out meanwhile. */
static struct outbox_call keeper_call(const struct relay *relay)
{
    int64_t third = relay->config->lease_ms / 3;
    /* Once it is to quit no claim is held any more. */
    return store_call(third < STORE_CALL_MS ? third : STORE_CALL_MS, relay->quit_fd);
}

static void renew_one(struct relay *relay, struct claim_hold *hold)
{
    char lease[sizeof hold->lease];
    struct outbox_err err = {.size = sizeof err};
    uint32_t lease_ms = (uint32_t)relay->config->lease_ms;
    uint64_t held = 0;

    pthread_mutex_lock(&hold->lock);
    size_t n = hold->lease_n;
    memcpy(lease, hold->lease, n);
    pthread_mutex_unlock(&hold->lock);
    if (n == 0)
        return;

    int64_t until_us = clock_monotonic_us() + relay->config->lease_ms * 1000;
    struct outbox_call call = keeper_call(relay);
    int r = store_renew(&relay->keeper_store, (struct outbox_str){lease, n}, lease_ms, &call, &held,
                        &err);
    if (r < 0) {
        log_event(relay->log, OUTBOX_LOG_WARNING, "cannot renew a claim", "error", err.text, NULL);
        return;
    }
    pthread_mutex_lock(&hold->lock);
    if (hold->lease_n == n && memcmp(hold->lease, lease, n) == 0 && held > 0)
        hold->until_us = until_us;
    pthread_mutex_unlock(&hold->lock);
}

static void renew(struct keeper *k, int64_t now)
{
    if (!(k->relay->keeper_store.capabilities & OUTBOX_STORE_RENEWS)) {
        k->renew_us = INT64_MAX;
        return;
    }
    for (size_t i = 0; i < k->relay->n_workers; i++)
        renew_one(k->relay, &k->relay->workers[i].hold);
    k->renew_us = now + k->relay->config->lease_ms * 1000 / 3;
}

/* Before each thing that may take long. */
static void renew_when_due(struct keeper *k)
{
    int64_t now = clock_monotonic_us();
    if (now >= k->renew_us)
        renew(k, now);
}

/* True: there is more to delete. */
static bool purge_status(struct relay *relay, uint32_t status, int64_t older_ms)
{
    struct outbox_filter filter = {
        .size = sizeof filter, .statuses = status, .older_than_ms = older_ms};
    struct outbox_call call = keeper_call(relay);
    struct outbox_err err = {.size = sizeof err};
    uint64_t n = 0;
    if (older_ms == OUTBOX_NEVER)
        return false;
    int r = store_purge(&relay->keeper_store, &filter, PURGE_LIMIT, &call, &n, &err);
    if (r < 0 && r != OUTBOX_E_CANCELLED && r != OUTBOX_E_NOTSUP)
        log_event(relay->log, OUTBOX_LOG_DEBUG, "cannot delete old messages now", "error", err.text,
                  NULL);
    return r == 0 && n >= PURGE_LIMIT;
}

static void purge(struct keeper *k, int64_t now)
{
    const struct config *config = k->relay->config;
    bool more = purge_status(k->relay, OUTBOX_PROCESSED, config->retention_ms);
    renew_when_due(k);
    more |= purge_status(k->relay, OUTBOX_FAILED, config->retention_failed_ms);
    /* Half of the time at most, so that producers and workers get theirs. */
    int64_t took = clock_monotonic_us() - now;
    k->purge_us = clock_monotonic_us() + (more ? took : PURGE_IDLE_MS * 1000);
}

static void register_relay(struct keeper *k, int64_t now)
{
    struct outbox_err err = {.size = sizeof err};
    int64_t before = k->registry.at_us;
    if (heartbeat_put(k->relay, &k->registry, false, &err) < 0)
        log_event(k->relay->log, OUTBOX_LOG_DEBUG, "cannot write this relay's row", "error",
                  err.text, NULL);
    else if (k->registry.at_us != before) {
        struct outbox_call call = keeper_call(k->relay);
        renew_when_due(k);
        heartbeat_compare(k->relay, &k->registry, &call);
    }
    k->registry_us = now + REGISTRY_MS * 1000;
}

static int until_next_ms(const struct keeper *k)
{
    int64_t next = k->renew_us < k->registry_us ? k->renew_us : k->registry_us;
    next = next < k->purge_us ? next : k->purge_us;
    int64_t ms = (next - clock_monotonic_us()) / 1000 + 1;
    return ms < 1 ? 1 : ms > INT32_MAX ? INT32_MAX : (int)ms;
}

void *janitor_main(void *arg)
{
    struct keeper k = {.relay = arg};
    struct pollfd quit = {.fd = k.relay->quit_fd, .events = POLLIN};
    struct outbox_err err = {.size = sizeof err};
    k.registry.warned_us = INT64_MIN;
    do {
        renew_when_due(&k);
        if (clock_monotonic_us() >= k.registry_us)
            register_relay(&k, clock_monotonic_us());
        renew_when_due(&k);
        if (clock_monotonic_us() >= k.purge_us)
            purge(&k, clock_monotonic_us());
    } while (poll(&quit, 1, until_next_ms(&k)) == 0);
    heartbeat_put(k.relay, &k.registry, true, &err);
    relay_thread_ended(k.relay);
    return NULL;
}
