/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/shared_state.h"

#include "plugin/guard.h"

#include <stdbool.h>
#include <stdlib.h>

struct shared_state *shared_state_new(void)
{
    struct shared_state *shared = calloc(1, sizeof *shared);
    if (!shared)
        return NULL;
    pthread_mutex_init(&shared->lock, NULL);
    shared->owners = 1;
    return shared;
}

struct shared_state *shared_state_share(struct shared_state *shared)
{
    pthread_mutex_lock(&shared->lock);
    shared->owners++;
    pthread_mutex_unlock(&shared->lock);
    return shared;
}

void shared_state_free(struct shared_state *shared)
{
    if (!shared)
        return;
    pthread_mutex_lock(&shared->lock);
    bool last = --shared->owners == 0;
    pthread_mutex_unlock(&shared->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&shared->lock);
    free(shared);
}

int shared_state_enter(struct shared_state *shared, const struct instance_setup *setup, void **ret,
                       struct outbox_err *err)
{
    int r = OUTBOX_OK;
    pthread_mutex_lock(&shared->lock);
    if (shared->users == 0) {
        instance_init_host(&shared->host, setup);
        guard_enter(&shared->host, "shared_open", GUARD_QUICK_MS);
        r = setup->plugin->desc.shared_open(&shared->host.abi, setup->cfg, &shared->host.self, err);
        guard_leave(&shared->host, "shared_open");
        if (r > 0) {
            guard_defect(&shared->host, "shared_open", err, "it returned %d", r);
            r = OUTBOX_E_CONFIG;
        }
        if (r < 0)
            instance_destroy_host(&shared->host);
    }
    if (r == OUTBOX_OK) {
        shared->users++;
        *ret = shared->host.self;
    }
    pthread_mutex_unlock(&shared->lock);
    return r;
}

void shared_state_leave(struct shared_state *shared)
{
    pthread_mutex_lock(&shared->lock);
    if (--shared->users == 0) {
        guard_enter(&shared->host, "shared_close", OUTBOX_CLOSE_MS);
        shared->host.plugin->desc.shared_close(shared->host.self);
        guard_leave(&shared->host, "shared_close");
        instance_destroy_host(&shared->host);
    }
    pthread_mutex_unlock(&shared->lock);
}
