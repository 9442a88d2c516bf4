/* SPDX-License-Identifier: Apache-2.0 */
/* worker_life.c - what a worker has, opened before it begins, and closed when it has ended. */
#include "relay/worker.h"

#include <outbox/helpers.h>

#include <stdlib.h>

/* One that the worker before has is not opened: it comes from there. */
static int open_publisher(struct worker *w, size_t i, struct outbox_err *err)
{
    struct relay *relay = w->relay;
    const struct publisher_config *p = &relay->config->publishers[i];
    bool comes =
        relay->publishers[i].before != ROUTE_NONE && (size_t)(w - relay->workers) < relay->n_before;
    if (!(w->publishers[i] = calloc(1, sizeof *w->publishers[i])))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory for a worker");
    context_opens(relay, p->name);
    if (!comes)
        return config_open_publisher(p, w->publishers[i], relay->log, err);
    config_init_publisher(p, w->publishers[i], relay->log);
    return OUTBOX_OK;
}

int worker_open(struct worker *w, struct relay *relay, struct outbox_err *err)
{
    const struct config *config = relay->config;
    struct log *log = relay->log;
    w->relay = relay;
    w->slot = &w->slots[0];
    w->n_slots = 1;
    for (size_t i = 0; i < config->n_publishers; i++)
        if (config->publishers[i].plugin->ops.publisher.submit)
            w->n_slots = WORKER_SLOTS;
    activity_init(&w->activity);
    current_call_init(&w->call);
    quarantine_gauge_init(&w->quarantine);
    w->publishers = calloc(config->n_publishers + 1, sizeof *w->publishers);
    w->publisher_pauses = calloc(config->n_publishers + 1, sizeof *w->publisher_pauses);
    bool complete = w->publishers && w->publisher_pauses;
    for (size_t i = 0; i < w->n_slots; i++)
        complete &= batch_init(&w->slots[i].batch, config->delivery.batch_size) == 0;
    if (!complete)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory for a worker");
    context_opens(relay, "the store");
    int r = config_open_store(config, &w->slot->store, log, err);
    context_opens(relay, "the rules");
    if (r == 0)
        r = router_open(&config->routes, log, &w->router, err);
    for (size_t i = 0; r == 0 && i < config->n_publishers; i++)
        r = open_publisher(w, i, err);
    return r;
}

void worker_shut(struct worker *w)
{
    if (!w->relay || w->ended)
        return;
    for (size_t i = 0; w->publishers && i < w->relay->config->n_publishers; i++) {
        activity_begin(&w->activity, ACTIVITY_CLOSING, i);
        if (w->publishers[i])
            publisher_close(w->publishers[i]);
    }
    activity_begin(&w->activity, ACTIVITY_CLOSING_STORE, ROUTE_NONE);
    router_close(w->router);
    w->router = NULL;
    for (size_t i = 0; i < w->n_slots; i++)
        store_close(&w->slots[i].store);
    w->ended = true;
}

void worker_close(struct worker *w)
{
    if (!w->relay)
        return;
    worker_shut(w);
    for (size_t i = 0; w->publishers && i < w->relay->config->n_publishers; i++)
        free(w->publishers[i]);
    free(w->publishers);
    free(w->publisher_pauses);
    for (size_t i = 0; i < w->n_slots; i++)
        batch_free(&w->slots[i].batch);
    activity_destroy(&w->activity);
    current_call_destroy(&w->call);
    quarantine_gauge_destroy(&w->quarantine);
}
