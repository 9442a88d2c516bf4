/* SPDX-License-Identifier: Apache-2.0 */
/* reply_code.h - what the broker's reply codes say about a message or the configuration. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define REPLY_TEXT_MAX 256

/* Why the broker closed the channel. */
struct reply {
    uint16_t code;
    uint16_t class_id, method_id; /* of the method that failed; 0: the broker does not say */
    char text[REPLY_TEXT_MAX];    /* clean UTF-8 */
};

enum reply_code_cause {
    CAUSE_MESSAGE,          /* a message failed, and may work later */
    CAUSE_MESSAGE_FOR_GOOD, /* a message can never be delivered */
    CAUSE_CONFIGURATION     /* every message would fail */
};

/* The exchange, or the routing key, is fixed if nothing of it comes from the message. */
enum reply_code_cause reply_code_cause(const struct reply *reply, bool fixed_exchange,
                                       bool fixed_key);

/* Does the exchange not exist, or take no message from this user? */
bool reply_code_is_about_exchange(const struct reply *reply);

/* How large a body may be, if the broker refuses one as too large and says so; 0: it does not. */
uint64_t reply_code_body_max(const struct reply *reply);

/* What a person can do about it, to be put behind the text; "" without a better idea. */
const char *reply_code_advice(uint16_t code);

/* Must a person act before logging in or declaring can work? */
bool reply_code_is_final(uint16_t code);
