/* SPDX-License-Identifier: Apache-2.0 */
/*
 * service.h - what the service manager is told of a relay (sd_notify): that it is ready, reloads or
 * stops, how it is, and, if it has a watchdog for this service, that every thread is alive. Without
 * a service manager, or built without libsystemd, all of it does nothing.
 */
#pragma once

#include "relay/relay.h"

/* Zeroed: nobody is told anything. */
struct service {
    struct log *log;
    bool tells;
    int room_fd; /* whether the manager takes more; -1: not known */
    bool reloading;
    bool stopping;
    bool ready_due;           /* READY=1 found no room: again at the next look */
    bool hangs;               /* a thread does, and that was logged */
    const struct relay *hung; /* whose thread */
    int64_t watchdog_us;      /* a sign of life is wanted within this time; 0: none is */
    int64_t fed_us;           /* monotonic: when there was one */
    int64_t look_us;          /* when to look again */
    char status[1000];        /* that was told last */
};

/* How the process is. */
struct service_view {
    struct relay *relay;            /* that works; NULL: none yet */
    struct relay *old;              /* that hands over to it; NULL: none */
    const struct relay_report *sum; /* of those before it */
    const char *reload_failed;      /* why the last reload did; empty: it did not */
    bool ends_by_itself; /* at a deadline: what its threads do does not matter any more */
};

void service_begin(struct service *s, struct log *log);
void service_end(struct service *s);
/* It does its work: after the start, and after a reload, however that went. */
void service_ready(struct service *s);
void service_reloading(struct service *s);
/* It ends within this time, ms. */
void service_stopping(struct service *s, int64_t within_ms);

/* When it is time: tells how it is if that has changed, and gives a sign of life. */
void service_look(struct service *s, const struct service_view *view);
/* How long until then, ms; INT32_MAX: nobody is told. */
int64_t service_next_ms(const struct service *s);

/* "published 12, 1 failed; ...", one line. */
void service_describe(const struct service *s, const struct service_view *view, char *text,
                      size_t cap);
