/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher.h - a publisher instance as the core uses it: opened when it is needed, opened anew
 * after it said OUTBOX_E_BROKEN, and without an operation that its plugin lacks.
 *
 * One thread at a time. Calls take an outbox_call as made by store_call.
 */
#pragma once

#include "plugin/instance.h"

#include <stdbool.h>

struct publisher {
    struct instance instance;
    struct instance_setup setup;
    char label[80]; /* "publisher NAME" */
    bool broken;    /* the next call opens it anew; until then its reasons stay readable */
};

/* Without opening it: the first call does. Otherwise like publisher_open. */
void publisher_init(struct publisher *p, const struct instance_setup *setup, const char *name);
/* `setup` without its label: that is made of `name`. A failure is not final: the next call tries to
 * open it again. Do not move it in memory. */
int publisher_open(struct publisher *p, const struct instance_setup *setup, const char *name,
                   struct outbox_err *err);
void publisher_close(struct publisher *p); /* also when never opened (zeroed) */

int publisher_check(struct publisher *p, const struct outbox_call *call, struct outbox_err *err);

/* Zeroes the outcomes before. They count even when the result is negative. */
int publisher_publish(struct publisher *p, const struct outbox_message *const *msgs, size_t n,
                      const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                      struct outbox_err *err);

/* OUTBOX_E_NOTSUP: it is not open, or does not need that. */
int publisher_keepalive(struct publisher *p, struct outbox_keepalive *ret, struct outbox_err *err);
