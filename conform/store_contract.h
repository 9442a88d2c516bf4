/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store_contract.h - what every store must do, whatever database it stands on. outbox-conform runs
 * it, and a store's own program in tests/, which says how its database is reached.
 *
 * Everything runs against the built module, opened as the daemon opens it. Check runs each case
 * in a process of its own.
 */
#pragma once

#include "conform/kit.h"
#include "plugin/store.h"

#include <check.h>
#include <stdbool.h>

/* How a database refuses to change a row. What it says has REFUSAL_WORDS in it, but for a trigger
 * that skips the row, which says nothing. */
enum refusal { REFUSED_BY_CHECK, REFUSED_BY_TRIGGER, SKIPPED_BY_TRIGGER, N_REFUSALS };
#define REFUSAL_WORDS "refused_by_the_test"

/* How a kind of database is reached; each function ends the case when it fails. Where one is NULL
 * the cases that need it are skipped, but for what the plugin itself can do instead. */
struct store_kind {
    const char *plugin;
    /* An opened module with its options, instead of `plugin` and `configure`; NULL: none. */
    const struct plugin *(*module)(struct outbox_cfg **ret_cfg);
    /* An empty place for the table: before each case, and away with it. */
    void (*set_up)(void);
    void (*tear_down)(void);
    /* Deletes what rows are in the table; NULL: it is a new one. */
    void (*empty)(void);
    /* The plugin's options for it. */
    void (*configure)(struct outbox_cfg *cfg);
    /* An application's own connection, nothing of the plugin's. */
    void *(*connect)(void);
    void (*disconnect)(void *connection);
    void (*execute)(void *connection, const char *sql);
    /* The first column of the first row. */
    int64_t (*number)(void *connection, const char *sql);
    /* The bytes of its first column as hexadecimal digits, "NULL" for NULL; for free(). */
    char *(*bytes)(void *connection, const char *sql);
    /* A callback that runs statements on that connection, as <outbox/store.h> wants it. */
    struct outbox_exec (*exec)(void *connection);
    /* From now on it refuses to update rows of topic `bad` if that makes the condition of their
     * columns true (NULL: none), and to delete them if `deletes`; a check refuses no deletes. */
    void (*refuse)(void *connection, enum refusal how, const char *update_when, bool deletes);
};

/* All cases of the contract. */
Suite *store_contract(const struct store_kind *kind);
/* The same for outbox-conform: level 2. */
void store_contract_add(const struct store_kind *kind, const struct kit_sink *sink);
void store_contract_claim(const struct kit_sink *sink);
void store_contract_budget(const struct kit_sink *sink);
void store_contract_settle(const struct kit_sink *sink);
void store_contract_refused(const struct kit_sink *sink);
void store_contract_admin(const struct kit_sink *sink);
/* Adds one with the fixture below, for each _i from `from` on and below `to`. */
void store_test(const struct kit_sink *sink, const TTest *test, int from, int to);
/* A test case of its own with the fixture below. */
TCase *store_case(Suite *suite, const char *name);

/* ---- what cases use ---- */

/* For programs whose suites are their own: before anything else. */
void store_use(const struct store_kind *kind);
const struct store_kind *store_kind(void);
/* A new instance; the fixture closes those that are left. */
struct store *an_instance(void);
/* Opens one and closes it again; the class. */
int try_instance(struct outbox_err *err);
/* How often the instances of the case have logged this. */
int times_logged(const char *part);
/* What later instances are opened with. */
struct outbox_cfg *the_options(void);
/* The fixture's first instance, with its table made. */
struct store *the_store(void);
/* So much more has passed by the host's clock of this instance, and of others that use it. */
void pass_ms(struct store *s, int64_t ms);
/* The application's connection. */
void *the_connection(void);
/* Closes all of them, and opens the first ones anew: some databases do not survive a fork. */
void close_all(void);
void open_again(void);

void execute(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
int64_t number(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Does the statement's first column hold these bytes? NULL: SQL NULL. */
void assert_bytes(const char *sql, const char *bytes, size_t n);

/* A call with this deadline. */
struct outbox_call within(uint32_t ms);
#define CALL (&(struct outbox_call){sizeof(struct outbox_call), 30000, -1, 0})
#define LEASE_MS 600000

/* Ends the case with the store's own words when r is not the class wanted. */
void assert_class(int r, int wanted, const struct outbox_err *err);
struct outbox_batch *claim(struct store *s, uint32_t limit, uint32_t lease_ms);
/* Claims until something comes. */
struct outbox_batch *claim_soon(struct store *s);
void release(struct store *s, struct outbox_batch *batch);
/* All messages of the batch alike; returns how many were stale. */
uint32_t settle_all(struct store *s, struct outbox_batch *batch, struct outbox_settle how);
/* So many messages of topic t, with payloads 1, 2 ... */
void produce(int n);
int save_one(struct store *s, struct outbox_new row, struct outbox_err *err);
struct outbox_str str(const char *text);
#define assert_str(s, text)                                                                   \
    do {                                                                                      \
        struct outbox_str s_ = (s);                                                           \
        ck_assert_ptr_nonnull(s_.p);                                                          \
        ck_assert_uint_eq(s_.n, strlen(text));                                                \
        ck_assert_msg(memcmp(s_.p, text, strlen(text)) == 0, "`%.*s` is not `%s`", (int)s_.n, \
                      s_.p, text);                                                            \
    } while (0)
