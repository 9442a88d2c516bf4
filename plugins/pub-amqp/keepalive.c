/* SPDX-License-Identifier: Apache-2.0 */
/* keepalive.c - what an idle connection needs: heartbeats, and somebody who listens. */
#include "connection/monotonic.h"
#include "publisher.h"

#include <string.h>

/* For a heartbeat; there is room for it, so it does not wait. */
#define TEND_US 500000
/* Without heartbeats, and while an alarm lasts. */
#define IDLE_MS 30000
#define BLOCKED_MS 1000

static uint32_t again_ms(const struct link *l)
{
    int64_t ms = IDLE_MS;
    if (l->heartbeat_us > 0) {
        /* A third, so that ours are in time; and when a broker that says nothing counts as dead. */
        int64_t dead_ms = ms_until(l->heard_us + 2 * l->heartbeat_us) + 1;
        ms = l->heartbeat_us / 3000 < dead_ms ? l->heartbeat_us / 3000 : dead_ms;
    }
    if (l->blocked && ms > BLOCKED_MS)
        ms = BLOCKED_MS;
    return ms < IDLE_MS ? (uint32_t)ms : IDLE_MS;
}

int tend_link(struct amqp *a, struct outbox_keepalive *ret)
{
    const struct limits now = {0, -1};
    struct link *l = &a->link;
    char peer[300];
    ret->verdict = OUTBOX_ACCEPTED;
    if (!l->c || watchdog_arm(&a->watchdog, now_us() + TEND_US, -1, 0) < 0)
        return OUTBOX_OK;
    link_wait(a, false, &now);
    watchdog_disarm(&a->watchdog);
    if (l->dead) {
        /* Whoever publishes next connects again. */
        outbox_logf(a->host, OUTBOX_LOG_INFO, "the connection to %s is lost: %s",
                    link_peer(a, peer), l->why);
        link_close(a, LINK_UNSENT_IS_LOST);
        return OUTBOX_OK;
    }
    ret->again_ms = again_ms(l);
    if (l->blocked) {
        ret->verdict = OUTBOX_UNAVAILABLE;
        arena_str(&a->arena, l->alarm, strlen(l->alarm), &ret->reason);
    }
    return OUTBOX_OK;
}
