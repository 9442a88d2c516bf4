/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/outbox.h - liboutbox: write messages in your own transaction, and relay them from your
 * own process. `pkg-config --cflags --libs outbox`.
 *
 * The daemon outboxd is built from the same code. A program that only produces messages needs the
 * functions for stores, or a plain INSERT.
 *
 * Errors: functions return OUTBOX_OK or a negative OUTBOX_E_ class of <outbox/abi.h>, and fill
 * *err with one line for people; set its `size`, or pass NULL. Out of memory is OUTBOX_E_RETRY.
 *
 * Ownership: functions copy the texts that they get, unless their comment says otherwise. Each
 * object has a function that frees it, which also takes NULL.
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
#include <outbox/publisher.h>
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

/* ---- stores ---- */

/** A store, for writing messages. */
struct outbox_store;

/**
 * Opens a store by the name of its plugin, say "sqlite": checks the options, and does not connect.
 *
 * plugin_dir: the folder of the plugins; NULL: where they were installed. settings: the options of
 * the plugin, or NULL. OUTBOX_E_CONFIG: there is no such plugin, or an option is wrong.
 */
int outbox_store_open(const char *plugin_dir, const char *plugin,
                      const struct outbox_setting *settings, struct outbox_store **ret,
                      struct outbox_err *err);
void outbox_store_close(struct outbox_store *store);

/** Creates or upgrades the tables like `outboxd init`, within timeout_ms. */
int outbox_store_init(struct outbox_store *store, uint32_t timeout_ms, struct outbox_err *err);

/**
 * Writes n messages, which are borrowed for the call.
 *
 * With `exec` the messages become part of your transaction: they are committed or rolled back with
 * it. No other connection is used. <outbox/save-sqlite.h> makes an exec from an sqlite3 *,
 * <outbox/save-postgres.h> from a PGconn *. If exec is NULL, the store writes all messages or none,
 * on its own connection and within timeout_ms.
 */
int outbox_save(struct outbox_store *store, const struct outbox_new *const *messages, uint64_t n,
                const struct outbox_exec *exec, uint32_t timeout_ms, struct outbox_err *err);

/* ---- routers ---- */

/**
 * The routes of a relay, built in code. They are tried in the order in which they were added; the
 * first route that names a publisher wins.
 */
struct outbox_router;

/** NULL: out of memory. */
struct outbox_router *outbox_router_new(void);
void outbox_router_free(struct outbox_router *router);

/**
 * Returns the name of a publisher, or NULL: the next route is tried. If the relay has no publisher
 * of that name, the message is held or failed as unrouted_fail says, and the log says why. The
 * message is borrowed for the call; the name must be valid until the thread's next call. The
 * workers of the relay call the function, several at the same time.
 */
typedef const char *(*outbox_route_fn)(void *ctx, const struct outbox_message *message);

/** Adds a route that calls fn. ctx stays yours and must outlive the relay. */
int outbox_router_add_function(struct outbox_router *router, outbox_route_fn fn, void *ctx);

/** Adds a route by the value of a header: map[].name is the value, map[].value the publisher. */
int outbox_router_add_header_map(struct outbox_router *router, const char *header,
                                 const struct outbox_setting *map);

/** Adds a route by a header whose value is the name of a publisher, one of the n `publishers`. */
int outbox_router_add_destination(struct outbox_router *router, const char *header,
                                  const char *const *publishers, uint64_t n);

/** Sets the publisher of the messages that no route takes. */
int outbox_router_set_fallback(struct outbox_router *router, const char *publisher);

/* ---- relays ---- */

/** A relay in your process. */
struct outbox_relay;

/**
 * How a relay works. Set `size`. A field that is 0 has the default of the daemon, see
 * outboxd.ini(5). Times are milliseconds, or OUTBOX_NEVER where the option may be `never`.
 */
struct outbox_relay_options {
    uint32_t size;
    uint32_t workers;
    uint32_t batch_size;
    uint32_t max_retries;
    int64_t batch_timeout_ms;
    int64_t lease_ms;
    int64_t poll_interval_ms;
    int64_t retry_min_ms;
    int64_t retry_max_ms;
    int64_t retention_ms; /* 0: the default; OUTBOX_RETENTION_DELETE: delete on success */
    /** Messages that no route takes are 0: held, 1: failed. */
    uint32_t unrouted_fail;
    /** The relay writes its log to this descriptor and never closes it; 0: no log. */
    int32_t log_fd;
    /** The name of the relay, for people; NULL: the name of the machine. */
    const char *name;
    /** How many payload bytes a batch may have. A larger message has a batch of its own. */
    uint64_t batch_bytes;
    /** A message with more payload bytes fails, and its payload is not read. */
    uint64_t max_message;
    /** How long failed messages are kept; the default is OUTBOX_NEVER. */
    int64_t retention_failed_ms;
    /** How long outbox_relay_stop tries to settle the messages that are in flight. */
    int64_t shutdown_timeout_ms;
};
#define OUTBOX_RETENTION_DELETE (-1)

/** options NULL: all defaults. OUTBOX_E_CONFIG: a value is outside the range of outboxd.ini(5). */
int outbox_relay_new(const struct outbox_relay_options *options, struct outbox_relay **ret,
                     struct outbox_err *err);

/** Sets the store, with the arguments of outbox_store_open. Succeeds once. */
int outbox_relay_set_store(struct outbox_relay *relay, const char *plugin_dir, const char *plugin,
                           const struct outbox_setting *settings, struct outbox_err *err);

/**
 * Adds a publisher plugin from the plugin_dir of the store. name matches [a-z0-9-]{1,63}.
 * OUTBOX_E_CONFIG: there is no such plugin, an option is wrong, or the time-out of the plugin is
 * not shorter than batch_timeout_ms.
 */
int outbox_relay_add_publisher(struct outbox_relay *relay, const char *name, const char *plugin,
                               const struct outbox_setting *settings, struct outbox_err *err);

/**
 * Publishes messages. The contract is that of `publish` in <outbox/publisher.h>: set an outcome for
 * each message; a negative result pauses the publisher and charges no message that has no outcome.
 * The workers of the relay call the function, all of them at the same time.
 */
typedef int (*outbox_publish_fn)(void *ctx, const struct outbox_message *const *messages,
                                 uint64_t n, const struct outbox_call *call,
                                 struct outbox_outcome *const *outcomes, struct outbox_err *err);

/** Adds a publisher that calls fn. ctx stays yours and must outlive the relay. */
int outbox_relay_add_function(struct outbox_relay *relay, const char *name, outbox_publish_fn fn,
                              void *ctx, struct outbox_err *err);

/**
 * Sets the routes, after all publishers were added. Copies them, so that you may free the router.
 * Succeeds once.
 */
int outbox_relay_set_router(struct outbox_relay *relay, const struct outbox_router *router,
                            struct outbox_err *err);

/**
 * Starts the threads of the relay and returns. The threads block all signals but those of a fault.
 * While the database cannot be reached, the relay tries to connect again.
 */
int outbox_relay_start(struct outbox_relay *relay, struct outbox_err *err);

/**
 * Stops the relay: it claims no more messages, and settles or releases those that are in flight.
 * OUTBOX_E_TIMEOUT: that takes longer than timeout_ms; the relay goes on stopping, and you may call
 * the function again. shutdown_timeout_ms after the first call the relay gives up what it could not
 * settle. Signals do not interrupt the function. OUTBOX_E_CONFIG: a callback of this relay called
 * it, and would wait for itself.
 */
int outbox_relay_stop(struct outbox_relay *relay, uint32_t timeout_ms, struct outbox_err *err);

/** How many messages were accepted, retried and failed since the start. Set `size`. Any thread. */
struct outbox_relay_counts {
    uint32_t size;
    uint32_t reserved;
    uint64_t accepted;
    uint64_t retried;
    uint64_t failed;
    uint64_t stale; /* settled after their claim was lost: these may arrive twice */
};
/** Fills *ret. */
void outbox_relay_count(const struct outbox_relay *relay, struct outbox_relay_counts *ret);

/**
 * Stops the relay if it runs, without a deadline, and frees it. It waits for all callbacks; if one
 * of them calls it, the process ends by abort.
 */
void outbox_relay_free(struct outbox_relay *relay);

#ifdef __cplusplus
}
#endif
#endif
