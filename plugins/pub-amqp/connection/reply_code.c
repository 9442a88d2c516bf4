/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/reply_code.h"

#include "connection/rabbitmq_compat.h"

#include <stdlib.h>
#include <string.h>

/* RabbitMQ may allow a user some routing keys of a topic exchange and others not. */
static bool is_about_key(const struct reply *reply)
{
    return reply->code == AMQP_ACCESS_REFUSED && strstr(reply->text, "topic '") != NULL;
}

bool reply_code_is_about_exchange(const struct reply *reply)
{
    return reply->code == AMQP_NOT_FOUND ||
           (reply->code == AMQP_ACCESS_REFUSED && !is_about_key(reply));
}

enum reply_code_cause reply_code_cause(const struct reply *reply, bool fixed_exchange,
                                       bool fixed_key)
{
    if (reply->class_id != 0 && (reply->class_id != AMQP_BASIC_CLASS ||
                                 reply->method_id != (AMQP_BASIC_PUBLISH_METHOD & 0xFFFF)))
        return CAUSE_CONFIGURATION;
    if (reply_code_is_about_exchange(reply))
        return fixed_exchange ? CAUSE_CONFIGURATION : CAUSE_MESSAGE;
    if (is_about_key(reply))
        return fixed_exchange && fixed_key ? CAUSE_CONFIGURATION : CAUSE_MESSAGE;
    if (reply->code == AMQP_PRECONDITION_FAILED || reply->code == AMQP_CONTENT_TOO_LARGE)
        return CAUSE_MESSAGE_FOR_GOOD;
    return CAUSE_MESSAGE;
}

uint64_t reply_code_body_max(const struct reply *reply)
{
    /* RabbitMQ says it in words only. Other words mean no more than a refused message. */
    static const char before[] = "max size ";
    const char *at = strstr(reply->text, before);
    if (reply->code != AMQP_PRECONDITION_FAILED || !at)
        return 0;
    return strtoull(at + sizeof before - 1, NULL, 10);
}

const char *reply_code_advice(uint16_t code)
{
    return code == AMQP_ACCESS_REFUSED
               ? "; give the relay's user the permission `write` (rabbitmqctl set_permissions)"
               : "";
}

bool reply_code_is_final(uint16_t code)
{
    return code == AMQP_INVALID_PATH || code == AMQP_ACCESS_REFUSED || code == AMQP_NOT_FOUND ||
           code == AMQP_PRECONDITION_FAILED || code == AMQP_NOT_ALLOWED;
}
