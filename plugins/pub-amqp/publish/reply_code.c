/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/reply_code.h"

#include <string.h>

/* Of AMQP. */
enum {
    CONTENT_TOO_LARGE = 311,
    INVALID_PATH = 402,
    ACCESS_REFUSED = 403,
    NOT_FOUND = 404,
    PRECONDITION_FAILED = 406,
    NOT_ALLOWED = 530,
};
enum { CLASS_BASIC = 60, METHOD_PUBLISH = 40 };

/* RabbitMQ may allow a user some routing keys of a topic exchange and others not. */
static bool is_about_key(const struct reply *reply)
{
    return reply->code == ACCESS_REFUSED && strstr(reply->text, "topic '") != NULL;
}

bool reply_is_about_exchange(const struct reply *reply)
{
    return reply->code == NOT_FOUND || (reply->code == ACCESS_REFUSED && !is_about_key(reply));
}

enum blame blame_for(const struct reply *reply, bool fixed_exchange, bool fixed_key)
{
    /* Not all brokers tell what failed. */
    if (reply->class_id != 0 &&
        (reply->class_id != CLASS_BASIC || reply->method_id != METHOD_PUBLISH))
        return BLAME_NO_MESSAGE;
    if (reply_is_about_exchange(reply))
        return fixed_exchange ? BLAME_NO_MESSAGE : BLAME_MESSAGE;
    if (is_about_key(reply))
        return fixed_exchange && fixed_key ? BLAME_NO_MESSAGE : BLAME_MESSAGE;
    if (reply->code == PRECONDITION_FAILED || reply->code == CONTENT_TOO_LARGE)
        return BLAME_MESSAGE_FOR_GOOD;
    return BLAME_MESSAGE;
}

bool reply_is_final(uint16_t code)
{
    return code == INVALID_PATH || code == ACCESS_REFUSED || code == NOT_FOUND ||
           code == PRECONDITION_FAILED || code == NOT_ALLOWED;
}
