/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/outbox.h - liboutbox: write messages in your own transaction, and relay them from your
 * own process. `pkg-config --cflags --libs outbox`.
 *
 * The daemon outboxd is built from the same code; a program that only produces messages needs no
 * more than the store half, or a plain INSERT.
 *
 * Errors: functions return OUTBOX_OK or a negative OUTBOX_E_ class of <outbox/abi.h> and fill
 * *err (NULL allowed; set its `size`) with one line for people. Texts given are copied, unless a
 * function says otherwise. Every pointer returned is freed by the function named for it; freeing
 * NULL is allowed. An object is used by one thread at a time, unless a function says otherwise.
 */
#ifndef OUTBOX_OUTBOX_H
#define OUTBOX_OUTBOX_H

#include <outbox/abi.h>
#include <outbox/publisher.h>
#include <outbox/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The version of the library, "MAJOR.MINOR.PATCH"; static, any thread. */
const char *outbox_version(void);

/**
 * An option of a plugin, as in the configuration file: ${NAME} in a value is an environment
 * variable and $${ a literal ${; X_file, for an option X that holds a secret, names a file that
 * only its owner may read. A list ends with a NULL name. FROZEN.
 */
struct outbox_setting {
    const char *name;
    const char *value;
};

/* ---- stores ---- */

/** A store to write to. */
struct outbox_store;

/**
 * Opens a store by the name of its plugin, say "sqlite". Validates and does not connect.
 *
 * plugin_dir: where plugins are; NULL: where they were installed. settings: the plugin's options,
 * or NULL. OUTBOX_E_CONFIG: no such plugin, or an option is wrong.
 */
int outbox_store_open(const char *plugin_dir, const char *plugin,
                      const struct outbox_setting *settings, struct outbox_store **ret,
                      struct outbox_err *err);
void outbox_store_close(struct outbox_store *store);

/** Creates or upgrades the tables, as `outboxd init` does. timeout_ms: how long it may take. */
int outbox_store_init(struct outbox_store *store, uint32_t timeout_ms, struct outbox_err *err);

/**
 * Writes n messages.
 *
 * With `exec` they become part of the transaction that it works in: committed with it, or gone
 * with it; nothing is written on any other connection. <outbox/save-sqlite.h> makes one from an
 * sqlite3 *. With exec NULL they are written, all or none, in a transaction of the store's own,
 * within timeout_ms.
 */
int outbox_save(struct outbox_store *store, const struct outbox_new *const *messages, uint64_t n,
                const struct outbox_exec *exec, uint32_t timeout_ms, struct outbox_err *err);

/* ---- routers ---- */

/**
 * Which publisher a message goes to, decided in code. Routes are tried in the order in which they
 * were added; the first that names a publisher wins.
 */
struct outbox_router;

/** NULL without memory. */
struct outbox_router *outbox_router_new(void);
void outbox_router_free(struct outbox_router *router);

/**
 * The name of a publisher, or NULL to pass. A name that the relay does not have is a mistake: the
 * message is held and the log says so, as when a rule fails. The message is borrowed for the call;
 * the name must live until the next call of the thread. Called from the relay's workers, several at
 * once.
 */
typedef const char *(*outbox_route_fn)(void *ctx, const struct outbox_message *message);

/** A route that asks a function. ctx is the caller's and must outlive the relay. */
int outbox_router_add_function(struct outbox_router *router, outbox_route_fn fn, void *ctx);

/** A route by a header's value: map[].name is the value, map[].value the publisher. */
int outbox_router_add_header_map(struct outbox_router *router, const char *header,
                                 const struct outbox_setting *map);

/** A route by a header whose value is a publisher's own name, one of the n given. */
int outbox_router_add_destination(struct outbox_router *router, const char *header,
                                  const char *const *publishers, uint64_t n);

/** What no route takes goes there. */
int outbox_router_set_fallback(struct outbox_router *router, const char *publisher);

/* ---- relays ---- */

struct outbox_relay;

/**
 * How a relay works; zero means the daemon's default. Set `size`. Times in milliseconds,
 * OUTBOX_NEVER where a duration may be `never`.
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
    /** What no route takes: 0: held, 1: failed. */
    uint32_t unrouted_fail;
    /** The daemon's log goes to this descriptor, which stays open; 0: none. */
    int32_t log_fd;
    /** A label for people; NULL: the host's name. */
    const char *name;
    /** Payload bytes of a batch at most; a larger message travels alone. */
    uint64_t batch_bytes;
    /** A larger payload, in bytes, is not read: the message fails at once. */
    uint64_t max_message;
    /** How long failed messages are kept; the default is OUTBOX_NEVER. */
    int64_t retention_failed_ms;
    /** How long outbox_relay_stop tries to settle what is in flight. */
    int64_t shutdown_timeout_ms;
};
#define OUTBOX_RETENTION_DELETE (-1)

/** options: NULL: all defaults. OUTBOX_E_CONFIG: one is outside the range that outboxd allows. */
int outbox_relay_new(const struct outbox_relay_options *options, struct outbox_relay **ret,
                     struct outbox_err *err);

/** Where messages come from; once, unless it failed. As outbox_store_open. */
int outbox_relay_set_store(struct outbox_relay *relay, const char *plugin_dir, const char *plugin,
                           const struct outbox_setting *settings, struct outbox_err *err);

/**
 * A publisher plugin under a name of [a-z0-9-]{1,63}; plugins come from the store's folder.
 * OUTBOX_E_CONFIG also when its own time-out is not shorter than batch_timeout_ms.
 */
int outbox_relay_add_publisher(struct outbox_relay *relay, const char *name, const char *plugin,
                               const struct outbox_setting *settings, struct outbox_err *err);

/**
 * Publishes messages in the application's own way: the same contract as `publish` of
 * <outbox/publisher.h>. Called from the relay's workers, as many at once as there are workers.
 */
typedef int (*outbox_publish_fn)(void *ctx, const struct outbox_message *const *messages,
                                 uint64_t n, const struct outbox_call *call,
                                 struct outbox_outcome *const *outcomes, struct outbox_err *err);

/** A publisher made from a function. ctx is the caller's and must outlive the relay. */
int outbox_relay_add_function(struct outbox_relay *relay, const char *name, outbox_publish_fn fn,
                              void *ctx, struct outbox_err *err);

/**
 * The routes; copied, so that the router may be freed. After all publishers; once, unless it
 * failed.
 */
int outbox_relay_set_router(struct outbox_relay *relay, const struct outbox_router *router,
                            struct outbox_err *err);

/**
 * Starts the relay's threads, which take no signals, and returns. A database that is not there yet
 * is waited for.
 */
int outbox_relay_start(struct outbox_relay *relay, struct outbox_err *err);

/**
 * Stops it: nothing new is begun, what is in flight is finished or given back. OUTBOX_E_TIMEOUT
 * when that took longer than timeout_ms; it goes on stopping then, and may be called again. What
 * cannot be settled is given up when the option shutdown_timeout_ms has passed since the first
 * call. Signals do not interrupt it.
 */
int outbox_relay_stop(struct outbox_relay *relay, uint32_t timeout_ms, struct outbox_err *err);

/** What was done since the start. Set `size`. Any thread. */
struct outbox_relay_counts {
    uint32_t size;
    uint32_t reserved;
    uint64_t accepted;
    uint64_t retried;
    uint64_t failed;
    uint64_t stale; /* settled too late: these may arrive twice */
};
void outbox_relay_count(const struct outbox_relay *relay, struct outbox_relay_counts *ret);

/** Stops it if need be, without a deadline, and frees it. */
void outbox_relay_free(struct outbox_relay *relay);

#ifdef __cplusplus
}
#endif
#endif
