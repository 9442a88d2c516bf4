/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/outbox.h - liboutbox: write messages in your own transaction, and relay them from your
 * own process. `pkg-config --cflags --libs outbox`; the manual page is liboutbox(3).
 *
 * The daemon outboxd is built from the same code. A program that only produces messages needs the
 * functions of this header, or a plain INSERT; <outbox/relay.h> is what relays them. The library
 * reads no configuration file and is not linked with what does; a relay cannot be reloaded, only
 * stopped and made anew.
 *
 * Errors: functions return OUTBOX_OK or a negative OUTBOX_E_ class of <outbox/abi.h>, and fill
 * *err with one line for people; set its `size`, or pass NULL. Out of memory is OUTBOX_E_RETRY.
 *
 * Structs begin with `size`, which the caller sets; a field that is 0 has its default. With a size
 * of 0, or of a newer library whose new fields are used, a call fails with OUTBOX_E_CONFIG.
 *
 * Times are milliseconds. Ownership: functions copy the texts that they get, unless their comment
 * says otherwise. Each object has a function that frees it, which also takes NULL.
 *
 * Threads: one thread at a time uses an object, unless a comment says otherwise.
 *
 * The end of the process: closing a store or freeing a relay leaves a call that hangs in a library
 * (a resolver, a handshake) to a thread of its own after a second. If the process then ends by exit
 * or by a return from main, libraries free what that thread uses, and the process may crash. A
 * program that must not do that flushes its streams and ends by _exit, as outboxd does.
 */
#ifndef OUTBOX_OUTBOX_H
#define OUTBOX_OUTBOX_H

#include <outbox/abi.h>
#include <outbox/helpers.h>
#include <outbox/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The version of the library, "MAJOR.MINOR.PATCH". The text is static. Any thread. */
const char *outbox_version(void);

/**
 * An option of a plugin, as in the configuration file: ${NAME} in a value is replaced by the
 * environment variable, and $${ stands for ${. For an option X that is a secret, the name X_file
 * may be used: its value is the name of a file that others can neither read nor write. A list of
 * settings ends with a NULL name. FROZEN.
 */
struct outbox_setting {
    const char *name;
    const char *value;
};

/* ---- logs ---- */

/** One event of a log. All of it is borrowed for the call, and texts are clean UTF-8. */
struct outbox_log_line {
    uint32_t size;
    int32_t level;                       /* OUTBOX_LOG_ERROR ... OUTBOX_LOG_DEBUG */
    const char *text;                    /* what happened */
    const struct outbox_setting *fields; /* n_fields names and values, say `publisher`, `error` */
    uint64_t n_fields;
    const char *line; /* text and fields in one line: text name=value name="a value" */
};

/** Takes an event of the log. Several threads call it at the same time; it does not block, and
 * calls no function of the object whose log it is. */
typedef void (*outbox_log_fn)(void *ctx, const struct outbox_log_line *line);

/* ---- messages ---- */

/** The size of a buffer for a new id and its NUL. */
#define OUTBOX_ID_SIZE 37

/** Makes an id: a random UUID, in lower case. Returns ret. Any thread. */
const char *outbox_new_id(char ret[OUTBOX_ID_SIZE]);

/** A store, for writing messages. Any thread may use it, several at the same time: each call takes
 * an instance of the plugin from a pool. So a store has as many connections as threads have been in
 * calls at the same time; a save through `exec` needs none. */
struct outbox_store;

/**
 * Writes n messages, which are borrowed for the call.
 *
 * With `exec` the messages become part of your transaction: they are committed or rolled back with
 * it. No other connection is used. <outbox/save-sqlite.h> makes an exec from an sqlite3 *,
 * <outbox/save-postgres.h> from a PGconn *. If exec is NULL, the store writes all messages or none,
 * in one transaction on a connection of its own and within timeout_ms.
 *
 * Where a message has no id, the database makes one. OUTBOX_E_EXISTS: there is a message with that
 * id. OUTBOX_E_CONFIG: a message has no topic or no `size`, or a text that is not UTF-8. n == 0 is
 * OUTBOX_OK. Any thread.
 */
int outbox_save(struct outbox_store *store, const struct outbox_new *const *messages, uint64_t n,
                const struct outbox_exec *exec, uint32_t timeout_ms, struct outbox_err *err);

/** The same, and ret_ids[i] becomes the id of messages[i]: its own, or a new one. An id of its own
 * that is longer than a UUID is OUTBOX_E_CONFIG here. */
int outbox_save_ids(struct outbox_store *store, const struct outbox_new *const *messages,
                    uint64_t n, const struct outbox_exec *exec, uint32_t timeout_ms,
                    char (*ret_ids)[OUTBOX_ID_SIZE], struct outbox_err *err);

/** Writes one message, as outbox_save_ids. ret_id may be NULL. */
int outbox_save_one(struct outbox_store *store, const struct outbox_new *message,
                    const struct outbox_exec *exec, uint32_t timeout_ms,
                    char ret_id[OUTBOX_ID_SIZE], struct outbox_err *err);

/* ---- stores ---- */

/**
 * Opens a store by the name of its plugin, say "sqlite": checks the options, and does not connect.
 *
 * plugin_dir: the folder of the plugins; NULL: where they were installed. settings: the options of
 * the plugin, or NULL. OUTBOX_E_CONFIG: there is no such plugin, or an option is wrong.
 */
int outbox_store_open(const char *plugin_dir, const char *plugin,
                      const struct outbox_setting *settings, struct outbox_store **ret,
                      struct outbox_err *err);

/**
 * Makes a store from functions: the operations of <outbox/store.h>, for a database of your own, or
 * for tests. Copies *ops.
 *
 * `open` finds ctx in host->shared. If open is NULL the instance is ctx itself, which several
 * threads use at the same time then, and must not be NULL. close, check, schema and init may be
 * NULL, too. ctx stays yours, and must outlive the store.
 */
int outbox_store_from_ops(const struct outbox_store_ops *ops, void *ctx, struct outbox_store **ret,
                          struct outbox_err *err);

/** No other call may be under way. */
void outbox_store_close(struct outbox_store *store);

/** Lets the store log to fn; ctx is passed to it, and stays yours. Before other calls. */
void outbox_store_set_log(struct outbox_store *store, outbox_log_fn fn, void *ctx);

/** Creates or upgrades the tables like `outboxd init`, within timeout_ms. Any thread. */
int outbox_store_init(struct outbox_store *store, uint32_t timeout_ms, struct outbox_err *err);

/** Would a relay work here? As `outboxd check --connect`. Any thread. */
int outbox_store_check(struct outbox_store *store, uint32_t timeout_ms, struct outbox_err *err);

/* ---- what is in a store: as the commands of outboxd(8). Any thread. A timeout_ms is for the whole
 * call, not its callbacks; OUTBOX_E_NOTSUP: this store cannot do that ---- */

/** Gets one row, which is borrowed for the call. Not 0: the list ends here. It may call functions
 * of the same store. */
typedef int (*outbox_row_fn)(void *ctx, const struct outbox_row *row);

/** Calls fn for the rows of the filter (NULL: all), in the order of seq, at most `limit` (0: all).
 * Rows that are written meanwhile may be among them or not. */
int outbox_store_list(struct outbox_store *store, const struct outbox_filter *filter,
                      uint64_t limit, uint32_t timeout_ms, outbox_row_fn fn, void *ctx,
                      struct outbox_err *err);

/** Calls fn for the message with this id, and for its copies. OUTBOX_E_CONFIG: there is none. */
int outbox_store_show(struct outbox_store *store, const char *id, uint32_t timeout_ms,
                      outbox_row_fn fn, void *ctx, struct outbox_err *err);

/**
 * requeue: makes the failed rows of the filter (NULL: all of them) pending again. discard: deletes
 * them. Rows that are not failed are never changed. purge: deletes rows that are processed or
 * failed: filter->statuses names what, and must not be 0.
 *
 * They work in small batches, each of them a transaction. *ret_n (may be NULL) is how many rows
 * were changed, also after a failure, as OUTBOX_E_TIMEOUT when there are more.
 */
int outbox_store_requeue(struct outbox_store *store, const struct outbox_filter *filter,
                         uint32_t timeout_ms, uint64_t *ret_n, struct outbox_err *err);
int outbox_store_discard(struct outbox_store *store, const struct outbox_filter *filter,
                         uint32_t timeout_ms, uint64_t *ret_n, struct outbox_err *err);
int outbox_store_purge(struct outbox_store *store, const struct outbox_filter *filter,
                       uint32_t timeout_ms, uint64_t *ret_n, struct outbox_err *err);

/** Counts the rows, see struct outbox_stats, whose `size` is set before. exact != 0: all of them,
 * however long it takes; else a large count may be a lower bound. */
int outbox_store_stats(struct outbox_store *store, int exact, uint32_t timeout_ms,
                       struct outbox_stats *ret, struct outbox_err *err);

#ifdef __cplusplus
}
#endif

#include <outbox/relay.h>

#endif
