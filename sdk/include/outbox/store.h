/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/store.h - the operations of a store plugin (DRAFT of ABI 1).
 *
 * A store has the table of messages. The host claims a batch, publishes its messages, settles
 * them, and releases the batch:
 *
 *     claim -> settle (once, or in parts) -> release
 *
 * A store protects a claim by leases in the rows, or by row locks in an open transaction. The
 * capabilities say what the host must know of the difference.
 *
 * An instance has one claimed batch at most. The host settles and releases it on the instance that
 * claimed it, and calls nothing else on that instance before the release, except renew and close;
 * close releases the batch. The database's clock decides what is due and what has expired.
 *
 * Every operation that takes a struct outbox_call may block for its timeout_ms, and returns one of
 * the OUTBOX_E_ classes of <outbox/abi.h> when it fails. Inputs are borrowed for the call.
 *
 * REFUSED ROWS. A database may refuse to change or delete one row: for a check, a trigger that
 * raises or that skips the row, row security, a missing privilege, a foreign key, damage, or a lock
 * of another session. One rule holds for claim, settle, release, renew, the end of leases,
 * requeue, discard and purge:
 *   - What fails for several rows and passes for a part of them is refused for the rest, whatever
 *     the database's code for it; only what fails without any row, too, is an outage of the store.
 *   - The store finds the refused row, and the operation succeeds for the others.
 *   - A message that was to be deleted and cannot be is kept as processed.
 *   - Another message whose outcome is refused gets its second outcome, see
 * outbox_settle.refused_action, with the database's words as its reason. So it is charged, and ends
 * as a dead letter.
 *   - A row of which not even that can be written goes to the quarantine: the store leaves it for a
 *     minute, then for longer and longer, up to an hour; it logs that with the row and the
 *     reason, and counts it in outbox_batch.n_quarantined. It is not published meanwhile.
 */
#ifndef OUTBOX_STORE_H
#define OUTBOX_STORE_H

#include <outbox/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Statuses of a row, bits. The column `status` has their names in lower case. */
#define OUTBOX_PENDING 1u
#define OUTBOX_PROCESSING 2u
#define OUTBOX_PROCESSED 4u
#define OUTBOX_FAILED 8u

/**
 * Capabilities of an instance, bits. The lower half is critical, see <outbox/abi.h>. There are no
 * bits for the optional operations: one that is NULL, or that returns OUTBOX_E_NOTSUP, is not
 * there.
 */
#define OUTBOX_STORE_KEY_ORDER 1u /* claim supports OUTBOX_CLAIM_KEY_ORDER */
#define OUTBOX_STORE_LANES 2u     /* claim by lane, settle OUTBOX_SETTLE_PARKED */
#define OUTBOX_STORE_SPLIT 4u     /* settle OUTBOX_SETTLE_SPLIT */
#define OUTBOX_STORE_DELAY 8u     /* settle OUTBOX_SETTLE_RETRY with a delay */
#define OUTBOX_STORE_PARTIAL 16u  /* settle several times before release; else once */
#define OUTBOX_STORE_FREES_ON_DEATH \
    32u                         /* the claim of a dead relay is free before its lease ends */
#define OUTBOX_STORE_RENEWS 64u /* renew extends the lease of a claim */
#define OUTBOX_STORE_WAITS 128u /* wait returns when a producer has committed */

/** What to claim. The host owns it. */
#define OUTBOX_CLAIM_KEY_ORDER 1u /* flag: keep the order of each key */
struct outbox_claim {
    uint32_t size;
    uint32_t flags;
    uint32_t limit;    /* how many messages at most; at least 1 */
    uint32_t lease_ms; /* how long the lease lasts unless it is renewed; row locks have none */
    /** How many bytes all columns of a batch may have. One larger message comes in a batch of its
     * own. */
    uint64_t max_bytes;
    /** A payload of more bytes is not loaded: the message has a `defect`. */
    uint64_t max_message;
    /** NULL: rows without a lane. Else only rows of this lane. */
    struct outbox_str lane;
    /** The id of the relay that claims. A store keeps it for people, if it has a place for it. */
    struct outbox_str relay;
    /**
     * The host intends to settle or release the batch within this time, ms; 0: unknown. A store
     * that keeps a transaction open for the batch makes the database end it a little later.
     */
    uint32_t hold_ms;
    /** A message with more headers, or with more bytes in its headers column, has a `defect`; the
     * column is not loaded then. 0: no limit. */
    uint32_t max_headers;
    uint64_t max_header_bytes;
};

/** A claimed batch. The store owns it; it is valid until release. */
struct outbox_batch {
    uint32_t size;
    uint32_t n; /* messages */
    const struct outbox_message *const *messages;
    /** The name of the claim, for renew on any instance of this store; NULL: nothing to renew, as
     * in a batch without messages, or with row locks. */
    struct outbox_str lease;
    /** When the next message that is not due yet will be due, ms from now; -1: none is known. The
     * end of another claim's lease counts as such a time. Never 0 for what cannot be claimed. */
    int64_t next_due_ms;
    /** Not 0: limit or max_bytes ended the claim, and more messages may be due now. */
    uint32_t more;
    /** How many rows this instance has in quarantine now, and why the last one (NULL: none). */
    uint32_t n_quarantined;
    struct outbox_str quarantine_reason;
};

/**
 * The actions of a settle: what becomes of a claimed message. DONE and SPLIT empty last_error,
 * which tells why a message waits or failed.
 */
#define OUTBOX_SETTLE_DONE 1u   /* processed; with OUTBOX_SETTLE_DELETE it is deleted */
#define OUTBOX_SETTLE_RETRY 2u  /* pending again, due after delay_ms */
#define OUTBOX_SETTLE_FAILED 3u /* failed: a dead letter */
#define OUTBOX_SETTLE_PARKED 4u /* pending in `lane`, due now */
#define OUTBOX_SETTLE_SPLIT 5u  /* processed, and a copy in each of `lanes` */

/** The flags of a settle; no flag is an action. */
#define OUTBOX_SETTLE_CHARGE 0x100u /* retries + 1 */
#define OUTBOX_SETTLE_REASON 0x200u /* last_error becomes `reason`; NULL: empty */
#define OUTBOX_SETTLE_DELETE 0x400u /* DONE: the row is deleted instead of kept as processed */

/** How to settle one message. The host owns it; the store borrows it for the call. */
struct outbox_settle {
    uint32_t size;
    uint32_t index;  /* into batch->messages; each message at most once */
    uint32_t action; /* OUTBOX_SETTLE_DONE ... */
    uint32_t flags;
    int64_t delay_ms;               /* RETRY: from now, by the database's clock */
    struct outbox_str reason;       /* any bytes; the store makes them fit its column */
    struct outbox_str lane;         /* PARKED */
    const struct outbox_str *lanes; /* SPLIT: n_lanes lanes */
    uint64_t n_lanes;
    /**
     * What to write if the database refuses this outcome for this row alone: OUTBOX_SETTLE_RETRY
     * or OUTBOX_SETTLE_FAILED, with its flags and its delay; its reason is the database's words.
     * 0: nothing; the row goes to the quarantine then.
     */
    uint32_t refused_action;
    uint32_t refused_flags;
    int64_t refused_delay_ms;
};

/** What became of a settled item, in the array of settle. */
#define OUTBOX_SETTLED 0u
#define OUTBOX_SETTLED_STALE 1u       /* the claim of the row was lost; the row is unchanged */
#define OUTBOX_SETTLED_REFUSED 2u     /* the row has its second outcome */
#define OUTBOX_SETTLED_QUARANTINED 3u /* the row is unchanged, and is in quarantine */

/** Which rows an administrative call takes. A field that is 0 or NULL does not restrict them. */
struct outbox_filter {
    uint32_t size;
    uint32_t statuses;            /* bits */
    struct outbox_str topic;      /* an fnmatch pattern, matched without flags; a NUL follows it */
    struct outbox_str lane;       /* the name of a publisher */
    const struct outbox_str *ids; /* n_ids row ids or origin ids */
    uint64_t n_ids;
    /** Only rows that were processed at least this many ms ago; rows of other statuses: created. */
    int64_t older_than_ms;
};

/** A row with all its columns, for people. The store owns it. */
struct outbox_row {
    uint32_t size;
    uint32_t status;                      /* one bit */
    const struct outbox_message *message; /* `id` is sent with it, `row_id` is the row's id */
    struct outbox_str last_error;
    struct outbox_str lane;      /* NULL: none */
    struct outbox_str origin_id; /* NULL: not a copy */
    int64_t lane_seq;            /* 0: none */
    int64_t processed_us;        /* 0: not processed */
    int64_t available_us;        /* when it is due; 0: at once, INT64_MAX: never */
};

/** A page of rows in the order of seq. The store owns it until the next call on the instance. */
struct outbox_page {
    uint32_t size;
    uint32_t n;
    const struct outbox_row *const *rows;
};

/** Flag of stats: count all rows, however long it takes. */
#define OUTBOX_STATS_EXACT 1u
/** Bits of at_least: this count is a lower bound. */
#define OUTBOX_STATS_PENDING 1u
#define OUTBOX_STATS_DELAYED 2u
#define OUTBOX_STATS_PROCESSING 4u
#define OUTBOX_STATS_PROCESSED 8u
#define OUTBOX_STATS_FAILED 16u
/** How many rows there are. The host owns it and sets `size`. */
struct outbox_stats {
    uint32_t size;
    uint32_t at_least;
    uint64_t pending;    /* and due */
    uint64_t delayed;    /* pending, but not due yet */
    uint64_t processing; /* claimed under a lease */
    uint64_t processed;
    uint64_t failed;
    int64_t oldest_pending_us; /* created_at of the oldest that is pending and due; 0: none */
    int64_t now_us;            /* the database's clock */
    uint64_t unknown;          /* whose status is none of those: nobody ever sends them */
    uint64_t parked;           /* of `pending`: in a lane */
};

/** Whether a relay lives, as the database tells. */
#define OUTBOX_RELAY_UNKNOWN 0u /* it cannot tell: alive_us is all that is known */
#define OUTBOX_RELAY_LIVES 1u
#define OUTBOX_RELAY_DEAD 2u

/** The row of one relay in the table outbox_messages_relays. */
struct outbox_relay_row {
    uint32_t size;
    uint32_t clean;         /* 1: the relay has ended, and cleanly */
    struct outbox_str id;   /* random, new for each run */
    struct outbox_str name; /* [relay] name */
    struct outbox_str config_hash;
    struct outbox_str state; /* JSON object: rates, states of publishers; outboxd-status(8) */
    struct outbox_str version;
    int64_t started_us; /* the store sets it at the first put, by the database's clock */
    int64_t alive_us;   /* the store sets it at every put */
    uint32_t lives;     /* OUTBOX_RELAY_ ...; only in a list */
    uint32_t reserved;
};
/** All relays. The store owns it until the next call on the instance. */
struct outbox_relay_page {
    uint32_t size;
    uint32_t n;
    const struct outbox_relay_row *const *rows;
    int64_t now_us; /* the database's clock */
};

/** A typed argument of a statement; see outbox_exec. INT uses `i`, TEXT and BLOB use `s`. */
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
 * A function of the caller that runs a store's statements: in the transaction of a producer
 * (save), or by printing them (schema). The caller owns the struct; `ctx` is passed to `run`.
 * `sql` is one statement in the SQL of that database, with its placeholders, and borrowed like
 * `args`. `run` returns OUTBOX_OK, or a negative OUTBOX_E_ class with *err filled.
 */
struct outbox_exec {
    uint32_t size;
    uint32_t reserved;
    void *ctx;
    int (*run)(void *ctx, const char *sql, const struct outbox_arg *const *args, uint64_t n,
               struct outbox_err *err);
};

/** A message to write. Where id, key, payload or headers are NULL, the column has its default. */
struct outbox_new {
    uint32_t size;
    uint32_t reserved;
    struct outbox_str id;
    struct outbox_str topic;
    struct outbox_str key;
    struct outbox_str payload;
    const struct outbox_header *headers;
    uint64_t n_headers;
    int64_t delay_ms; /* due this many ms after now; 0: at once */
};

struct outbox_store_ops {
    uint32_t size;
    uint32_t reserved;

    /**
     * Validates the options, allocates, and does not connect or block. Sets *ret to the new
     * instance, which the plugin owns; does not change *ret when it fails. host and cfg stay
     * valid until close has returned. Errors: OUTBOX_E_CONFIG (the value of an option),
     * OUTBOX_E_RETRY (memory).
     */
    int (*open)(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);

    /** Releases the claimed batch, if any, and frees the instance. The host may pass NULL. */
    void (*close)(void *instance);

    /** Returns OUTBOX_STORE_ bits, without blocking. */
    uint64_t (*capabilities)(void *instance);

    /**
     * Connects if it is not connected, and checks the table, for a person who wants to know whether
     * a relay would work: other operations check only what they need. OUTBOX_OK: the table is there
     * and fits, and the user has the privileges that a relay needs. OUTBOX_E_CONFIG: it is missing,
     * incomplete or too old, and the text names `outboxd init`; or it is newer than this store
     * knows, or a privilege is missing, and the text says so. OUTBOX_E_RETRY: the database cannot
     * be reached. What does not stop a relay is logged as a warning.
     */
    int (*check)(void *instance, const struct outbox_call *call, struct outbox_err *err);

    /** Passes the statements that create the table to `exec`, with comments. Does not connect. A
     * store without statements returns OUTBOX_E_NOTSUP. */
    int (*schema)(void *instance, const struct outbox_exec *exec, struct outbox_err *err);

    /**
     * Creates the table, or upgrades it in place. *ret says in one line what was done, for people;
     * it belongs to the store and is valid until the next call.
     */
    int (*init)(void *instance, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err);

    /**
     * Claims messages that are due, oldest first, and messages whose lease has expired. Messages
     * that come again after a delay have half of a batch, if there are more of both kinds than it
     * holds, so that neither starves; a batch has the order of seq all the same. Where
     * there are none, the result is OUTBOX_OK and a batch with n == 0, which must be released,
     * too. A claim whose lease has expired charges nothing. Negative: there is no batch.
     */
    int (*claim)(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
                 struct outbox_batch **ret, struct outbox_err *err);

    /**
     * Settles n messages of the batch, durably when the result is OUTBOX_OK: in one transaction,
     * and in more only if the database refuses rows (see above). settled[i] becomes OUTBOX_SETTLED
     * or one of its like for item i. After an error other than OUTBOX_E_BROKEN the host may call it
     * again with the same items; a store does nothing twice even if the failed call has committed.
     * An action that the store does not know is OUTBOX_E_NOTSUP, before anything is settled.
     * Without OUTBOX_STORE_PARTIAL, one call that succeeds is the last one for the batch.
     */
    int (*settle)(void *instance, struct outbox_batch *batch,
                  const struct outbox_settle *const *items, uint64_t n,
                  const struct outbox_call *call, uint8_t *settled, struct outbox_err *err);

    /**
     * Makes the messages that were not settled claimable again, uncharged and due at once (their
     * available_at stays, since it is past), and frees the batch. It frees the batch even when it
     * fails; the claim then ends with its lease or its transaction.
     */
    int (*release)(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
                   struct outbox_err *err);

    /* ---- optional from here: a store that does not support an operation leaves it NULL ---- */

    /**
     * Makes a lease end lease_ms from now. Any instance of the store, also one that has no batch.
     * *ret_held: how many rows the lease still has.
     */
    int (*renew)(void *instance, struct outbox_str lease, uint32_t lease_ms,
                 const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err);

    /**
     * Waits until a message may be claimable that was not at the last wait of this instance:
     * OUTBOX_OK. It may return without a new message, but it must not miss a commit. Else
     * OUTBOX_E_TIMEOUT or OUTBOX_E_CANCELLED. The host polls with claim, too.
     */
    int (*wait)(void *instance, const struct outbox_call *call, struct outbox_err *err);

    /**
     * Tells the store that all workers are busy, and that the host will not wait for some time:
     * producers need not send notifications until then. The next wait returns at once if a commit
     * may have been missed.
     */
    int (*wait_stop)(void *instance, const struct outbox_call *call, struct outbox_err *err);

    /** Reads at most limit rows with seq > after; INT64_MIN: from the first, whatever its seq. The
     * store owns *ret until the next call. */
    int (*list)(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
                const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err);

    /**
     * Makes failed rows pending again, with retries 0 and without a lane; last_error stays.
     * Takes at most limit rows with seq > *after, in the order of seq. *after becomes the seq of
     * the last of them, *ret_n their number. Rows that are not failed are never changed. The store
     * logs which rows the database refuses to change. OUTBOX_E_CONFIG: it refused some, and there
     * were no others.
     */
    int (*requeue)(void *instance, const struct outbox_filter *filter, int64_t *after,
                   uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                   struct outbox_err *err);

    /** Deletes failed rows; otherwise like requeue. */
    int (*discard)(void *instance, const struct outbox_filter *filter, int64_t *after,
                   uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                   struct outbox_err *err);

    /** Deletes at most limit rows of the filter that are processed or failed, never others. *ret_n:
     * how many. Rows that the database does not delete stay as they are, and later calls pass them
     * over for a while. */
    int (*purge)(void *instance, const struct outbox_filter *filter, uint32_t limit,
                 const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);

    /** Counts the rows of a lane; `lane` NULL: all rows. flags: 0 or OUTBOX_STATS_EXACT. */
    int (*stats)(void *instance, struct outbox_str lane, uint32_t flags,
                 const struct outbox_call *call, struct outbox_stats *ret, struct outbox_err *err);

    /**
     * Writes the row of this relay, and deletes rows of relays that ended long ago. From the first
     * put on, until one with `clean` or close, the instance holds a lock in the database by which
     * relay_list tells others that this relay lives; the database frees it when the process ends
     * however it ends. A put finds out whether the lock was lost, and takes it again.
     */
    int (*relay_put)(void *instance, const struct outbox_relay_row *row,
                     const struct outbox_call *call, struct outbox_err *err);

    /** Reads the rows of all relays. */
    int (*relay_list)(void *instance, const struct outbox_call *call,
                      struct outbox_relay_page **ret, struct outbox_err *err);

    /**
     * Writes n messages: through `exec`, in the transaction of the producer and without the
     * connection of this instance; or, if exec is NULL, in a transaction of the instance. Where id
     * is NULL the database makes one. OUTBOX_E_EXISTS: a message with that id is there; none was
     * written. With `exec` that error is the caller's own.
     */
    int (*save)(void *instance, const struct outbox_new *const *rows, uint64_t n,
                const struct outbox_exec *exec, const struct outbox_call *call,
                struct outbox_err *err);
};

#ifdef __cplusplus
}
#endif
#endif
