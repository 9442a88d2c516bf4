/* SPDX-License-Identifier: Apache-2.0 */
/* broker.h - bare librabbitmq for measurements: there are no deadlines, and any failure ends the
 * program. */
#pragma once

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#endif

#include <stdint.h>

/* The monotonic clock, seconds. */
double now(void);
/* The CPU time of this process, seconds. */
double cpu(void);
void fail(const char *what) __attribute__((noreturn));

/* Connects to amqp://USER:PASSWORD@HOST:PORT, logs in, and opens channel 1 with confirms. */
amqp_connection_state_t broker_connect(const char *url);
/* Declares a durable queue of this type and empties it. */
void broker_declare(const char *url, const char *queue, const char *type);
/* Publishes a persistent, mandatory message through the default exchange. */
void broker_publish(amqp_connection_state_t c, const char *queue, const char *id,
                    const void *payload, size_t n);
/* Reads confirms until fewer than `window` are missing. */
void broker_confirm(amqp_connection_state_t c, uint64_t sent, uint64_t *confirmed, uint64_t window);
