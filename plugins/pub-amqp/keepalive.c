/* SPDX-License-Identifier: Apache-2.0 */
#include "keepalive.h"

#include "connection/monotonic.h"
#include "session.h"

#include <string.h>

/* For a heartbeat, which does not wait, because it is sent only where there is room. */
#define SERVE_US 500000
/* When to call again without heartbeats, and while an alarm lasts. */
#define IDLE_MS 30000
#define BLOCKED_MS 1000

static uint32_t again_ms(const struct connection *conn)
{
    int64_t ms = conn->blocked ? BLOCKED_MS : IDLE_MS;
    if (conn->heartbeat_us > 0) {
        /* A third, so that ours are in time; and when a silent broker counts as dead. */
        ms = earlier(ms, conn->heartbeat_us / 3000);
        ms = earlier(ms, ms_until(conn->received_us + 2 * conn->heartbeat_us) + 1);
    }
    return (uint32_t)ms;
}

int keepalive_serve(void *instance, struct outbox_keepalive *ret, struct outbox_err *err)
{
    struct amqp *a = instance;
    const struct connection *conn = &a->connection;
    (void)err;
    arena_reset(&a->arena);
    ret->verdict = OUTBOX_ACCEPTED;
    if (!conn->state || watchdog_arm(&a->watchdog, now_us() + SERVE_US, -1, 0) < 0)
        return OUTBOX_OK;
    session_catch_up(a);
    watchdog_disarm(&a->watchdog);
    if (!conn->state)
        return OUTBOX_OK; /* the next call that publishes connects again */
    ret->again_ms = again_ms(conn);
    if (conn->blocked) {
        ret->verdict = OUTBOX_UNAVAILABLE;
        arena_str(&a->arena, conn->blocked_why, strlen(conn->blocked_why), &ret->reason);
    }
    return OUTBOX_OK;
}
