/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/current_call.h"

#include "base/clock.h"
#include "base/hash.h"
#include "plugin/instance.h"

#include <stdio.h>
#include <string.h>

/* State of the thread, not of the process: what it calls must be found without an argument by a
 * signal handler. */
static _Thread_local struct current_call *mine;

void current_call_init(struct current_call *call)
{
    *call = (struct current_call){.instance = NULL};
    call->moved_us = clock_monotonic_us();
    pthread_mutex_init(&call->lock, NULL);
}

void current_call_destroy(struct current_call *call)
{
    if (mine == call)
        mine = NULL;
    pthread_mutex_destroy(&call->lock);
}

static void read_mask(struct current_call *call)
{
    memset(&call->mask, 0, sizeof call->mask); /* the kernel fills in only a part */
    pthread_sigmask(SIG_SETMASK, NULL, &call->mask);
}

void current_call_adopt(struct current_call *call, bool keeps_mask)
{
    call->keeps_mask = keeps_mask;
    read_mask(call);
    mine = call;
    current_call_moved();
}

void current_call_moved(void)
{
    struct current_call *call = mine;
    if (!call)
        return;
    pthread_mutex_lock(&call->lock);
    call->moved_us = clock_monotonic_us();
    pthread_mutex_unlock(&call->lock);
}

const struct current_call *current_call_here(void)
{
    return mine;
}

void current_call_begin(const struct instance *instance, const char *operation, int64_t timeout_ms)
{
    struct current_call *call = mine;
    if (!call)
        return;
    if (!call->keeps_mask)
        read_mask(call);
    pthread_mutex_lock(&call->lock);
    call->operation = operation;
    call->due_us = clock_monotonic_us() + timeout_ms * 1000;
    call->told = false;
    call->instance = instance;
    pthread_mutex_unlock(&call->lock);
}

/* One call of the kernel for both: what the mask is, and what it has to be. */
static bool restore_mask(const struct current_call *call)
{
    sigset_t now;
    memset(&now, 0, sizeof now);
    pthread_sigmask(SIG_SETMASK, &call->mask, &now);
    return memcmp(&now, &call->mask, sizeof now) != 0;
}

struct current_call_end current_call_end(const struct instance *instance)
{
    struct current_call *call = mine;
    struct current_call_end end = {.changed_mask = false};
    if (!call || call->instance != instance)
        return end;
    end.changed_mask = restore_mask(call);
    pthread_mutex_lock(&call->lock);
    end.told = call->told;
    call->moved_us = clock_monotonic_us();
    if (end.told)
        end.late_ms = (call->moved_us - call->due_us) / 1000;
    call->instance = NULL;
    pthread_mutex_unlock(&call->lock);
    return end;
}

int64_t current_call_still_us(struct current_call *call, char *what, size_t cap)
{
    char plugin[INSTANCE_PLUGIN_SIZE];
    what[0] = '\0';
    pthread_mutex_lock(&call->lock);
    const struct instance *in = call->instance;
    int64_t still_us = clock_monotonic_us() - (in ? call->due_us : call->moved_us);
    if (in)
        snprintf(what, cap, "`%s` of %s, %s", call->operation, in->label,
                 instance_plugin(in, plugin));
    pthread_mutex_unlock(&call->lock);
    return still_us;
}

/* While the call is under way its instance stays, and so does its label. */
void current_call_watch(struct current_call *call)
{
    pthread_mutex_lock(&call->lock);
    const struct instance *in = call->instance;
    char plugin[INSTANCE_PLUGIN_SIZE];
    int64_t late_us = clock_monotonic_us() - call->due_us;
    if (in && !call->told && late_us >= CURRENT_CALL_SLACK_US &&
        log_is_due(in->log, hash_text(hash_text(HASH_START, in->label), call->operation))) {
        call->told = true;
        log_event(in->log, OUTBOX_LOG_WARNING,
                  "a plugin's call has not returned, though its time-out is over", "plugin",
                  instance_plugin(in, plugin), "instance", in->label, "operation", call->operation,
                  "seconds_late", LOG_NUM(late_us / 1000000), NULL);
    }
    pthread_mutex_unlock(&call->lock);
}
