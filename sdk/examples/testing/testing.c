/* SPDX-License-Identifier: Apache-2.0 */
/*
 * testing.c - how an application tests its routes, its publish function, and both in a relay,
 * without a database: the store is a few rows in memory.
 *
 *   cc $(pkg-config --cflags outbox) -o testing testing.c $(pkg-config --libs outbox) -pthread
 */
#include <outbox/outbox.h>

#include <pthread.h>
#include <stdlib.h>

static struct outbox_err err = {.size = sizeof err};

#define CHECK(holds)                                                                 \
    do {                                                                             \
        if (!(holds)) {                                                              \
            fprintf(stderr, "%s:%d: %s %s\n", __FILE__, __LINE__, #holds, err.text); \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

/* ---- what is tested: a route, and a publisher that takes no message without a key ---- */

static const char *route(void *ctx, const struct outbox_message *message)
{
    (void)ctx;
    return outbox_str_eq(message->topic, outbox_cstr("order.placed")) ? "mail" : NULL;
}

static int publish(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *why)
{
    (void)ctx, (void)call, (void)why;
    for (uint64_t i = 0; i < n; i++)
        if (messages[i]->key.n == 0)
            outbox_outcome_set(outcomes[i], OUTBOX_REJECTED, "message %lld has no key",
                               (long long)messages[i]->seq);
    return outbox_outcome_set_rest(outcomes, n, OUTBOX_ACCEPTED, NULL);
}

/* ---- a store in memory: threads share it, so that a lock protects it ---- */

#define ROWS 8

struct memory {
    pthread_mutex_t lock;
    struct outbox_message rows[ROWS]; /* their texts are those of the test */
    int64_t n;
    uint32_t status[ROWS];
};

/* The batch of one instance. */
struct view {
    struct memory *memory;
    struct outbox_batch batch;
    const struct outbox_message *messages[ROWS];
};

static int memory_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                       struct outbox_err *why)
{
    struct view *view = calloc(1, sizeof *view);
    (void)cfg;
    if (!view)
        return outbox_fail(why, OUTBOX_E_RETRY, "out of memory");
    view->memory = host->shared; /* the ctx of outbox_relay_set_store_ops */
    *ret = view;
    return OUTBOX_OK;
}

static int memory_save(void *instance, const struct outbox_new *const *rows, uint64_t n,
                       const struct outbox_exec *exec, const struct outbox_call *call,
                       struct outbox_err *why)
{
    struct memory *m = ((struct view *)instance)->memory;
    (void)exec, (void)call, (void)why;
    pthread_mutex_lock(&m->lock);
    for (uint64_t i = 0; i < n && m->n < ROWS; i++, m->n++) {
        struct outbox_message row = {.size = sizeof row, .seq = m->n + 1, .id = rows[i]->id};
        row.row_id = row.id;
        row.topic = rows[i]->topic;
        row.key = rows[i]->key.p ? rows[i]->key : outbox_cstr("");
        m->rows[m->n] = row;
        m->status[m->n] = OUTBOX_PENDING;
    }
    pthread_mutex_unlock(&m->lock);
    return OUTBOX_OK;
}

static int memory_claim(void *instance, const struct outbox_claim *claim,
                        const struct outbox_call *call, struct outbox_batch **ret,
                        struct outbox_err *why)
{
    struct view *view = instance;
    struct memory *m = view->memory;
    (void)call, (void)why;
    view->batch = (struct outbox_batch){
        .size = sizeof view->batch, .messages = view->messages, .next_due_ms = -1};
    pthread_mutex_lock(&m->lock);
    for (int64_t i = 0; i < m->n && view->batch.n < claim->limit; i++)
        if (m->status[i] == OUTBOX_PENDING) {
            m->status[i] = OUTBOX_PROCESSING;
            view->messages[view->batch.n++] = &m->rows[i];
        }
    pthread_mutex_unlock(&m->lock);
    *ret = &view->batch;
    return OUTBOX_OK;
}

static int memory_settle(void *instance, struct outbox_batch *batch,
                         const struct outbox_settle *const *items, uint64_t n,
                         const struct outbox_call *call, uint8_t *settled, struct outbox_err *why)
{
    struct memory *m = ((struct view *)instance)->memory;
    (void)call, (void)why;
    pthread_mutex_lock(&m->lock);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t *status = &m->status[batch->messages[items[i]->index]->seq - 1];
        *status = items[i]->action == OUTBOX_SETTLE_DONE     ? OUTBOX_PROCESSED
                  : items[i]->action == OUTBOX_SETTLE_FAILED ? OUTBOX_FAILED
                                                             : OUTBOX_PENDING;
        settled[i] = OUTBOX_SETTLED;
    }
    pthread_mutex_unlock(&m->lock);
    return OUTBOX_OK;
}

static int memory_release(void *instance, struct outbox_batch *batch,
                          const struct outbox_call *call, struct outbox_err *why)
{
    struct memory *m = ((struct view *)instance)->memory;
    (void)call, (void)why;
    pthread_mutex_lock(&m->lock);
    for (uint32_t i = 0; i < batch->n; i++)
        if (m->status[batch->messages[i]->seq - 1] == OUTBOX_PROCESSING)
            m->status[batch->messages[i]->seq - 1] = OUTBOX_PENDING;
    pthread_mutex_unlock(&m->lock);
    return OUTBOX_OK;
}

static const struct outbox_store_ops memory_ops = {
    .size = sizeof memory_ops,
    .open = memory_open,
    .close = free,
    .claim = memory_claim,
    .settle = memory_settle,
    .release = memory_release,
    .save = memory_save,
};

/* ---- the tests ---- */

static void test_route(void)
{
    struct outbox_router *router = outbox_router_new();
    struct outbox_message placed = {.size = sizeof placed, .topic = outbox_cstr("order.placed")};
    struct outbox_message other = {.size = sizeof other, .topic = outbox_cstr("order.paid")};
    struct outbox_resolved to = {.size = sizeof to};
    outbox_router_add_function(router, route, NULL);
    CHECK(outbox_router_resolve(router, &placed, &to, &err) == OUTBOX_OK);
    CHECK(strcmp(to.publisher, "mail") == 0);
    CHECK(outbox_router_resolve(router, &other, &to, &err) == OUTBOX_E_NOTSUP);
    outbox_router_free(router);
}

static void test_publish(void)
{
    struct outbox_message with = {.size = sizeof with, .seq = 1, .key = outbox_cstr("k")};
    struct outbox_message without = {.size = sizeof without, .seq = 2};
    const struct outbox_message *messages[] = {&with, &without};
    struct outbox_call call = {.size = sizeof call, .timeout_ms = 1000, .cancel_fd = -1};
    struct outbox_outcome **outcomes = outbox_outcomes_new(2);
    CHECK(outcomes && publish(NULL, messages, 2, &call, outcomes, &err) == OUTBOX_OK);
    CHECK(outcomes[0]->verdict == OUTBOX_ACCEPTED && outcomes[1]->verdict == OUTBOX_REJECTED);
    CHECK(outbox_str_eq(outcomes[1]->reason, outbox_cstr("message 2 has no key")));
    outbox_outcomes_free(outcomes);
}

static void test_relay(void)
{
    struct memory memory = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct outbox_new with = {.size = sizeof with,
                              .id = outbox_cstr("1"),
                              .topic = outbox_cstr("order.placed"),
                              .key = outbox_cstr("k")};
    struct outbox_new without = with;
    struct outbox_relay_counts counts = {.size = sizeof counts};
    struct outbox_store *store;
    struct outbox_relay *relay;
    without.id = outbox_cstr("2");
    without.key = outbox_cstr(NULL);
    CHECK(outbox_store_from_ops(&memory_ops, &memory, &store, &err) == OUTBOX_OK);
    CHECK(outbox_save_one(store, &with, NULL, 0, NULL, &err) == OUTBOX_OK);
    CHECK(outbox_save_one(store, &without, NULL, 0, NULL, &err) == OUTBOX_OK);
    CHECK(outbox_relay_new(NULL, &relay, &err) == OUTBOX_OK);
    CHECK(outbox_relay_set_store_ops(relay, &memory_ops, &memory, &err) == OUTBOX_OK);
    CHECK(outbox_relay_add_function(relay, "mail", publish, NULL, &err) == OUTBOX_OK);
    CHECK(outbox_relay_run_once(relay, 0, &counts, &err) == OUTBOX_OK);
    CHECK(counts.accepted == 1 && counts.failed == 1);
    CHECK(memory.status[0] == OUTBOX_PROCESSED && memory.status[1] == OUTBOX_FAILED);
    outbox_relay_free(relay);
    outbox_store_close(store);
}

int main(void)
{
    test_route();
    test_publish();
    test_relay();
    puts("ok");
    return 0;
}
