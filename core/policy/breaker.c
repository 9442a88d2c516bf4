/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/breaker.h"

#include "base/hash.h"

#include <string.h>

/* After an outage: one message, then four times as many after each chunk that passed. */
#define STEP_FACTOR 4
#define STEP_ANY 4096

void breaker_init(struct breaker *b)
{
    memset(b, 0, sizeof *b);
    suspension_init(&b->pause);
    pthread_mutex_init(&b->lock, NULL);
    b->step = UINT32_MAX;
}

void breaker_destroy(struct breaker *b)
{
    suspension_destroy(&b->pause);
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
    pass.wait_ms = suspension_enter(&b->pause, &pass.probe);
    pthread_mutex_lock(&b->lock);
    pass.limit = pass.probe ? 1 : b->step;
    pass.not_this = pass.probe ? b->probed : 0;
    pthread_mutex_unlock(&b->lock);
    return pass;
}

uint32_t breaker_limit(struct breaker *b)
{
    pthread_mutex_lock(&b->lock);
    uint32_t limit = b->step;
    pthread_mutex_unlock(&b->lock);
    return limit;
}

bool breaker_passed(struct breaker *b)
{
    bool was_open = suspension_passed(&b->pause);
    pthread_mutex_lock(&b->lock);
    if (b->step < STEP_ANY)
        b->step *= STEP_FACTOR;
    else
        b->step = UINT32_MAX;
    pthread_mutex_unlock(&b->lock);
    return was_open;
}

bool breaker_check_ok(struct breaker *b)
{
    pthread_mutex_lock(&b->lock);
    bool tells = !b->by_message;
    pthread_mutex_unlock(&b->lock);
    return suspension_check_ok(&b->pause, tells) && tells;
}

void breaker_unknown(struct breaker *b)
{
    suspension_unknown(&b->pause);
}

/* ---- suspects; under the lock ---- */

static struct breaker_suspect *find(struct breaker *b, uint64_t id)
{
    for (size_t i = 0; id && i < BREAKER_SUSPECTS; i++)
        if (b->suspects[i].id == id)
            return &b->suspects[i];
    return NULL;
}

static void suspect(struct breaker *b, uint64_t id)
{
    struct breaker_suspect *s = find(b, id);
    if (!s) {
        /* Nobody is alone to blame when others keep coming: a queue that is full now and then. */
        for (size_t i = 0; i < BREAKER_SUSPECTS; i++)
            if (b->suspects[i].strikes > 1)
                b->suspects[i].strikes = 1;
        s = &b->suspects[b->next_suspect++ % BREAKER_SUSPECTS];
        *s = (struct breaker_suspect){.id = id};
    }
    /* Without anybody else getting through it may be the publisher's fault: an outage. */
    if (s->strikes == 0 || s->others_passed)
        s->strikes++;
    s->others_passed = false;
    b->any_suspect = true;
}

bool breaker_failed(struct breaker *b, uint64_t culprit, int64_t after_ms, const char *reason,
                    size_t n, int64_t *ret_ms)
{
    pthread_mutex_lock(&b->lock);
    b->step = 1;
    b->by_message = culprit != 0;
    if (culprit) {
        b->probed = culprit;
        suspect(b, culprit);
    }
    pthread_mutex_unlock(&b->lock);
    return suspension_failed(&b->pause, after_ms, reason, n, ret_ms);
}

bool breaker_blames(struct breaker *b, uint64_t culprit)
{
    pthread_mutex_lock(&b->lock);
    const struct breaker_suspect *s = find(b, culprit);
    bool blamed = s && s->strikes >= BREAKER_STRIKES - 1 && s->others_passed;
    pthread_mutex_unlock(&b->lock);
    return blamed;
}

void breaker_charged(struct breaker *b, uint64_t culprit)
{
    pthread_mutex_lock(&b->lock);
    struct breaker_suspect *s = find(b, culprit);
    if (s)
        s->others_passed = false;
    pthread_mutex_unlock(&b->lock);
}

bool breaker_has_suspects(const struct breaker *b)
{
    return b->any_suspect;
}

void breaker_accepted(struct breaker *b, uint64_t id)
{
    bool any = false;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < BREAKER_SUSPECTS; i++) {
        if (b->suspects[i].id == id)
            b->suspects[i] = (struct breaker_suspect){0};
        b->suspects[i].others_passed |= b->suspects[i].id != 0;
        any |= b->suspects[i].id != 0;
    }
    b->any_suspect = any;
    pthread_mutex_unlock(&b->lock);
}
