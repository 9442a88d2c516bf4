/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.h - an instance of store-sqlite: one connection to one file. The host lets one thread at a
 * time use it, so that no member needs a lock; processes and instances meet in the database only.
 */
#pragma once

#include "common/arena.h"
#include "common/quarantine.h"

#include <outbox/plugin.h>

#include <sqlite3.h>
#include <stdbool.h>
#include <sys/types.h>

/* Statements that stay prepared; each belongs to one place in the code. */
enum stmt {
    STMT_ONCE,       /* all others: prepared for each use */
    STMT_ROW_CHANGE, /* these two: until another text is given */
    STMT_ROW_STILL,
    STMT_BEGIN,
    STMT_COMMIT,
    STMT_BACKLOG,
    STMT_READY,
    STMT_DELAYED,
    STMT_TAKE_RANGE,
    STMT_TAKE_ONE,
    STMT_READ,
    STMT_LEASE_NEW,
    STMT_LEASE_END,
    STMT_LEASE_RENEW,
    STMT_LEASE_COUNT,
    STMT_DONE_DELETE,
    STMT_DONE_KEEP,
    STMT_DELETE_ONE,
    STMT_SETTLE_ONE,
    STMT_IS_HELD,
    STMT_RELEASE,
    STMT_DATA_VERSION,
    STMT_RELAY_PUT,
    STMT_RELAY_TIDY,
    N_STMTS
};

/* A claimed batch; `batch` first: the host's pointer is ours. */
struct claimed {
    struct outbox_batch batch;
    int64_t lease; /* 0: it has none, or none any more */
    char lease_text[24];
    uint8_t *settled; /* for each message: 0, or 1 + OUTBOX_SETTLED ... */
    uint32_t n_unsettled;
    bool has_quarantined; /* rows that stay under the lease */
};

/* An outcome that the database refused, of a row in quarantine. */
struct refused_outcome {
    int64_t seq;
    int64_t lease;
    uint32_t action;
    uint32_t flags;
};
#define REFUSED_OUTCOMES_MAX 200

struct store {
    const struct outbox_host *host;

    /* options */
    char *path;
    char *table;
    int64_t busy_ms;

    /* the connection (connect.c, db.c) */
    sqlite3 *db; /* NULL: none */
    sqlite3_stmt *statements[N_STMTS];
    const char *texts[N_STMTS];
    dev_t file_dev; /* which file it is */
    ino_t file_ino;
    bool suspect; /* it found damage: the next call opens it anew */

    /* the failure of the last statement may be that of a row alone (db.c) */
    bool row_at_fault;
    bool id_exists;                        /* a unique index on `id` refuses it */
    char row_fault[QUARANTINE_REASON_MAX]; /* the database's words for it */

    /* the call that runs (connect.c); times are monotonic */
    struct {
        int64_t deadline_us;
        int64_t lock_deadline_us; /* to wait for another writer no longer */
        int cancel_fd;
        bool cancelled;
    } call;

    /* the claim (claim.c, settle.c) */
    struct {
        struct arena arena;      /* of the batch */
        struct claimed *batch;   /* NULL: none is held */
        int64_t next_orphans_us; /* monotonic: when to search for orphaned rows again */
    } claim;

    /* rows that the database refuses to change (refused.c) */
    struct {
        struct quarantine quarantine;
        int64_t pause_ms;  /* of the row that was added last */
        uint32_t n_logged; /* in this call */
        int64_t last;      /* row that was refused in this call; INT64_MIN: none */
        /* The quarantine was full: claims pass over all rows up to this seq until then. */
        int64_t full_seq;
        int64_t full_until_us; /* monotonic */
        struct refused_outcome outcomes[REFUSED_OUTCOMES_MAX];
        size_t n_outcomes;
    } refused;

    /* the lock by which others know that the relay lives (lives.c) */
    struct {
        int fd; /* -1: none */
        int64_t offset;
    } lives;

    struct arena page_arena; /* what the last list, relay_list or init returned */

    /* news of commits on this connection (wait.c) */
    struct {
        int inotify_fd;
        int64_t data_version;
        int check_ms; /* to the next check for the commit of an event; 0: none is awaited */
    } watch;
};

/* The operations, for the table of plugin.c; see <outbox/store.h>. */
int schema_render(void *instance, const struct outbox_exec *exec, struct outbox_err *err);
int schema_init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err);
int claim(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
          struct outbox_batch **ret, struct outbox_err *err);
int settle(void *instance, struct outbox_batch *batch, const struct outbox_settle *const *items,
           uint64_t n, const struct outbox_call *call, uint8_t *settled, struct outbox_err *err);
int settle_release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
                   struct outbox_err *err);
int lease_renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
                const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err);
int wait_for_news(void *instance, const struct outbox_call *call, struct outbox_err *err);
void wait_end(struct store *s);
int list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
         const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err);
int admin_requeue(void *instance, const struct outbox_filter *filter, int64_t *after,
                  uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                  struct outbox_err *err);
int admin_discard(void *instance, const struct outbox_filter *filter, int64_t *after,
                  uint32_t limit, const struct outbox_call *call, uint64_t *ret_n,
                  struct outbox_err *err);
int admin_purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
                const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int stats(void *instance, struct outbox_str lane, uint32_t flags, const struct outbox_call *call,
          struct outbox_stats *ret, struct outbox_err *err);
int relays_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
               struct outbox_err *err);
int relays_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
                struct outbox_err *err);
int save(void *instance, const struct outbox_new *const *rows, uint64_t n,
         const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err);
