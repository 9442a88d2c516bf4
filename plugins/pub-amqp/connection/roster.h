/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roster.h - which instances of this process are connected. A broker that turns away one instance
 * of a section while others of it are connected has no room for one more; it is not unavailable.
 * `members`, in roster.c, is for all threads, under a lock of its own.
 */
#pragma once

#include <stdbool.h>

/* Part of an instance; zeroed: not connected. */
struct roster_member {
    struct roster_member *next;
    const void *section; /* the same for all instances of a section; NULL: not connected */
};

void roster_join(struct roster_member *member, const void *section);
void roster_leave(struct roster_member *member); /* also when it is not connected */
/* Is any instance of the section connected? */
bool roster_has(const void *section);
