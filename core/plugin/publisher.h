/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher.h - a publisher instance as the core uses it: opened when it is needed, opened anew
 * after it said OUTBOX_E_BROKEN, and without an operation that its plugin lacks.
 *
 * One thread at a time. Calls take an outbox_call as made by store_call.
 */
#pragma once

#include "common/arena.h"
#include "plugin/in_flight.h"
#include "plugin/instance.h"

#include <stdbool.h>

struct publisher {
    struct instance instance;
    struct instance_setup setup;
    char label[80]; /* "publisher NAME" */
    bool broken;    /* the next call opens it anew; until then its reasons stay readable */
    struct in_flight in_flight; /* of submit; only closing gives them back otherwise */
    struct arena reasons;       /* of a publish that was made of submit and collect */
};

/* Without opening it: the first call does. Otherwise like publisher_open. */
void publisher_init(struct publisher *p, const struct instance_setup *setup, const char *name);
/* `setup` without its label: that is made of `name`. A failure is not final: the next call tries to
 * open it again. Do not move it in memory. */
int publisher_open(struct publisher *p, const struct instance_setup *setup, const char *name,
                   struct outbox_err *err);
void publisher_close(struct publisher *p); /* also when never opened (zeroed) */

int publisher_check(struct publisher *p, const struct outbox_call *call, struct outbox_err *err);

/* Zeroes the outcomes before. They count even when the result is negative. Of an asynchronous
 * plugin it has all outcomes, or closes it; then nothing else may be in flight. */
int publisher_publish(struct publisher *p, const struct outbox_message *const *msgs, size_t n,
                      const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                      struct outbox_err *err);

/* ---- the asynchronous form; the operations of the ABI, with what they hand out checked ---- */

/* How late a plugin may hand out what is in flight, ms. */
#define PUBLISHER_LATE_MS 500

bool publisher_is_async(const struct publisher *p);
/* Zeroes the outcomes before. */
int publisher_submit(struct publisher *p, const struct outbox_message *const *msgs, size_t n,
                     const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                     uint64_t *ret_n, struct outbox_err *err);
/* OUTBOX_E_BROKEN: publisher_close_instance, after which nothing is in flight, is all that is left
 * to do. Reasons are borrowed until the next call. */
int publisher_collect(struct publisher *p, const struct outbox_call *call,
                      struct outbox_outcome *const **ret, uint64_t *ret_n, struct outbox_err *err);
/* It has kept messages past their time: that is OUTBOX_E_BROKEN. */
int publisher_holds_on(struct publisher *p, struct outbox_err *err);
int publisher_ready_fd(const struct publisher *p); /* -1: none */
/* The next call opens another one. */
void publisher_close_instance(struct publisher *p);

/* OUTBOX_E_NOTSUP: it is not open, or does not need that. */
int publisher_keepalive(struct publisher *p, struct outbox_keepalive *ret, struct outbox_err *err);
