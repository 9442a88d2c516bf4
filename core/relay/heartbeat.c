/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/heartbeat.h"

#include "base/clock.h"
#include "base/hash.h"
#include "common/utf8.h"
#include "policy/relay_state.h"
#include "relay/state.h"

#include <outbox/helpers.h>

#include <poll.h>

/* An unchanged row is written again after this long: a relay may count as live by it, and each
 * write takes the lock again by which others know that it lives, if that was lost. */
#define ALIVE_MS 10000
/* What writing it may take. */
#define PUT_MS 2000
/* Time to publish what a dead relay had claimed, once it is free. */
#define PUBLISH_CLAIMED_MS 30000
/* By then a relay that lives has written its row, ms. */
#define LOOK_AGAIN_MS 3000
#define WARN_AGAIN_US (600 * 1000000ll)

static int add_rate(struct json_object *state, const struct heartbeat *last, uint64_t accepted,
                    int64_t now)
{
    double seconds = last->at_us ? (double)(now - last->at_us) / 1e6 : 0;
    double rate = seconds > 0 ? (double)(accepted - last->accepted) / seconds : 0;
    struct json_object *rates = relay_state_add(state, "rate");
    return rates ? json_object_object_add(rates, "published_per_second",
                                          json_object_new_double((double)(int64_t)rate))
                 : OUTBOX_E_RETRY;
}

/* Writes the row. Under row->lock. `last` NULL: whatever the state is, and without a rate. */
static int put_state(struct relay *relay, struct heartbeat *last, bool clean, int64_t timeout_ms,
                     struct outbox_err *err)
{
    int64_t now = clock_monotonic_us();
    struct relay_report report;
    relay_snapshot(relay, &report);
    struct json_object *state = state_new(relay);
    uint64_t hash = state ? hash_text(HASH_START, json_object_to_json_string(state)) : 0;
    bool asked = atomic_exchange(&relay->heartbeat_due, false);
    bool due = !last || clean || hash != last->hash || !last->at_us ||
               now - last->at_us >= ALIVE_MS * 1000ll || asked;
    int r = OUTBOX_OK;
    if (!state || (last && due && add_rate(state, last, report.accepted, now) < 0)) {
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory for the relay's row");
    } else if (due) {
        struct outbox_relay_row row = {
            .size = sizeof row,
            .clean = clean,
            .id = outbox_cstr(relay->row->id),
            .name = outbox_cstr(relay->config->name),
            .config_hash = outbox_cstr(relay->config->hash),
            .state = outbox_cstr(json_object_to_json_string_ext(state, JSON_C_TO_STRING_PLAIN)),
            .version = outbox_cstr(PACKAGE_VERSION),
        };
        struct outbox_call call = store_call(timeout_ms, clean ? -1 : relay->quit_fd);
        r = store_relay_put(&relay->row->store, &row, &call, err);
    }
    if (r < 0)
        relay->heartbeat_due = true; /* and soon when it works again */
    if (r == OUTBOX_OK && last && due)
        *last = (struct heartbeat){report.accepted, now, hash, last->warned_us};
    json_object_put(state);
    return r;
}

int heartbeat_put(struct relay *relay, struct heartbeat *last, bool clean, struct outbox_err *err)
{
    int64_t third = relay->config->lease_ms / 3;
    int64_t timeout_ms = third < PUT_MS ? third : PUT_MS;
    /* A farewell that the store does not take must not use up all the time for stopping. */
    if (clean)
        timeout_ms = context_left_ms(relay, 2 * timeout_ms) / 2;
    if (relay->row_passed)
        return OUTBOX_OK;
    /* Else a worker is writing the row right now, and renewing leases must not wait for that. */
    if (pthread_mutex_trylock(&relay->row->lock) != 0)
        return OUTBOX_OK;
    int r = put_state(relay, last, clean, timeout_ms, err);
    pthread_mutex_unlock(&relay->row->lock);
    return r;
}

int heartbeat_record(struct relay *relay, struct outbox_err *err)
{
    pthread_mutex_lock(&relay->row->lock);
    int r = put_state(relay, NULL, false, STORE_CALL_MS, err);
    pthread_mutex_unlock(&relay->row->lock);
    return r;
}

static void inherit_from(struct relay *relay, const struct outbox_relay_row *row)
{
    struct json_object *state = relay_state(row);
    int64_t lease_ms = relay->config->lease_ms, hold_ms = relay->hold_ms;
    /* Until then a message of the dead relay may be claimed that its row does not name: its lease
     * has to end, and all that it had claimed has to be published. */
    int64_t until_us = clock_monotonic_us() + 2000 * (lease_ms > hold_ms ? lease_ms : hold_ms) +
                       PUBLISH_CLAIMED_MS * 1000;
    char id[64];
    utf8_clean(row->id.p, (size_t)row->id.n, id, sizeof id);
    log_event(relay->log, OUTBOX_LOG_WARNING,
              "a relay of this name ended uncleanly; for a while messages are recorded before they "
              "are sent, so that a message that kills relays would be found",
              "instance", id, NULL);
    poison_begin(&relay->lineage->poison, state, until_us);
    json_object_put(state);
    /* Without memory to remember it the next relay inherits once more, which costs a charge. */
    (void)lineage_remember(relay->lineage, row);
}

/* Those of this process follow each other at a reload, and none of them died. */
static bool is_predecessor(struct relay *relay, const struct outbox_relay_page *page,
                           const struct outbox_relay_row *row)
{
    return predecessor_is(page, row, relay->config->name, relay->row->id) &&
           !lineage_has(relay->lineage, row) && !lineage_knows(relay->lineage, row);
}

/* A relay that lives and has just lost its connections looks dead until it writes its row again. */
static bool is_to_be_looked_at_again(struct relay *relay, const struct outbox_relay_page *page)
{
    bool again = false;
    for (uint32_t i = 0; i < page->n; i++) {
        const struct outbox_relay_row *row = page->rows[i];
        if (page->now_us - row->alive_us > RELAY_LIVE_US || !is_predecessor(relay, page, row))
            continue;
        struct json_object *state = relay_state(row);
        again |= poison_would_charge(state);
        json_object_put(state);
    }
    return again;
}

static int list_relays(struct relay *relay, struct outbox_relay_page **ret, struct outbox_err *err)
{
    struct pollfd stop = {.fd = relay->stop_fd, .events = POLLIN};
    struct outbox_call call = store_call(STORE_CALL_MS, relay->stop_fd);
    int r = store_relay_list(&relay->row->store, &call, ret, err);
    if (r < 0 || !is_to_be_looked_at_again(relay, *ret))
        return r;
    poll(&stop, 1, LOOK_AGAIN_MS);
    return store_relay_list(&relay->row->store, &call, ret, err);
}

/* Under row->lock. The row is written before anything is published: with what is known, which
 * must not be lost with this relay, too; and so that a successor knows of this one at all, if the
 * first batch kills it. Without a death to tell of, a relay that may not write its row goes on. */
static int load_predecessors(struct relay *relay, struct outbox_err *err)
{
    struct outbox_relay_page *page;
    bool any = false;
    int r = list_relays(relay, &page, err);
    for (uint32_t i = 0; r == 0 && i < page->n; i++)
        if (is_predecessor(relay, page, page->rows[i])) {
            inherit_from(relay, page->rows[i]);
            any = true;
        }
    if (r == 0 && (r = put_state(relay, NULL, false, STORE_CALL_MS, err)) < 0 && !any)
        return OUTBOX_OK;
    return r == OUTBOX_E_NOTSUP ? OUTBOX_OK : r;
}

int heartbeat_load_predecessors(struct relay *relay, struct outbox_err *err)
{
    if (relay->row->predecessors_loaded)
        return OUTBOX_OK;
    pthread_mutex_lock(&relay->row->lock);
    int r = relay->row->predecessors_loaded ? OUTBOX_OK : load_predecessors(relay, err);
    relay->row->predecessors_loaded = r == OUTBOX_OK;
    pthread_mutex_unlock(&relay->row->lock);
    return r;
}

void heartbeat_compare(struct relay *relay, struct heartbeat *last, const struct outbox_call *call)
{
    int64_t now = clock_monotonic_us();
    struct outbox_relay_page *page;
    struct outbox_err err = {.size = sizeof err};
    if ((last->warned_us && now - last->warned_us < WARN_AGAIN_US) ||
        store_relay_list(&relay->janitor_store, call, &page, &err) < 0)
        return;
    for (uint32_t i = 0; i < page->n; i++) {
        const struct outbox_relay_row *row = page->rows[i];
        if (!relay_state_is_live(page, row) || lineage_has(relay->lineage, row) ||
            outbox_str_eq(row->config_hash, outbox_cstr(relay->config->hash)))
            continue;
        char name[128];
        utf8_clean(row->name.p, (size_t)row->name.n, name, sizeof name);
        log_event(relay->log, OUTBOX_LOG_WARNING,
                  "another relay works on this table with other publishers or routes", "relay",
                  name, NULL);
        last->warned_us = now;
    }
}
