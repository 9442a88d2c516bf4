/* SPDX-License-Identifier: Apache-2.0 */
/*
 * amqp_rig.h - a real RabbitMQ for a test: queues and exchanges of its own, what arrived in them,
 * and the broker's switches. OUTBOX_TEST_AMQP and others, set by scripts/services.sh, hold its
 * address.
 */
#pragma once

#include <outbox/abi.h>

#include <stdbool.h>

/* Keeps other programs off the broker until this one ends: an alarm would block them, too. */
void rig_lock(void);

/* Connects; every name that rig_name makes is this test's own. */
void rig_start(void);
/* Deletes what was made, disconnects. */
void rig_stop(void);
/* Disconnects and connects again, around a restart of the broker; keeps what was made. */
void rig_disconnect(void);
void rig_reconnect(void);

/* PREFIX-PID; static, one for each prefix. */
const char *rig_name(const char *prefix);
/* Name and value of arguments, closed by NULL; a value of digits is a number. */
void rig_queue(const char *queue, ...);
void rig_exchange(const char *exchange, const char *type);
void rig_bind(const char *queue, const char *exchange, const char *key);
/* For messages whose header is that number. */
void rig_bind_header(const char *queue, const char *exchange, const char *header, int64_t value);
void rig_delete_queue(const char *queue);

/* A message taken from a queue. */
struct rig_message {
    char id[256], type[256], content_type[256], exchange[256], key[256];
    /* NAME=VALUE; in the broker's order: text, (long)5 and so on, [a,b], {a=b,} */
    char headers[1024];
    char properties[1024]; /* NAME=VALUE; of others than these here */
    uint64_t timestamp;
    int delivery_mode;
    bool redelivered;
    uint64_t body_n;
    char body[64]; /* its beginning */
};
/* Takes the next one; false when the queue is empty. */
bool rig_get(const char *queue, struct rig_message *ret);
/* How many messages of this id were in the queue, all being taken from it. */
int rig_arrived(const char *queue, const char *id);
/* How many there are. */
int rig_depth(const char *queue);

/* rabbitmqctl of the private broker, and scripts/services.sh; NULL closes the arguments. */
void rig_ctl(const char *argument, ...);
void rig_services(const char *argument, ...);
/* Begins it, and lets it end by itself. */
void rig_services_in_background(const char *argument, ...);
void rig_wait_for_services(void);
/* The output of rabbitmqctl; static. */
const char *rig_ctl_output(const char *argument, ...);
