/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lives.h - whether a relay lives: while it does, it holds a lock on one byte of the file
 * DATABASE-relays, at a place that its id decides. The system frees the lock when the process ends,
 * however it ends. It is a lock of the open file, not of the process, so that closing another
 * descriptor of this process does not free it.
 */
#pragma once

#include "store.h"

/* Takes the lock, or finds that it is still held. False: it cannot be had. */
bool lives_hold(struct store *s, struct outbox_str id);
void lives_end(struct store *s);

/* The file for lives_of: -1 if it cannot be opened. For close(). */
int lives_open(struct store *s);
/* OUTBOX_RELAY_ ..., of a relay that could take its lock. */
uint32_t lives_of(int fd, struct outbox_str id);
