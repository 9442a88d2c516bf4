/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "relay/heartbeat.h"
#include "relay/worker.h"

#include <poll.h>

#define HEARTBEAT_MS 2000
#define PURGE_LIMIT 500
#define PURGE_IDLE_MS 60000
#define PURGE_FAILED_MS 10000

struct janitor {
    struct relay *relay;
    struct heartbeat heartbeat;
    int64_t renew_us; /* monotonic: when each thing is due */
    int64_t heartbeat_us;
    int64_t purge_us;
    bool purge_failed; /* the last one */
    struct reminder purge_reminder;
};

/* No call of the janitor may take so long that a lease runs out meanwhile. */
static struct outbox_call call_of(const struct relay *relay)
{
    int64_t third = relay->config->lease_ms / 3;
    /* Once it is to quit no batch is claimed any more. */
    return store_call(third < STORE_CALL_MS ? third : STORE_CALL_MS, relay->quit_fd);
}

static void renew_one(struct relay *relay, struct lease *lease)
{
    char buffer[LEASE_MAX];
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str text = lease_copy(lease, buffer);
    struct outbox_call call = call_of(relay);
    int64_t until_us = clock_monotonic_us() + relay->config->lease_ms * 1000;
    uint64_t held = 0;
    if (!text.p)
        return;
    int r = store_renew(&relay->janitor_store, text, (uint32_t)relay->config->lease_ms, &call,
                        &held, &err);
    if (r < 0)
        log_event(relay->log, OUTBOX_LOG_WARNING, "cannot renew a claim", "error", err.text, NULL);
    else if (held > 0)
        lease_renewed(lease, text, until_us);
}

/* Before each thing that may take long. */
static void renew_when_due(struct janitor *j)
{
    const struct config *config = j->relay->config;
    int64_t now = clock_monotonic_us();
    if (now < j->renew_us)
        return;
    for (size_t i = 0; i < config->workers; i++)
        for (size_t k = 0; k < j->relay->workers[i].n_slots; k++)
            renew_one(j->relay, &j->relay->workers[i].slots[k].batch.lease);
    j->renew_us = now + config->lease_ms * 1000 / 3;
}

/* True: there is more to delete. */
static bool purge_status(struct janitor *j, uint32_t status, int64_t older_ms, bool *ret_failed)
{
    int64_t began_us = clock_monotonic_us();
    struct relay *relay = j->relay;
    struct outbox_filter filter = {
        .size = sizeof filter, .statuses = status, .older_than_ms = older_ms};
    struct outbox_call call = call_of(relay);
    struct outbox_err err = {.size = sizeof err};
    uint64_t n = 0;
    if (older_ms == OUTBOX_NEVER)
        return false;
    int r = store_purge(&relay->janitor_store, &filter, PURGE_LIMIT, &call, &n, &err);
    bool failed = r < 0 && r != OUTBOX_E_CANCELLED && r != OUTBOX_E_NOTSUP;
    if (failed && j->purge_failed && reminder_is_due(&j->purge_reminder, began_us))
        log_event(relay->log, OUTBOX_LOG_WARNING,
                  "cannot delete old messages; the table grows until that works", "error", err.text,
                  NULL);
    *ret_failed |= failed;
    return r == 0 && n >= PURGE_LIMIT;
}

static void purge(struct janitor *j)
{
    int64_t began = clock_monotonic_us();
    const struct config *config = j->relay->config;
    bool failed = false;
    bool more = purge_status(j, OUTBOX_PROCESSED, config->retention_ms, &failed);
    renew_when_due(j);
    more |= purge_status(j, OUTBOX_FAILED, config->retention_failed_ms, &failed);
    /* Half of the time at most, so that producers and workers get theirs. */
    int64_t took = clock_monotonic_us() - began;
    j->purge_us = clock_monotonic_us() + (more     ? took
                                          : failed ? PURGE_FAILED_MS * 1000
                                                   : PURGE_IDLE_MS * 1000);
    j->purge_failed = failed;
    if (!failed)
        j->purge_reminder = (struct reminder){0};
}

static void write_row(struct janitor *j)
{
    int64_t began = clock_monotonic_us();
    struct outbox_err err = {.size = sizeof err};
    int64_t before = j->heartbeat.at_us;
    if (heartbeat_put(j->relay, &j->heartbeat, false, &err) < 0)
        log_event(j->relay->log, OUTBOX_LOG_DEBUG, "cannot write this relay's row", "error",
                  err.text, NULL);
    else if (j->heartbeat.at_us != before) {
        struct outbox_call call = call_of(j->relay);
        renew_when_due(j);
        heartbeat_compare(j->relay, &j->heartbeat, &call);
    }
    j->heartbeat_us = began + HEARTBEAT_MS * 1000;
}

static int until_next_ms(const struct janitor *j)
{
    int64_t next = j->renew_us < j->heartbeat_us ? j->renew_us : j->heartbeat_us;
    next = next < j->purge_us ? next : j->purge_us;
    int64_t ms = (next - clock_monotonic_us()) / 1000 + 1;
    return ms < 1 ? 1 : (int)ms;
}

void *janitor_main(void *arg)
{
    struct janitor j = {.relay = arg};
    struct pollfd quit = {.fd = j.relay->quit_fd, .events = POLLIN};
    struct outbox_err err = {.size = sizeof err};
    current_call_adopt(&j.relay->janitor_call, true);
    if (!(j.relay->janitor_store.capabilities & OUTBOX_STORE_RENEWS))
        j.renew_us = INT64_MAX;
    do {
        current_call_moved();
        renew_when_due(&j);
        if (clock_monotonic_us() >= j.heartbeat_us)
            write_row(&j);
        renew_when_due(&j);
        if (clock_monotonic_us() >= j.purge_us)
            purge(&j);
    } while (poll(&quit, 1, until_next_ms(&j)) == 0);
    heartbeat_put(j.relay, &j.heartbeat, true, &err);
    context_thread_ended(j.relay);
    return NULL;
}
