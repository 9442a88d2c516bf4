/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/call.h"

#include "connection/monotonic.h"
#include "publisher.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <string.h>

/* What is kept of a call's time for coming back: a part of it, and at most so much. */
#define MARGIN_PART 20
#define MARGIN_MAX_US 200000

int call_begin(struct amqp *a, const struct outbox_call *call, struct limits *ret,
               struct outbox_err *err)
{
    int64_t us = (int64_t)call->timeout_ms * 1000;
    int64_t margin_us = earlier(us / MARGIN_PART, MARGIN_MAX_US);
    *ret = (struct limits){now_us() + us - margin_us, call->cancel_fd};
    if (watchdog_arm(&a->watchdog, ret->until_us + margin_us / 2, call->cancel_fd,
                     (int64_t)call->grace_ms * 1000 + margin_us / 2) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "cannot start a thread: %s", strerror(errno));
    return OUTBOX_OK;
}

void call_cancel(struct call *c)
{
    int64_t until_us = now_us() + (int64_t)c->grace_ms * 1000;
    c->cancelled = c->stop = true;
    c->limits.cancel_fd = -1;
    if (c->limits.until_us > until_us)
        c->limits.until_us = until_us;
}
