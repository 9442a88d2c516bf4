/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/publisher.h"

#include "plugin/guard.h"

#include <stdio.h>

static int reopen(struct publisher *p, struct outbox_err *err)
{
    if (p->instance.self && !p->broken)
        return OUTBOX_OK;
    publisher_close(p);
    return instance_open(&p->instance, &p->setup, err);
}

void publisher_init(struct publisher *p, const struct instance_setup *setup, const char *name)
{
    *p = (struct publisher){.setup = *setup};
    snprintf(p->label, sizeof p->label, "publisher %s", name);
    p->setup.label = p->label;
}

int publisher_open(struct publisher *p, const struct instance_setup *setup, const char *name,
                   struct outbox_err *err)
{
    publisher_init(p, setup, name);
    return reopen(p, err);
}

void publisher_close(struct publisher *p)
{
    instance_close(&p->instance);
    p->broken = false;
}

static int finish(struct publisher *p, int r)
{
    p->broken |= r == OUTBOX_E_BROKEN;
    return r;
}

int publisher_check(struct publisher *p, const struct outbox_call *call, struct outbox_err *err)
{
    int r = reopen(p, err);
    return r < 0 ? r : finish(p, GUARD_CALL(&p->instance, publisher, check, err, call));
}

int publisher_publish(struct publisher *p, const struct outbox_message *const *msgs, size_t n,
                      const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                      struct outbox_err *err)
{
    for (size_t i = 0; i < n; i++)
        *outcomes[i] = (struct outbox_outcome){.size = sizeof *outcomes[i]};
    int r = reopen(p, err);
    if (r < 0)
        return r;
    return finish(p, GUARD_CALL(&p->instance, publisher, publish, err, msgs, n, call, outcomes));
}

int publisher_keepalive(struct publisher *p, struct outbox_keepalive *ret, struct outbox_err *err)
{
    uint64_t (*capabilities)(void *) = p->setup.plugin->ops.publisher.capabilities;
    if (!p->instance.self || p->broken || !capabilities ||
        !(capabilities(p->instance.self) & OUTBOX_PUB_KEEPALIVE))
        return OUTBOX_E_NOTSUP;
    *ret = (struct outbox_keepalive){.size = sizeof *ret};
    return finish(p, GUARD_CALL(&p->instance, publisher, keepalive, err, ret));
}
