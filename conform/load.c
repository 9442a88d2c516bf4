/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/load.h"

#include "conform/kit.h"
#include "conform/publish.h"
#include "conform/target.h"
#include "plugin/shared_state.h"

#include <outbox/helpers.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_BATCH 10
#define LONG_MS 15000
#define LEASE_MS 4000

struct load *load_new(void)
{
    return kit_shared(sizeof(struct load));
}

const char *load_id(uint32_t number)
{
    static _Thread_local char id[40];
    snprintf(id, sizeof id, "%08x-10ad-4000-8000-%012x", kit_run_number(), number);
    return id;
}

uint32_t load_number(struct outbox_str id)
{
    unsigned run = 0, number = 0;
    char text[40] = "";
    if (id.n >= sizeof text)
        return LOAD_MESSAGES;
    memcpy(text, id.p, (size_t)id.n);
    if (sscanf(text, "%8x-10ad-4000-8000-%12x", &run, &number) != 2 || run != kit_run_number() ||
        number >= LOAD_MESSAGES)
        return LOAD_MESSAGES;
    return number;
}

/* The first of n numbers; LOAD_MESSAGES: there are no more. */
static uint32_t take_numbers(struct load *load, uint32_t n)
{
    uint32_t first = atomic_fetch_add(&load->next, n);
    return first + n <= LOAD_MESSAGES ? first : LOAD_MESSAGES;
}

static void note(struct loader *l, const char *operation, int r, const char *text)
{
    snprintf(l->load->trouble, sizeof l->load->trouble, "%s returned %d: %.300s", operation, r,
             text);
}

void loader_close(struct loader *l)
{
    if (l->open)
        instance_close(&l->instance);
    l->open = false;
}

static bool open_it(struct loader *l)
{
    struct outbox_err err = {.size = sizeof err};
    if (l->open)
        return true;
    int r = instance_open(&l->instance, &l->setup, &err);
    if (r < 0)
        note(l, "open", r, err.text);
    return l->open = r == OUTBOX_OK;
}

/* ---- a publisher ---- */

static bool publish(struct loader *l)
{
    const struct outbox_call call = {sizeof call, l->setup.publish_ms, -1, 200};
    uint32_t first = take_numbers(l->load, N_BATCH), down = atomic_load(&l->load->down), n = 0;
    if (first == LOAD_MESSAGES)
        return false;
    struct batch *b = batch_new(N_BATCH);
    for (uint32_t i = 0; i < N_BATCH; i++) {
        const char *id = load_id(first + i);
        b->msgs[i].id = b->msgs[i].row_id = batch_copy(b, id, strlen(id));
    }
    int r = batch_publish(b, &l->instance, &call);
    for (uint32_t i = 0; i < N_BATCH; i++)
        if (b->outcomes[i].verdict == OUTBOX_ACCEPTED) {
            atomic_fetch_or(&l->load->state[first + i], LOAD_DONE);
            n++;
        }
    atomic_fetch_add(&l->load->n_done, n);
    if (down && atomic_load(&l->load->down) == down)
        atomic_fetch_add(&l->load->lies, n);
    if (n < N_BATCH) {
        uint64_t other;
        batch_accepted(b, &other);
        note(l, "publish", r, batch_tell(b, other));
    }
    if (r == OUTBOX_E_BROKEN)
        loader_close(l);
    batch_free(b);
    return n == N_BATCH;
}

/* ---- a store ---- */

static int save(struct loader *l, const struct outbox_call *call, struct outbox_err *err)
{
    const struct outbox_store_ops *ops = &l->instance.plugin->ops.store;
    uint32_t first = ops->save ? take_numbers(l->load, N_BATCH) : LOAD_MESSAGES;
    struct outbox_new rows[N_BATCH];
    const struct outbox_new *pointers[N_BATCH];
    char ids[N_BATCH][40];
    if (first == LOAD_MESSAGES)
        return OUTBOX_OK;
    for (uint32_t i = 0; i < N_BATCH; i++) {
        snprintf(ids[i], sizeof ids[i], "%s", load_id(first + i));
        rows[i] = (struct outbox_new){.size = sizeof rows[i],
                                      .id = outbox_cstr(ids[i]),
                                      .topic = outbox_cstr("load"),
                                      .payload = outbox_cstr("payload")};
        pointers[i] = &rows[i];
    }
    int r = ops->save(l->instance.self, pointers, N_BATCH, NULL, call, err);
    for (uint32_t i = 0; r == OUTBOX_OK && i < N_BATCH; i++)
        atomic_fetch_or(&l->load->state[first + i], LOAD_WRITTEN);
    return r;
}

static int settle(struct loader *l, struct outbox_batch *batch, const struct outbox_call *call,
                  struct outbox_err *err)
{
    struct outbox_settle items[100];
    const struct outbox_settle *pointers[100];
    uint8_t settled[100] = {0};
    uint32_t n = batch->n;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t number = load_number(batch->messages[i]->id);
        if (number < LOAD_MESSAGES && atomic_load(&l->load->state[number]) & LOAD_DONE)
            atomic_fetch_add(&l->load->again, 1);
        if (number < LOAD_MESSAGES)
            atomic_fetch_or(&l->load->state[number], LOAD_CLAIMED);
        items[i] = (struct outbox_settle){.size = sizeof items[i],
                                          .index = i,
                                          .action = OUTBOX_SETTLE_DONE,
                                          .flags = OUTBOX_SETTLE_DELETE,
                                          .refused_action = OUTBOX_SETTLE_RETRY};
        pointers[i] = &items[i];
    }
    int r = l->instance.plugin->ops.store.settle(l->instance.self, batch, pointers, n, call,
                                                 settled, err);
    for (uint32_t i = 0; r == OUTBOX_OK && i < n; i++) {
        uint32_t number = load_number(batch->messages[i]->id);
        if (settled[i] != OUTBOX_SETTLED)
            continue;
        if (number < LOAD_MESSAGES)
            atomic_fetch_or(&l->load->state[number], LOAD_DONE);
        atomic_fetch_add(&l->load->n_done, 1);
    }
    return r;
}

static bool claim_and_settle(struct loader *l)
{
    const struct outbox_call call = {sizeof call, LONG_MS, -1, 200};
    const struct outbox_claim what = {.size = sizeof what,
                                      .limit = 100,
                                      .lease_ms = LEASE_MS,
                                      .max_bytes = 64 << 20,
                                      .max_message = 64 << 20,
                                      .relay = outbox_cstr("00000000-0000-4000-8000-0000000010ad"),
                                      .max_headers = 1000,
                                      .max_header_bytes = 256 << 10};
    const struct outbox_store_ops *ops = &l->instance.plugin->ops.store;
    struct outbox_err err = {.size = sizeof err}, released = {.size = sizeof released};
    struct outbox_batch *batch = NULL;
    const char *operation = "save";
    int r = save(l, &call, &err), r2 = OUTBOX_OK;
    if (r == OUTBOX_OK) {
        operation = "claim";
        r = ops->claim(l->instance.self, &what, &call, &batch, &err);
    }
    if (r == OUTBOX_OK && batch->n > 0) {
        operation = "settle";
        r = settle(l, batch, &call, &err);
    }
    if (batch)
        r2 = ops->release(l->instance.self, batch, &call, &released);
    if (r < 0)
        note(l, operation, r, err.text);
    if (r == OUTBOX_E_BROKEN || r2 == OUTBOX_E_BROKEN)
        loader_close(l);
    return r == OUTBOX_OK;
}

/* ---- a rule ---- */

static bool route(struct loader *l)
{
    struct outbox_err err = {.size = sizeof err};
    struct batch *b = batch_new(N_BATCH);
    int r = OUTBOX_OK;
    for (uint32_t i = 0; i < N_BATCH && r == OUTBOX_OK; i++) {
        struct outbox_decision decision = {.size = sizeof decision};
        batch_set_id(b, i, 1);
        r = l->instance.plugin->ops.rule.route(l->instance.self, &b->msgs[i], &decision, &err);
    }
    if (r < 0)
        note(l, "route", r, err.text);
    else
        atomic_fetch_add(&l->load->n_done, N_BATCH);
    batch_free(b);
    return r == OUTBOX_OK;
}

/* ---- all of them ---- */

void loader_step(struct loader *l, int pause_ms)
{
    bool worked =
        open_it(l) && (l->setup.plugin->desc.kind == OUTBOX_KIND_PUBLISHER ? publish(l)
                       : l->setup.plugin->desc.kind == OUTBOX_KIND_STORE   ? claim_and_settle(l)
                                                                           : route(l));
    sleep_ms(worked ? pause_ms : 50);
}

struct work {
    struct loader loader;
    int pause_ms;
};

static void *work(void *arg)
{
    struct work *w = arg;
    struct load *load = w->loader.load;
    while (!atomic_load(&load->end)) {
        loader_step(&w->loader, w->pause_ms);
        atomic_fetch_add(&load->n_waiting, 1);
        while (atomic_load(&load->pause) && !atomic_load(&load->end))
            sleep_ms(5);
        atomic_fetch_sub(&load->n_waiting, 1);
    }
    loader_close(&w->loader);
    return NULL;
}

void load_work(struct load *load, int pause_ms)
{
    const struct setup *s = target();
    static struct work works[LOAD_INSTANCES];
    pthread_t threads[LOAD_INSTANCES];
    struct shared_state *shared = shared_state_new();
    for (int i = 0; i < LOAD_INSTANCES; i++) {
        works[i] = (struct work){.loader = {.load = load,
                                            .setup = {.plugin = s->plugin,
                                                      .cfg = s->options,
                                                      .label = s->section,
                                                      .log = target_log(),
                                                      .shared = shared,
                                                      .publish_ms = s->publish_ms}},
                                 .pause_ms = pause_ms};
        if (pthread_create(&threads[i], NULL, work, &works[i]) != 0)
            abort();
    }
    for (int i = 0; i < LOAD_INSTANCES; i++)
        pthread_join(threads[i], NULL);
    shared_state_free(shared);
}
