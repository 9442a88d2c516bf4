/* SPDX-License-Identifier: Apache-2.0 */
/* rabbitmq_compat.h - the headers of librabbitmq, which moved with its version 0.12, and what they
 * lack. */
#pragma once

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/ssl_socket.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#endif

/* Borrowed; the library takes its inputs as not const, and does not write to them. */
static inline amqp_bytes_t bytes_of(const char *p, size_t n)
{
    amqp_bytes_t bytes = {n, (void *)(uintptr_t)p};
    return bytes;
}

static inline amqp_table_entry_t table_text(const char *key, const char *value)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
    entry.value.kind = AMQP_FIELD_KIND_UTF8;
    entry.value.value.bytes = amqp_cstring_bytes(value);
    return entry;
}
