/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.c - an application that writes messages in its own transaction and relays them itself.
 *
 *   cc $(pkg-config --cflags outbox sqlite3) -o embed embed.c $(pkg-config --libs outbox sqlite3)
 *   ./embed shop.db [PLUGIN_DIR]
 */
#include <outbox/outbox.h>
#include <outbox/save-sqlite.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ORDERS 20

/* The messages of one publisher. Several workers deliver at the same time, so the lock protects n.
 */
struct inbox {
    const char *name;
    pthread_mutex_t lock;
    unsigned n;
};

static void die(const char *what, const struct outbox_err *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    exit(1);
}

/* A publisher made from a function. A real one gives the message to the client of a broker. */
static int deliver(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    struct inbox *inbox = ctx;
    (void)messages;
    (void)call;
    (void)err;
    pthread_mutex_lock(&inbox->lock);
    for (uint64_t i = 0; i < n; i++) {
        inbox->n++;
        outcomes[i]->verdict = OUTBOX_ACCEPTED;
    }
    pthread_mutex_unlock(&inbox->lock);
    return OUTBOX_OK;
}

/* A route by function: a message without a key goes to the archive. */
static const char *keyless(void *ctx, const struct outbox_message *message)
{
    (void)ctx;
    return message->key.n == 0 ? "archive" : NULL;
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return;
    fprintf(stderr, "%s: %s\n", sql, sqlite3_errmsg(db));
    exit(1);
}

/* One order and its message, in one transaction; every fifth customer changes their mind. */
static void place_order(sqlite3 *db, struct outbox_store *store, int number)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_exec exec = outbox_exec_sqlite(db);
    char payload[64], insert[128];
    struct outbox_header header = {outbox_cstr(number % 2 ? "destination" : "kind"),
                                   outbox_cstr(number % 2 ? "mail" : "urgent")};
    snprintf(payload, sizeof payload, "{\"order\":%d}", number);
    snprintf(insert, sizeof insert, "INSERT INTO orders VALUES (%d)", number);
    struct outbox_new message = {.size = sizeof message,
                                 .topic = outbox_cstr("order.placed"),
                                 .key = outbox_cstr(number == 1 ? "" : "customer"),
                                 .payload = outbox_cstr(payload),
                                 .headers = &header,
                                 .n_headers = number == 2 ? 0 : 1};
    const struct outbox_new *messages[] = {&message};
    run(db, "BEGIN IMMEDIATE");
    run(db, insert);
    if (outbox_save(store, messages, 1, &exec, 0, &err) < 0)
        die("save", &err);
    run(db, number % 5 == 0 ? "ROLLBACK" : "COMMIT");
}

static struct outbox_router *make_router(void)
{
    static const struct outbox_setting kinds[] = {{"urgent", "push"}, {NULL, NULL}};
    static const char *const destinations[] = {"mail", "push"};
    struct outbox_router *router = outbox_router_new();
    if (!router || outbox_router_add_function(router, keyless, NULL) < 0 ||
        outbox_router_add_header_map(router, "kind", kinds) < 0 ||
        outbox_router_add_destination(router, "destination", destinations, 2) < 0 ||
        outbox_router_set_fallback(router, "archive") < 0)
        exit(1);
    return router;
}

static struct outbox_relay *start_relay(const char *plugin_dir, const struct outbox_setting *store,
                                        struct inbox *inboxes, size_t n)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_relay_options options = {
        .size = sizeof options, .batch_size = 10, .poll_interval_ms = 100};
    struct outbox_router *router = make_router();
    struct outbox_relay *relay;
    if (outbox_relay_new(&options, &relay, &err) < 0 ||
        outbox_relay_set_store(relay, plugin_dir, "sqlite", store, &err) < 0)
        die("relay", &err);
    for (size_t i = 0; i < n; i++)
        if (outbox_relay_add_function(relay, inboxes[i].name, deliver, &inboxes[i], &err) < 0)
            die("publisher", &err);
    if (outbox_relay_set_router(relay, router, &err) < 0 || outbox_relay_start(relay, &err) < 0)
        die("start", &err);
    outbox_router_free(router);
    return relay;
}

int main(int argc, char **argv)
{
    const struct outbox_setting settings[] = {{"path", argc > 1 ? argv[1] : "shop.db"},
                                              {NULL, NULL}};
    const char *plugin_dir = argc > 2 ? argv[2] : NULL;
    struct inbox inboxes[] = {{"mail", PTHREAD_MUTEX_INITIALIZER, 0},
                              {"push", PTHREAD_MUTEX_INITIALIZER, 0},
                              {"archive", PTHREAD_MUTEX_INITIALIZER, 0}};
    struct outbox_err err = {.size = sizeof err};
    struct outbox_relay_counts counts = {.size = sizeof counts};
    struct outbox_store *store;
    sqlite3 *db;
    if (outbox_store_open(plugin_dir, "sqlite", settings, &store, &err) < 0 ||
        outbox_store_init(store, 10000, &err) < 0)
        die("store", &err);
    if (sqlite3_open(settings[0].value, &db) != SQLITE_OK ||
        sqlite3_busy_timeout(db, 10000) != SQLITE_OK)
        exit(1);
    run(db, "CREATE TABLE IF NOT EXISTS orders (number)");

    struct outbox_relay *relay = start_relay(plugin_dir, settings, inboxes, 3);
    for (int number = 1; number <= ORDERS; number++)
        place_order(db, store, number);
    for (int tries = 0; tries < 600 && counts.accepted < ORDERS - ORDERS / 5; tries++) {
        usleep(50000);
        outbox_relay_count(relay, &counts);
    }
    if (outbox_relay_stop(relay, 10000, &err) < 0)
        die("stop", &err);
    outbox_relay_free(relay);
    outbox_store_close(store);
    sqlite3_close(db);
    printf("committed %d, relayed %llu: mail %u, push %u, archive %u\n", ORDERS - ORDERS / 5,
           (unsigned long long)counts.accepted, inboxes[0].n, inboxes[1].n, inboxes[2].n);
    return counts.accepted == ORDERS - ORDERS / 5 ? 0 : 1;
}
