/* SPDX-License-Identifier: Apache-2.0 */
/* reply_code.h - what the broker's reply codes say about a message or the publisher. */
#ifndef PUB_AMQP_PUBLISH_REPLY_CODE_H
#define PUB_AMQP_PUBLISH_REPLY_CODE_H

#include <stdbool.h>
#include <stdint.h>

#define REPLY_TEXT_MAX 256

/* The broker closed the channel. */
struct reply {
    uint16_t code;
    uint16_t class_id, method_id; /* of what failed, as far as it says */
    char text[REPLY_TEXT_MAX];    /* clean UTF-8 */
};

enum blame {
    BLAME_MESSAGE,          /* this message failed, it may work later */
    BLAME_MESSAGE_FOR_GOOD, /* this message can never be delivered */
    BLAME_NO_MESSAGE        /* it would be the same for every message */
};

/* Does the fault lie with what is fixed by the configuration, or with a message? */
enum blame blame_for(const struct reply *reply, bool fixed_exchange, bool fixed_key);

/* Does the exchange not exist, or not take messages from us, whatever the message? */
bool reply_is_about_exchange(const struct reply *reply);

/* Must a person act before logging in or declaring can work? */
bool reply_is_final(uint16_t code);

#endif
