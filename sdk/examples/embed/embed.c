/* SPDX-License-Identifier: Apache-2.0 */
/*
 * embed.c - an application that writes messages in its own transaction and relays them itself.
 *
 *   cc $(pkg-config --cflags outbox sqlite3) -o embed embed.c $(pkg-config --libs outbox sqlite3)
 *   ./embed shop.db [PLUGIN_DIR]
 */
#include <outbox/outbox.h>
#include <outbox/save-sqlite.h>

#include <stdatomic.h>
#include <stdlib.h>

#define ORDERS 20

static struct outbox_err err = {.size = sizeof err};

static void ok(int r)
{
    if (r != 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
}

/* A publisher made from a function. A real one gives the messages to the client of a broker. */
static int deliver(void *inbox, const struct outbox_message *const *messages, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *why)
{
    (void)messages, (void)call, (void)why;
    *(atomic_uint *)inbox += (unsigned)n; /* several workers deliver at the same time */
    return outbox_outcome_set_rest(outcomes, n, OUTBOX_ACCEPTED, NULL);
}

/* A route by function: a message without a key goes to the archive. */
static const char *keyless(void *ctx, const struct outbox_message *message)
{
    (void)ctx;
    return message->key.n == 0 ? "archive" : NULL;
}

static void run(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        ok(outbox_fail(&err, OUTBOX_E_CONFIG, "%s: %s", sql, sqlite3_errmsg(db)));
}

/* One order and its message, in one transaction; every fifth customer changes their mind. */
static void place_order(sqlite3 *db, struct outbox_store *store, int number)
{
    struct outbox_exec exec = outbox_exec_sqlite(db);
    char payload[64], insert[64];
    struct outbox_header header = {outbox_cstr(number % 2 ? "destination" : "kind"),
                                   outbox_cstr(number % 2 ? "mail" : "urgent")};
    snprintf(payload, sizeof payload, "{\"order\":%d}", number);
    struct outbox_new message = {.size = sizeof message,
                                 .topic = outbox_cstr("order.placed"),
                                 .key = outbox_cstr(number == 1 ? "" : "customer"),
                                 .payload = outbox_cstr(payload),
                                 .headers = &header,
                                 .n_headers = number == 2 ? 0 : 1};
    snprintf(insert, sizeof insert, "INSERT INTO orders VALUES (%d)", number);
    run(db, "BEGIN IMMEDIATE");
    run(db, insert);
    ok(outbox_save_one(store, &message, &exec, 0, NULL, &err));
    run(db, number % 5 == 0 ? "ROLLBACK" : "COMMIT");
}

int main(int argc, char **argv)
{
    const struct outbox_setting settings[] = {{"path", argc > 1 ? argv[1] : "shop.db"}, {0}};
    const struct outbox_setting kinds[] = {{"urgent", "push"}, {0}};
    const char *plugins = argc > 2 ? argv[2] : NULL, *names[] = {"mail", "push", "archive"};
    struct outbox_relay_options options = {.size = sizeof options, .poll_interval_ms = 100};
    struct outbox_relay_counts counts = {.size = sizeof counts};
    struct outbox_store *store;
    struct outbox_relay *relay;
    atomic_uint inbox[3] = {0};
    sqlite3 *db;

    ok(outbox_store_open(plugins, "sqlite", settings, &store, &err));
    ok(outbox_store_init(store, 10000, &err));
    ok(sqlite3_open(settings[0].value, &db) || sqlite3_busy_timeout(db, 10000));
    run(db, "CREATE TABLE IF NOT EXISTS orders (number)");

    ok(outbox_relay_new(&options, &relay, &err));
    ok(outbox_relay_set_store(relay, plugins, "sqlite", settings, &err));
    for (int i = 0; i < 3; i++)
        ok(outbox_relay_add_function(relay, names[i], deliver, &inbox[i], &err));
    struct outbox_router *router = outbox_router_new();
    outbox_router_add_function(router, keyless, NULL);
    outbox_router_add_header_map(router, "kind", kinds);
    outbox_router_add_destination(router, "destination", names, 2);
    outbox_router_set_fallback(router, "archive");
    ok(outbox_relay_set_router(relay, router, &err)); /* tells what went wrong before, too */
    outbox_router_free(router);

    ok(outbox_relay_start(relay, &err));
    for (int number = 1; number <= ORDERS; number++)
        place_order(db, store, number);
    ok(outbox_relay_wait_idle(relay, 30000, &err));
    ok(outbox_relay_stop(relay, 10000, &err));
    outbox_relay_count(relay, &counts);
    printf("committed %d, relayed %llu: mail %u, push %u, archive %u\n", ORDERS - ORDERS / 5,
           (unsigned long long)counts.accepted, inbox[0], inbox[1], inbox[2]);
    outbox_relay_free(relay);
    outbox_store_close(store);
    sqlite3_close(db);
    return counts.accepted == ORDERS - ORDERS / 5 ? 0 : 1;
}
