/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/store.h - the operations of a store plugin (DRAFT of ABI 1).
 *
 * A store holds the table of messages. The host claims a batch, publishes it, settles
 * every message of it, and gives the batch back:
 *
 *     claim -> settle (once, or in parts) -> release
 *
 * A claim may be kept by leases in the rows or by row locks in an open transaction;
 * the host cannot tell, except through capabilities. At most one batch is held per
 * instance; claim, settle and release of one batch go to the same instance, which
 * is asked for nothing else until the release, and closing an instance releases its batch. Times
 * that decide anything (due, expired) are taken from the database's clock.
 */
#ifndef OUTBOX_STORE_H
#define OUTBOX_STORE_H

#include <outbox/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Statuses of a row, as bits for filters; their names are in the table's `status` column. */
#define OUTBOX_PENDING 1u
#define OUTBOX_PROCESSING 2u
#define OUTBOX_PROCESSED 4u
#define OUTBOX_FAILED 8u

/** Capabilities of an instance. */
#define OUTBOX_STORE_KEY_ORDER 1u /* claim honours OUTBOX_CLAIM_KEY_ORDER */
#define OUTBOX_STORE_LANES 2u     /* claim by lane, settle OUTBOX_SETTLE_PARKED */
#define OUTBOX_STORE_SPLIT 4u     /* settle OUTBOX_SETTLE_SPLIT */
#define OUTBOX_STORE_DELAY 8u     /* retry and release after a delay */
#define OUTBOX_STORE_PARTIAL 16u  /* settle more than once before release; else once at most */
#define OUTBOX_STORE_FREES_ON_DEATH \
    32u                         /* a dead relay's claim is free at once, without its lease */
#define OUTBOX_STORE_RENEWS 64u /* leases: renew prolongs a claim */
#define OUTBOX_STORE_WAITS 128u /* wait returns when something is committed */

/** What to claim. */
#define OUTBOX_CLAIM_KEY_ORDER 1u
struct outbox_claim {
    uint32_t size;
    uint32_t flags;
    uint32_t limit;    /* messages, at least 1 */
    uint32_t lease_ms; /* how long the claim lasts unless renewed; ignored by row locks */
    /** Payload bytes the batch may hold; one message larger than this travels alone. */
    uint64_t max_bytes;
    /** A payload over this is not loaded: the message comes with a `defect`. */
    uint64_t max_message;
    /** NULL: rows without a lane. Else rows of this lane only. */
    struct outbox_str lane;
    /** The claiming relay's instance id, kept for people to see where the store can. */
    struct outbox_str relay;
    /**
     * The host means to settle or release the batch within this; 0: unknown. A store that keeps a
     * transaction open for it lets the database end that a little later.
     */
    uint32_t hold_ms;
    uint32_t reserved;
};

/** A claimed batch; the store's until release. */
struct outbox_batch {
    uint32_t size;
    uint32_t n;
    const struct outbox_message *const *messages;
    /** Names the claim for renew, on any instance of this store; NULL when there is nothing to
     * renew. */
    struct outbox_str lease;
    /** Ms until the next message that waits for its time is due, as far as known; -1: none. */
    int64_t next_due_ms;
    /** Not 0: limit or max_bytes ended the claim, there may be more at once. */
    uint32_t more;
    uint32_t reserved;
};

/** What is to become of a claimed message. */
#define OUTBOX_SETTLE_DONE 1u   /* processed; deleted with OUTBOX_SETTLE_DELETE */
#define OUTBOX_SETTLE_RETRY 2u  /* pending again, not before delay_ms */
#define OUTBOX_SETTLE_FAILED 3u /* dead letter */
#define OUTBOX_SETTLE_PARKED 4u /* pending in `lane`, at once */
#define OUTBOX_SETTLE_SPLIT 5u  /* done, and a copy for each of `lanes` */

/** Flags: retries + 1; set last_error to `reason`; delete instead of keeping it as processed. */
#define OUTBOX_SETTLE_CHARGE 1u
#define OUTBOX_SETTLE_REASON 2u
#define OUTBOX_SETTLE_DELETE 4u

struct outbox_settle {
    uint32_t size;
    uint32_t index; /* into batch->messages; each at most once */
    uint32_t action;
    uint32_t flags;
    int64_t delay_ms;               /* RETRY: due this long after now, by the database's clock */
    struct outbox_str reason;       /* any bytes: the store makes them fit its column */
    struct outbox_str lane;         /* PARKED */
    const struct outbox_str *lanes; /* SPLIT; n_lanes of them */
    uint64_t n_lanes;
};

/** Which rows an administrative call is about; zero fields do not restrict. */
struct outbox_filter {
    uint32_t size;
    uint32_t statuses;            /* bits; 0: all */
    struct outbox_str topic;      /* fnmatch pattern with no flags, or NULL */
    struct outbox_str lane;       /* the publisher's name, or NULL */
    const struct outbox_str *ids; /* row ids or origin ids; n_ids of them, 0: all */
    uint64_t n_ids;
    /** Only rows processed (else, of other statuses: created) at least this long ago; 0: all. */
    int64_t older_than_ms;
};

/** A row with all its columns, for people. */
struct outbox_row {
    uint32_t size;
    uint32_t status;                      /* one bit */
    const struct outbox_message *message; /* its `id` is what travels, `row_id` the row's own */
    struct outbox_str last_error;
    struct outbox_str lane;      /* NULL: none */
    struct outbox_str origin_id; /* NULL: not a copy */
    int64_t lane_seq;            /* 0: none */
    int64_t processed_us;        /* 0: not processed */
    int64_t available_us;        /* 0: at once */
};

/** A page of rows, in order of seq; the store's until the next call on the instance. */
struct outbox_page {
    uint32_t size;
    uint32_t n;
    const struct outbox_row *const *rows;
};

/** Counts. A count with its OUTBOX_STATS_ bit in `at_least` is a lower bound. */
#define OUTBOX_STATS_EXACT 1u /* flag of stats(): count everything, however long it takes */
#define OUTBOX_STATS_PENDING 1u
#define OUTBOX_STATS_DELAYED 2u
#define OUTBOX_STATS_PROCESSING 4u
#define OUTBOX_STATS_PROCESSED 8u
#define OUTBOX_STATS_FAILED 16u
struct outbox_stats {
    uint32_t size;
    uint32_t at_least;
    uint64_t pending;    /* due and waiting; without the delayed ones */
    uint64_t delayed;    /* pending, but not due yet */
    uint64_t processing; /* claimed under a lease */
    uint64_t processed;
    uint64_t failed;
    int64_t oldest_pending_us; /* created_at of the oldest due one; 0: none */
    int64_t now_us;            /* the database's clock */
};

/** One relay's row in the registry, outbox_messages_relays. */
struct outbox_relay_row {
    uint32_t size;
    uint32_t clean;         /* ended cleanly */
    struct outbox_str id;   /* random, one for each run */
    struct outbox_str name; /* [relay] name */
    struct outbox_str config_hash;
    struct outbox_str state; /* JSON object: publisher states, rates; documented in outboxd(1) */
    struct outbox_str version;
    int64_t started_us; /* by the database's clock; set by the store at first */
    int64_t alive_us;   /* set by the store on every put */
};
struct outbox_relay_page {
    uint32_t size;
    uint32_t n;
    const struct outbox_relay_row *const *rows;
    int64_t now_us;
};

/** A typed argument of a statement; see outbox_exec. */
#define OUTBOX_ARG_NULL 0u
#define OUTBOX_ARG_TEXT 1u
#define OUTBOX_ARG_BLOB 2u
#define OUTBOX_ARG_INT 3u
struct outbox_arg {
    uint32_t size;
    uint32_t type;
    int64_t i;
    struct outbox_str s;
};

/**
 * How a store has statements run by somebody else: in a producer's own connection
 * and transaction (save), or onto paper (schema). `sql` is one statement in the
 * store's dialect with its own placeholders; returns 0, or negative and fills *err.
 */
struct outbox_exec {
    uint32_t size;
    uint32_t reserved;
    void *ctx;
    int (*run)(void *ctx, const char *sql, const struct outbox_arg *const *args, uint64_t n,
               struct outbox_err *err);
};

/** A message to be written. NULL id, key, payload or headers leave the column its default. */
struct outbox_new {
    uint32_t size;
    uint32_t reserved;
    struct outbox_str id;
    struct outbox_str topic;
    struct outbox_str key;
    struct outbox_str payload;
    const struct outbox_header *headers;
    uint64_t n_headers;
    int64_t delay_ms; /* not before now + this; 0: at once */
};

struct outbox_store_ops {
    uint32_t size;
    uint32_t reserved;

    /** Validates the options and does not connect. Errors: OUTBOX_E_CONFIG, OUTBOX_E_RETRY. */
    int (*open)(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);

    /** Releases the batch if one is held, frees everything. NULL is allowed. */
    void (*close)(void *instance);

    /** OUTBOX_STORE_ flags. */
    uint64_t (*capabilities)(void *instance);

    /**
     * Connects if need be; OK when the table is there and fits. OUTBOX_E_CONFIG with a text
     * that names `outboxd init` when it is missing or too old, and says so when it is newer
     * than understood; OUTBOX_E_RETRY while the database cannot be reached.
     */
    int (*check)(void *instance, const struct outbox_call *call, struct outbox_err *err);

    /** Runs the statements that create the table, with comments, through `exec`. No connection. */
    int (*schema)(void *instance, const struct outbox_exec *exec, struct outbox_err *err);

    /** Creates or upgrades the table in place. *ret is one line for people on what was done. */
    int (*init)(void *instance, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err);

    /**
     * Claims what is due, oldest first, and what another relay's expired lease held.
     * OUTBOX_OK with ret->n == 0 (a batch that must be released too) when there is nothing.
     */
    int (*claim)(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
                 struct outbox_batch **ret, struct outbox_err *err);

    /**
     * Settles n items of the held batch in one transaction, durable when it returns OK.
     * stale[i] becomes 1 when item i's claim had been lost: nothing was changed, else 0.
     * An error other than OUTBOX_E_BROKEN may be tried again with the same items; what the failed
     * try may have done all the same is not done twice. Without OUTBOX_STORE_PARTIAL it is called
     * at most once for a batch, until it succeeds.
     */
    int (*settle)(void *instance, struct outbox_batch *batch,
                  const struct outbox_settle *const *items, uint64_t n,
                  const struct outbox_call *call, uint8_t *stale, struct outbox_err *err);

    /**
     * Gives back, uncharged and due at once, what was not settled, and frees the batch -
     * also when it fails (then the claim ends by itself).
     */
    int (*release)(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
                   struct outbox_err *err);

    /* ---- optional from here: NULL means what the capabilities say ---- */

    /** Prolongs a claim by lease_ms from now; any instance. *ret_held: rows still held. */
    int (*renew)(void *instance, struct outbox_str lease, uint32_t lease_ms,
                 const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err);

    /**
     * Returns OK when something may have become claimable since this instance's last
     * wait, OUTBOX_E_TIMEOUT, or OUTBOX_E_CANCELLED. Only a hint: the host claims anyway.
     */
    int (*wait)(void *instance, const struct outbox_call *call, struct outbox_err *err);

    /**
     * Nobody will wait for a while: producers need not be made to wake anybody. The next wait
     * returns at once if something may have been missed.
     */
    int (*wait_stop)(void *instance, const struct outbox_call *call, struct outbox_err *err);

    /** Rows with seq > after, at most limit; *ret is the store's until the next call. */
    int (*list)(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
                const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err);

    /**
     * Failed rows only: pending again, retries 0, no lane, last_error kept. In order of seq,
     * rows with seq > *after only, at most limit; *after becomes the last one's seq, *ret_n how
     * many.
     */
    int (*requeue)(void *instance, const struct outbox_filter *filter, int64_t *after,
                   uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                   struct outbox_err *err);

    /** Deletes failed rows only; otherwise as requeue. */
    int (*discard)(void *instance, const struct outbox_filter *filter, int64_t *after,
                   uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                   struct outbox_err *err);

    /** Deletes at most limit processed or failed rows older than the filter says; never claimed
     * ones. */
    int (*purge)(void *instance, const struct outbox_filter *filter, uint32_t limit,
                 const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);

    /** Counts; `lane` NULL: all rows. flags: OUTBOX_STATS_EXACT. */
    int (*stats)(void *instance, struct outbox_str lane, uint32_t flags,
                 const struct outbox_call *call, struct outbox_stats *ret, struct outbox_err *err);

    /** Writes this relay's row and tidies up rows of relays dead for long. */
    int (*relay_put)(void *instance, const struct outbox_relay_row *row,
                     const struct outbox_call *call, struct outbox_err *err);

    /** All rows; the store's until the next call. */
    int (*relay_list)(void *instance, const struct outbox_call *call,
                      struct outbox_relay_page **ret, struct outbox_err *err);

    /**
     * Writes messages: through `exec` in the producer's transaction, without touching this
     * instance's connection; or, with exec NULL, in a transaction of its own.
     */
    int (*save)(void *instance, const struct outbox_new *const *rows, uint64_t n,
                const struct outbox_exec *exec, const struct outbox_call *call,
                struct outbox_err *err);
};

#ifdef __cplusplus
}
#endif
#endif
