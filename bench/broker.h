/* SPDX-License-Identifier: Apache-2.0 */
/* broker.h - bare librabbitmq for measurements: no deadlines, the program ends when something
 * fails. */
#ifndef BENCH_BROKER_H
#define BENCH_BROKER_H

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

/* Monotonic, seconds. */
double now(void);
/* Of this process, seconds. */
double cpu(void);
void fail(const char *what) __attribute__((noreturn));

/* amqp://USER:PASSWORD@HOST:PORT: connected and logged in, channel 1 open, with confirms. */
amqp_connection_state_t broker_connect(const char *url);
/* A durable queue of this type, empty. */
void broker_declare(const char *url, const char *queue, const char *type);
/* Persistent and mandatory, through the default exchange. */
void broker_publish(amqp_connection_state_t c, const char *queue, const char *id,
                    const void *payload, size_t n);
/* Takes confirms until fewer than `window` are missing. */
void broker_confirm(amqp_connection_state_t c, uint64_t sent, uint64_t *confirmed, uint64_t window);

#endif
