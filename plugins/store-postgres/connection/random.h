/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_POSTGRES_CONNECTION_RANDOM_H
#define STORE_POSTGRES_CONNECTION_RANDOM_H

#include <outbox/helpers.h>

/* Positive, and never guessed: two sessions or two claims do not get the same. */
int random_token(int64_t *ret, struct outbox_err *err);

#endif
