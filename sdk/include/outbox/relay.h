/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/relay.h - the part of liboutbox that relays messages: routers, publishers made from
 * functions, and relays. <outbox/outbox.h> includes it, and says what holds for all of it: errors,
 * sizes of structs, ownership, threads.
 */
#ifndef OUTBOX_RELAY_H
#define OUTBOX_RELAY_H

#include <outbox/outbox.h>
#include <outbox/publisher.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- outcomes, for functions that publish ---- */

/**
 * Sets the outcome of one message: a verdict, OUTBOX_ACCEPTED ... OUTBOX_UNAVAILABLE, and the
 * reason, formatted as by printf (NULL: none). The library keeps the reason until it is settled.
 *
 * `outcome` is one that a publish function of this library got, or that outbox_outcomes_new made;
 * any other, as in a plugin, gets the verdict alone. Any thread, one at a time for an outcome.
 */
OUTBOX_PRINTF(3, 4)
void outbox_outcome_set(struct outbox_outcome *outcome, uint32_t verdict, const char *fmt, ...);

/**
 * Sets the outcome of all messages of a call that have none yet. Returns OUTBOX_OK, so that a
 * function that could not publish charges its messages by
 *
 *     return outbox_outcome_set_rest(outcomes, n, OUTBOX_RETRY, "cannot write: %s", why);
 */
OUTBOX_PRINTF(4, 5)
int outbox_outcome_set_rest(struct outbox_outcome *const *outcomes, uint64_t n, uint32_t verdict,
                            const char *fmt, ...);

/** n unset outcomes: for tests of a publish function, and for functions that ask several
 * publishers. Reasons live until outbox_outcomes_free. NULL: out of memory. */
struct outbox_outcome **outbox_outcomes_new(uint64_t n);
void outbox_outcomes_free(struct outbox_outcome **outcomes);

/* ---- publishers of your own use ---- */

/**
 * A publisher plugin without a relay, for publish functions that wrap one: to count, to filter, to
 * send to two. Any thread may use it, several at the same time: each call takes an instance from a
 * pool, so that there are as many as calls at the same time.
 */
struct outbox_publisher;

/** Opens a publisher plugin; arguments and errors as outbox_store_open. */
int outbox_publisher_open(const char *plugin_dir, const char *plugin,
                          const struct outbox_setting *settings, struct outbox_publisher **ret,
                          struct outbox_err *err);
/** No other call may be under way. */
void outbox_publisher_close(struct outbox_publisher *publisher);

/** Lets the publisher log to fn. Before other calls. */
void outbox_publisher_set_log(struct outbox_publisher *publisher, outbox_log_fn fn, void *ctx);

/** Can messages be published now? As `check` of <outbox/publisher.h>. */
int outbox_publisher_check(struct outbox_publisher *publisher, const struct outbox_call *call,
                           struct outbox_err *err);

/**
 * Publishes, as `publish` of <outbox/publisher.h>; all outcomes are set anew. `call` is the one
 * that your function got, or one with less time. The reasons are copied into outcomes of this
 * library (see outbox_outcome_set); other outcomes get none. Between calls nobody serves the
 * connection of the plugin, so that the other side may end it: the next call connects again.
 */
int outbox_publisher_publish(struct outbox_publisher *publisher,
                             const struct outbox_message *const *messages, uint64_t n,
                             const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                             struct outbox_err *err);

/* ---- routers ---- */

/**
 * The routes of a relay, built in code. They are tried in the order in which they were added; the
 * first route that names a publisher wins.
 *
 * Functions that add to a router fail only for want of memory. The router remembers that, and takes
 * a router that is NULL for such a failure, so that only outbox_relay_set_router needs to be
 * checked.
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

/** Adds the routes of another router, and its fallback as the last of them. Copies them. */
int outbox_router_add_router(struct outbox_router *router, const struct outbox_router *other);

/** Sets the publisher of the messages that no route takes. */
int outbox_router_set_fallback(struct outbox_router *router, const char *publisher);

/** Where a message goes. The caller owns it and sets `size`. */
struct outbox_resolved {
    uint32_t size;
    uint32_t route; /* the number of the route that took it, from 1; 0: the fallback */
    /** The publisher. It belongs to the router, or to the function that returned it. A message goes
     * to one publisher; when it may go to several, fields at the end of this struct have them. */
    const char *publisher;
    char why[512]; /* for people: each route that was tried, and what it said */
};

/**
 * Asks a router where a message goes, without a relay or a store: for tests of routes. The message
 * needs no more than `size` and what the routes look at. OUTBOX_E_NOTSUP: no route takes it, and
 * there is no fallback. A publisher of any name is fine here. Any thread, several at the same time,
 * unless one changes the router.
 */
int outbox_router_resolve(const struct outbox_router *router, const struct outbox_message *message,
                          struct outbox_resolved *ret, struct outbox_err *err);

/** The same in short, as an outbox_route_fn whose ctx is a const struct outbox_router *: so a route
 * asks another router, and a function can do so when it likes. NULL: no route takes it. */
const char *outbox_router_ask(void *router, const struct outbox_message *message);

/* ---- making a relay ---- */

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
    /** A message with more headers, or more bytes in its headers column, fails. */
    uint32_t max_headers;
    /** 1: watch what plugins do, as `check_plugins = yes`. */
    uint32_t check_plugins;
    uint64_t max_header_bytes;
    /** The log goes to this function instead of log_fd; log_ctx is passed to it, and stays yours.
     */
    outbox_log_fn log_fn;
    void *log_ctx;
    /** What is logged, of both: up to this level; 0: OUTBOX_LOG_INFO. */
    int32_t log_level;
    uint32_t reserved;
    /** Where plugins are found; NULL: where they were installed. */
    const char *plugin_dir;
};
#define OUTBOX_RETENTION_DELETE (-1)

/** options NULL: all defaults. OUTBOX_E_CONFIG: a value is outside the range of outboxd.ini(5). */
int outbox_relay_new(const struct outbox_relay_options *options, struct outbox_relay **ret,
                     struct outbox_err *err);

/** Sets the store, with the arguments of outbox_store_open; plugin_dir NULL: that of the options.
 * Succeeds once. */
int outbox_relay_set_store(struct outbox_relay *relay, const char *plugin_dir, const char *plugin,
                           const struct outbox_setting *settings, struct outbox_err *err);

/** Sets a store that is made from functions, with the arguments of outbox_store_from_ops. A relay
 * opens an instance for each worker and three more; and up to three more for each worker, while
 * asynchronous publishers are slow. Succeeds once, instead of the other. */
int outbox_relay_set_store_ops(struct outbox_relay *relay, const struct outbox_store_ops *ops,
                               void *ctx, struct outbox_err *err);

/**
 * Adds a publisher plugin from the plugin_dir of the store. name matches [a-z0-9-]{1,63}.
 * OUTBOX_E_CONFIG: there is no such plugin, an option is wrong, or the time-out of the plugin is
 * not shorter than batch_timeout_ms.
 */
int outbox_relay_add_publisher(struct outbox_relay *relay, const char *name, const char *plugin,
                               const struct outbox_setting *settings, struct outbox_err *err);

/**
 * Publishes messages: sets an outcome for each, and returns OUTBOX_OK.
 *
 * A NEGATIVE RESULT IS NOT THE FAILURE OF THE MESSAGES. It says that the publisher as a whole
 * cannot work now: the relay pauses it, with growing pauses, and charges no message that has no
 * outcome, so that these are tried again for ever. What is wrong with a message is its outcome:
 * OUTBOX_RETRY charges it, and after max_retries it is a dead letter; OUTBOX_REJECTED fails it at
 * once. To charge all of them: `return outbox_outcome_set_rest(outcomes, n, OUTBOX_RETRY, ...)`.
 *
 * Otherwise the contract is that of `publish` in <outbox/publisher.h>: return within
 * call->timeout_ms, and soon when call->cancel_fd becomes readable; messages are borrowed for the
 * call; a reason that is not set by outbox_outcome_set must be valid until the thread's next call.
 * The workers of the relay call the function, all of them at the same time (see `concurrency`).
 */
typedef int (*outbox_publish_fn)(void *ctx, const struct outbox_message *const *messages,
                                 uint64_t n, const struct outbox_call *call,
                                 struct outbox_outcome *const *outcomes, struct outbox_err *err);

/** Adds a publisher that calls fn. ctx stays yours and must outlive the relay. */
int outbox_relay_add_function(struct outbox_relay *relay, const char *name, outbox_publish_fn fn,
                              void *ctx, struct outbox_err *err);

/** What one publisher has of its own. A field that is 0 or NULL is as in the relay's options. */
struct outbox_publisher_options {
    uint32_t size;
    uint32_t batch_size;
    uint32_t max_retries;
    /** Functions: how many calls at the same time, check among them; 0: as many as workers. With 1
     * no two calls ever overlap, though their thread may change. The time in which one waits for
     * another counts as its own. */
    uint32_t concurrency;
    int64_t batch_timeout_ms;
    int64_t retry_min_ms;
    int64_t retry_max_ms;
    /** Functions: can messages be published now? A paused publisher is asked before it gets some.
     * Errors as `check` of <outbox/publisher.h>. */
    int (*check)(void *ctx, const struct outbox_call *call, struct outbox_err *err);
    /** Functions: frees ctx. outbox_relay_free calls it, once and after all other calls. */
    void (*close)(void *ctx);
};

/** Sets the options of a publisher that was added, before the relay starts. OUTBOX_E_CONFIG: there
 * is none of that name, a value is out of range, or a plugin cannot have it. */
int outbox_relay_set_publisher(struct outbox_relay *relay, const char *name,
                               const struct outbox_publisher_options *options,
                               struct outbox_err *err);

/**
 * Sets the routes, after all publishers were added. Copies them, so that you may free the router.
 * Succeeds once. A relay with one publisher needs no router: everything goes there.
 */
int outbox_relay_set_router(struct outbox_relay *relay, const struct outbox_router *router,
                            struct outbox_err *err);

/* ---- running it ---- */

/**
 * Starts the threads of the relay and returns. The threads block all signals but
 * those of a fault. While the database
 * cannot be reached, the relay tries to connect again.
 */
int outbox_relay_start(struct outbox_relay *relay, struct outbox_err *err);

/** What a relay did. Set `size`. */
struct outbox_relay_counts {
    uint32_t size;
    uint32_t reserved;
    uint64_t accepted;
    uint64_t retried;
    uint64_t failed;
    uint64_t stale;    /* settled after their claim was lost: these may arrive twice */
    uint64_t unrouted; /* outbox_relay_run_once: no route takes them; they are held */
    uint64_t due;      /* outbox_relay_run_once: left, and due or claimed by others */
    uint64_t delayed;  /* outbox_relay_run_once: left, and not due yet */
};

/** Counts what was done since outbox_relay_new. OUTBOX_E_CONFIG: ret->size is 0. Any thread. */
int outbox_relay_count(const struct outbox_relay *relay, struct outbox_relay_counts *ret);

/**
 * Runs the relay until no message is due, nor will be within wait_ms of what was done last, as
 * `outboxd run --once`; nothing of it runs any more when the function returns. *ret (may be NULL)
 * is what this run did, also after a failure.
 *
 * OUTBOX_OK: all that is due was tried, however it went: look at *ret. OUTBOX_E_RETRY: the store or
 * a publisher was unavailable for wait_ms; the text says which and why. OUTBOX_E_CONFIG: the relay
 * runs already.
 */
int outbox_relay_run_once(struct outbox_relay *relay, uint32_t wait_ms,
                          struct outbox_relay_counts *ret, struct outbox_err *err);

/**
 * Waits until a relay that runs is idle: no message is due or claimed, all that was sent is settled
 * and counted, and nothing waits for the store or a publisher to be available. It does not wait for
 * what is due later, such as messages that are retried or held. It opens one more instance of the
 * store. For tests, instead of sleeping.
 *
 * OUTBOX_E_TIMEOUT: it was not idle within timeout_ms; the text says what it does or waits for.
 * OUTBOX_E_NOTSUP: the store cannot count its rows. OUTBOX_E_CONFIG: the relay does not run, or one
 * of its callbacks called.
 */
int outbox_relay_wait_idle(struct outbox_relay *relay, uint32_t timeout_ms, struct outbox_err *err);

/**
 * Stops the relay: it claims no more messages, and settles or releases those that are in flight.
 * OUTBOX_E_TIMEOUT: that takes longer than timeout_ms; the relay goes on stopping, and you may call
 * the function again. shutdown_timeout_ms after the first call the relay gives up what it could not
 * settle. Signals do not interrupt the function. OUTBOX_E_CONFIG: a callback of this relay called
 * it, and would wait for itself. A relay that has stopped may be started again.
 */
int outbox_relay_stop(struct outbox_relay *relay, uint32_t timeout_ms, struct outbox_err *err);

/**
 * Stops the relay if it runs, without a deadline, and frees it. It waits for all callbacks; if one
 * of them calls it, the process ends by abort.
 */
void outbox_relay_free(struct outbox_relay *relay);

#ifdef __cplusplus
}
#endif
#endif
