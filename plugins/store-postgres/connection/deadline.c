/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/deadline.h"

#include <errno.h>
#include <poll.h>

int64_t deadline_now_us(const struct deadline *d)
{
    return d->host->monotonic_us(d->host);
}

void deadline_begin(struct deadline *d, const struct outbox_call *call)
{
    d->timeout_ms = call->timeout_ms;
    d->until_us = deadline_now_us(d) + d->timeout_ms * 1000;
    d->cancel_fd = call->cancel_fd;
}

void deadline_shorten(struct deadline *d, int64_t ms)
{
    int64_t until_us = deadline_now_us(d) + ms * 1000;
    if (until_us < d->until_us)
        d->until_us = until_us;
}

int64_t deadline_left_ms(const struct deadline *d)
{
    return (d->until_us - deadline_now_us(d)) / 1000;
}

int deadline_poll(const struct deadline *d, int fd, bool write)
{
    for (;;) {
        struct pollfd fds[] = {{.fd = fd, .events = write ? POLLIN | POLLOUT : POLLIN},
                               {.fd = d->cancel_fd, .events = POLLIN}};
        int64_t left = deadline_left_ms(d);
        if (left <= 0)
            return OUTBOX_E_TIMEOUT;
        int n = poll(fds, d->cancel_fd >= 0 ? 2 : 1, left > INT32_MAX ? INT32_MAX : (int)left);
        if (n < 0 && errno != EINTR)
            return OUTBOX_E_TIMEOUT;
        if (n > 0 && fds[0].revents)
            return OUTBOX_OK;
        if (n > 0)
            return OUTBOX_E_CANCELLED;
    }
}

bool deadline_sleep(const struct deadline *d, int64_t ms)
{
    struct pollfd cancel = {.fd = d->cancel_fd, .events = POLLIN};
    int64_t left = deadline_left_ms(d);
    int n = poll(&cancel, 1, (int)(left < ms ? left < 0 ? 0 : left : ms));
    return n <= 0 && left > ms;
}
