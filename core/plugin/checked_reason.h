/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checked_reason.h - what a plugin lends to its host until the next call: copied without a fault
 * if it cannot be read, and looked at again before that call.
 */
#pragma once

#include <outbox/abi.h>

#include <stdbool.h>
#include <stddef.h>

struct checked_reason;

/* Zeroed: none. */
struct checked_reasons {
    struct checked_reason *list;
    size_t n;
    bool told; /* that they are not what they were */
};

/* The copy of *text, which the host gets in its place; of no text, and of what cannot be read:
 * NULL. False: it cannot be read. */
bool checked_reason_take(struct checked_reasons *reasons, struct outbox_str *text);
/* Overwrites the stack below the caller, where a reason may not be. */
void checked_reason_clobber(void);
/* Are all of them still what they were? Once they are not, it asks no more. */
bool checked_reason_same(struct checked_reasons *reasons);
void checked_reason_drop(struct checked_reasons *reasons);

/* Copies n bytes that may not be there. */
bool checked_reason_read(const void *from, void *to, size_t n);
