/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/roster.h"

#include <pthread.h>
#include <stddef.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct roster_member *members;

void roster_join(struct roster_member *member, const void *section)
{
    pthread_mutex_lock(&lock);
    member->section = section;
    member->next = members;
    members = member;
    pthread_mutex_unlock(&lock);
}

void roster_leave(struct roster_member *member)
{
    pthread_mutex_lock(&lock);
    for (struct roster_member **at = &members; *at; at = &(*at)->next) {
        if (*at != member)
            continue;
        *at = member->next;
        break;
    }
    *member = (struct roster_member){0};
    pthread_mutex_unlock(&lock);
}

bool roster_has(const void *section)
{
    pthread_mutex_lock(&lock);
    const struct roster_member *at = members;
    while (at && at->section != section)
        at = at->next;
    pthread_mutex_unlock(&lock);
    return at != NULL;
}
