/* SPDX-License-Identifier: Apache-2.0 */
/* amqp_shown.h - what a message has, as text that a test can look at. */
#pragma once

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#endif

#include <stddef.h>

/* NAME=VALUE; each: text, (long)5, (double)0.5, (bool)1, (void), [a,b], {a=b,}. */
void shown_headers(const amqp_table_t *table, char *to, size_t cap);
/* NAME=VALUE; each, of those that not every message has. */
void shown_properties(const amqp_basic_properties_t *p, char *to, size_t cap);
