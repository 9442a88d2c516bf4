/* SPDX-License-Identifier: Apache-2.0 */
/* embedding.c - an application with a database of its own that embeds a relay, for tests. */
#include "embedding.h"
#include "base/clock.h"

#include <check.h>
#include <ftw.h>
#include <outbox/helpers.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char app_dir[64], app_path[96];
const struct outbox_setting app_settings[] = {{"path", app_path}, {NULL, NULL}};
struct outbox_err app_err;
struct app_publisher app_publisher;

int app_deliver(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                struct outbox_err *err)
{
    struct app_publisher *p = ctx;
    (void)messages;
    (void)call;
    (void)err;
    p->calls++;
    for (int64_t end = clock_monotonic_us() + p->wait_ms * 1000; clock_monotonic_us() < end;)
        usleep(1000);
    for (uint64_t i = 0; i < n; i++)
        outcomes[i]->verdict = p->refuses ? OUTBOX_REJECTED : OUTBOX_ACCEPTED;
    if (p->stops && p->frees)
        outbox_relay_free(p->stops);
    else if (p->stops)
        p->stop_result = outbox_relay_stop(p->stops, 0, NULL);
    p->returned++;
    return OUTBOX_OK;
}

const char *app_plugin_dir(void)
{
    return getenv("OUTBOX_TEST_PLUGIN_DIR");
}

void app_ok(int r)
{
    ck_assert_msg(r == OUTBOX_OK, "%d: %s", r, app_err.text);
}

void app_refused(int r, const char *why)
{
    ck_assert_int_eq(r, OUTBOX_E_CONFIG);
    ck_assert_msg(strstr(app_err.text, why) != NULL, "it says: %s", app_err.text);
}

struct outbox_store *app_store(void)
{
    struct outbox_store *store;
    app_ok(outbox_store_open(app_plugin_dir(), "sqlite", app_settings, &store, &app_err));
    app_ok(outbox_store_init(store, 30000, &app_err));
    return store;
}

bool app_finds(const char *query)
{
    sqlite3 *db;
    sqlite3_stmt *statement;
    ck_assert_int_eq(sqlite3_open(app_path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 30000);
    ck_assert_int_eq(sqlite3_prepare_v2(db, query, -1, &statement, NULL), SQLITE_OK);
    bool found = sqlite3_step(statement) == SQLITE_ROW;
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return found;
}

void app_send(uint64_t bytes)
{
    static const char text[4096];
    struct outbox_store *store = app_store();
    struct outbox_new message = {
        .size = sizeof message, .topic = outbox_cstr("t"), .payload = {text, bytes}};
    const struct outbox_new *const messages[] = {&message};
    ck_assert_uint_le(bytes, sizeof text);
    app_ok(outbox_save(store, messages, 1, NULL, 30000, &app_err));
    outbox_store_close(store);
}

struct outbox_relay *app_relay(struct outbox_relay_options options)
{
    struct outbox_relay *relay;
    struct outbox_router *router = outbox_router_new();
    options.size = sizeof options;
    app_ok(outbox_router_set_fallback(router, "here"));
    app_ok(outbox_relay_new(&options, &relay, &app_err));
    app_ok(outbox_relay_set_store(relay, app_plugin_dir(), "sqlite", app_settings, &app_err));
    app_ok(outbox_relay_add_function(relay, "here", app_deliver, &app_publisher, &app_err));
    app_ok(outbox_relay_set_router(relay, router, &app_err));
    outbox_router_free(router);
    return relay;
}

struct outbox_relay_counts app_counts(const struct outbox_relay *relay)
{
    struct outbox_relay_counts counts = {.size = sizeof counts};
    outbox_relay_count(relay, &counts);
    return counts;
}

static int remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(name);
}

void app_set_up(void)
{
    snprintf(app_dir, sizeof app_dir, "/tmp/outbox-lib-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(app_dir));
    snprintf(app_path, sizeof app_path, "%s/shop.db", app_dir);
    app_err = (struct outbox_err){.size = sizeof app_err};
    app_publisher = (struct app_publisher){.calls = 0};
}

void app_tear_down(void)
{
    nftw(app_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
