/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/breaker.h"

#include "base/hash.h"

/* After an outage: one message, then four times as many after each chunk that passed. */
#define SLOW_START_FACTOR 4
#define SLOW_START_END 4096

void breaker_init(struct breaker *b)
{
    *b = (struct breaker){.slow_start = UINT32_MAX};
    suspension_init(&b->suspension, BREAKER_PAUSE_MIN_MS, BREAKER_PAUSE_MAX_MS);
    pthread_mutex_init(&b->lock, NULL);
}

void breaker_destroy(struct breaker *b)
{
    suspension_destroy(&b->suspension);
    pthread_mutex_destroy(&b->lock);
}

uint64_t breaker_id(struct outbox_str id)
{
    uint64_t hash = hash_bytes(HASH_START, id.p, (size_t)id.n);
    return hash ? hash : 1;
}

struct breaker_pass breaker_enter(struct breaker *b)
{
    struct breaker_pass pass = {0};
    pass.wait_ms = suspension_enter(&b->suspension, &pass.probe);
    pass.limit = pass.probe ? 1 : b->slow_start;
    pass.avoid_id = pass.probe ? b->last_id : 0;
    return pass;
}

bool breaker_passed(struct breaker *b)
{
    bool news = suspension_passed(&b->suspension);
    pthread_mutex_lock(&b->lock);
    b->slow_start = b->slow_start < SLOW_START_END ? b->slow_start * SLOW_START_FACTOR : UINT32_MAX;
    pthread_mutex_unlock(&b->lock);
    return news;
}

/* ---- suspects; under the lock ---- */

static struct breaker_suspect *find(struct breaker *b, uint64_t id)
{
    for (size_t i = 0; i < BREAKER_SUSPECTS; i++)
        if (b->suspects[i].id == id)
            return &b->suspects[i];
    return NULL;
}

/* A strike counts only when others were accepted since the last one: else it may be an outage. A
 * message to which it happens for the first time takes the others' strikes back to one: a queue
 * that is full now and then refuses ever other messages, and none of them is to blame. */
static void strike(struct breaker *b, uint64_t id)
{
    struct breaker_suspect *s = find(b, id);
    if (!s) {
        for (size_t i = 0; i < BREAKER_SUSPECTS; i++)
            if (b->suspects[i].strikes > 1)
                b->suspects[i].strikes = 1;
        s = &b->suspects[b->next_suspect++ % BREAKER_SUSPECTS];
        *s = (struct breaker_suspect){.id = id};
    }
    if (s->strikes == 0 || s->accepted != b->accepted)
        s->strikes++;
    s->accepted = b->accepted;
    b->any_suspect = true;
}

void breaker_strike(struct breaker *b, uint64_t culprit)
{
    if (culprit == 0)
        return;
    pthread_mutex_lock(&b->lock);
    b->last_id = culprit;
    strike(b, culprit);
    pthread_mutex_unlock(&b->lock);
}

bool breaker_failed(struct breaker *b, uint64_t culprit, int64_t after_ms, const char *reason,
                    size_t n, int64_t *ret_ms)
{
    b->slow_start = 1;
    breaker_strike(b, culprit);
    if (after_ms > BREAKER_PAUSE_ASKED_MAX_MS)
        after_ms = BREAKER_PAUSE_ASKED_MAX_MS;
    return suspension_failed(&b->suspension, after_ms, reason, n, ret_ms);
}

bool breaker_blames(struct breaker *b, uint64_t culprit)
{
    pthread_mutex_lock(&b->lock);
    struct breaker_suspect *s = find(b, culprit);
    bool blamed = s && s->strikes >= BREAKER_STRIKES - 1 && s->accepted != b->accepted;
    if (blamed)
        s->accepted = b->accepted; /* the next charge needs others accepted again */
    pthread_mutex_unlock(&b->lock);
    return blamed;
}

void breaker_accepted(struct breaker *b, uint64_t id)
{
    pthread_mutex_lock(&b->lock);
    struct breaker_suspect *s = find(b, id);
    if (s)
        s->id = s->strikes = 0;
    b->accepted++;
    bool any = false;
    for (size_t i = 0; i < BREAKER_SUSPECTS; i++)
        any |= b->suspects[i].id != 0;
    b->any_suspect = any;
    pthread_mutex_unlock(&b->lock);
}
