/* SPDX-License-Identifier: Apache-2.0 */
/* embedding.h - an application with a database of its own that embeds a relay, for tests. */
#pragma once

#include <outbox/outbox.h>

#include <stdatomic.h>
#include <stdbool.h>

/* Of the test that runs: its folder, the database in it, the store's options, the last error. */
extern char app_dir[64], app_path[96];
extern const struct outbox_setting app_settings[];
extern struct outbox_err app_err;

/* What the publisher does: it says how often it was called, takes its time, and accepts. */
extern struct app_publisher {
    _Atomic int calls;
    _Atomic int returned;
    _Atomic int wait_ms;
    _Atomic bool refuses;
    struct outbox_relay *_Atomic stops; /* a relay that it stops, or with `frees` frees, itself */
    _Atomic bool frees;
    _Atomic int stop_result;
} app_publisher;
int app_deliver(void *ctx, const struct outbox_message *const *messages, uint64_t n,
                const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                struct outbox_err *err);

const char *app_plugin_dir(void);
/* The call went well; or was refused with a text that holds `why`. */
void app_ok(int r);
void app_refused(int r, const char *why);

/* Writes one message with a payload of so many bytes; creates the tables before the first. */
void app_send(uint64_t bytes);
/* The publisher `here`, to which everything goes. `options.size` is set. */
struct outbox_relay *app_relay(struct outbox_relay_options options);
/* The store alone, with its tables. */
struct outbox_store *app_store(void);
/* Has the query, in SQL, a row? */
bool app_finds(const char *query);
struct outbox_relay_counts app_counts(const struct outbox_relay *relay);

/* For tcase_add_checked_fixture. */
void app_set_up(void);
void app_tear_down(void);
