/* SPDX-License-Identifier: Apache-2.0 */
#include "relay/context.h"

#include "base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>

int64_t context_left_ms(const struct relay *relay, int64_t most)
{
    int64_t deadline = relay->deadline_us;
    int64_t left = (deadline - clock_monotonic_us()) / 1000;
    return deadline == INT64_MAX || left > most ? most : left;
}

void context_remember_outage(struct relay *relay, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    pthread_mutex_lock(&relay->outage_lock);
    vsnprintf(relay->outage, sizeof relay->outage, fmt, ap);
    pthread_mutex_unlock(&relay->outage_lock);
    va_end(ap);
}

void context_opens(struct relay *relay, const char *what)
{
    relay->opening = what;
}

void context_quit(struct relay *relay)
{
    eventfd_write(relay->quit_fd, 1);
    wakeup_close(&relay->wakeup);
}

void context_thread_ended(struct relay *relay)
{
    if (atomic_fetch_sub(&relay->running, 1) == 1)
        eventfd_write(relay->ended_fd, 1);
}

void context_worker_ended(struct relay *relay)
{
    if (atomic_fetch_sub(&relay->working, 1) == 1)
        context_quit(relay);
    context_thread_ended(relay);
}
