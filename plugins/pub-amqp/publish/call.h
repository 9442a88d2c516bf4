/* SPDX-License-Identifier: Apache-2.0 */
/* call.h - one publish call: which message is where, and what became of it. */
#ifndef PUB_AMQP_PUBLISH_CALL_H
#define PUB_AMQP_PUBLISH_CALL_H

#include "publisher.h"

/* Names of exchanges that turned out to be missing in this call. */
#define GONE_MAX 16

struct gone {
    char name[SHORT_MAX + 1];
    struct reply reply;
};

struct call {
    struct amqp *a;
    const struct outbox_message *const *msgs;
    struct outbox_outcome *const *outcomes;
    uint32_t n;
    uint32_t next; /* the first that was never sent */

    /* To be sent again, before the others. */
    uint32_t *again;
    uint32_t again_at, n_again;
    bool suspicion; /* the channel was closed because of one of them: one at a time */
    bool alone;     /* the last one that was sent is one of them */

    uint32_t peeked; /* whose id `hash` is of */
    uint64_t hash;

    struct limits limits;  /* when the call must end */
    int64_t send_until_us; /* what is sent later could not be confirmed in time */
    int64_t now_us;        /* at the last look */
    uint32_t grace_ms;
    bool stop; /* send nothing more */
    bool cancelled;
    bool silent; /* no confirm within confirm_timeout */
    uint64_t acks, nacks;
    struct outbox_str unavailable; /* why nothing more can be sent; p NULL: it can */
    uint32_t after_ms;

    struct gone *gone;
    size_t n_gone;
    uint32_t *failed; /* with window = 1: messages whose key must wait */
    size_t n_failed;
};

/* A message ready to be sent. */
struct parcel {
    amqp_bytes_t exchange, key, body;
    amqp_basic_properties_t properties;
    char exchange_text[SHORT_MAX + 1];
    char key_text[SHORT_MAX + 1];
    char why[WHY_MAX]; /* why it cannot be sent */
    bool innocent;     /* only not now: there is no memory */
};

/* ---- message.c ---- */

/* Where a message goes: exchange and key only. False with parcel->why: nowhere. */
bool parcel_address(const struct amqp *a, const struct outbox_message *msg, struct parcel *parcel);
/* False with parcel->why: the message can never be sent, unless it is innocent of that. */
bool parcel_pack(struct amqp *a, const struct outbox_message *msg, struct parcel *parcel);
/*
 * Sends it, in pieces if it is large, and stops in the middle when the channel or the connection
 * is closed or the call is over; false when it was not sent whole.
 */
bool parcel_send(struct call *c, const struct parcel *parcel);

/* ---- outcome.c ---- */

/* Sets an outcome that is not good; the reason is copied for the call. */
void call_conclude(struct call *c, uint32_t index, uint32_t verdict, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Nothing more will be sent, for a reason that is not a message's. */
void call_unavailable(struct call *c, uint32_t after_ms, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* With window = 1: whoever shares its key has to wait for the next call. */
void call_failed(struct call *c, uint32_t index);
bool call_must_wait(const struct call *c, uint32_t index);
/* For events.c: a confirm, and a return, which comes before its confirm. */
void call_settled(void *amqp, const struct sent *sent, bool ack);
void call_returned(struct amqp *a, const struct sent *sent, uint16_t code, const char *text);
/* At the end: what all outcomes together say. */
void call_judge(struct call *c);

/* ---- publish.c ---- */

/* Takes note of a cancel_fd that became readable. */
void call_cancel(struct call *c);

/* ---- recover.c ---- */

/* What is unconfirmed will be sent again, first, and one by one with `suspicion`. */
bool call_send_again(struct call *c, bool suspicion);
/* The broker closed the channel: finds out because of whom. False: the call is over. */
bool call_recover(struct call *c);
/* Is this exchange known to be missing? Then the message has its outcome. */
bool call_is_gone(struct call *c, uint32_t index, const struct parcel *parcel);

#endif
