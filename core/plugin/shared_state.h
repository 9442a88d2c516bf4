/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shared_state.h - what a plugin's shared_open made for one section: opened with the section's
 * first instance, and closed with its last one. Any thread; `lock` protects every field.
 */
#pragma once

#include "plugin/instance.h"

struct shared_state {
    pthread_mutex_t lock;
    struct instance host; /* the services of shared_open; its `self` is what that made */
    size_t users;         /* instances that are open */
    unsigned owners;
};

struct shared_state *shared_state_new(void); /* NULL without memory */
/* By the last of its owners, when no instance is open; NULL is allowed. */
void shared_state_free(struct shared_state *shared);
/* For one more owner: a configuration that takes over instances of another one. */
struct shared_state *shared_state_share(struct shared_state *shared);

/* For instance_open and instance_close: opens it for the first user, with what that is opened
 * with; closes it with the last. *ret: for the host of the instance. */
int shared_state_enter(struct shared_state *shared, const struct instance_setup *setup, void **ret,
                       struct outbox_err *err);
void shared_state_leave(struct shared_state *shared);
