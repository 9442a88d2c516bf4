/* SPDX-License-Identifier: Apache-2.0 */
/* postgres.h - an instance of store-postgres, and what its files share. */
#ifndef STORE_POSTGRES_POSTGRES_H
#define STORE_POSTGRES_POSTGRES_H

#include "common/arena.h"
#include "common/timed_call.h"

#include <outbox/plugin.h>

#include <libpq-fe.h>
#include <stdbool.h>

/* What this version writes, and the least version that it still works on unchanged. */
#define SCHEMA_VERSION 1

/* No delay or age is longer: so that a time stays one that PostgreSQL can hold. */
#define TIME_MAX_MS INT64_C(100000000000000)

/* Statements that are prepared once for each connection; each belongs to one place in the code. */
enum slot {
    SLOT_NONE, /* not prepared */
    SLOT_BEGIN,
    SLOT_COMMIT,
    SLOT_ROLLBACK,
    SLOT_XID,
    SLOT_LOOK,
    SLOT_EXPIRE,
    SLOT_ADOPT,
    SLOT_FRESH_LOCK,
    SLOT_FRESH_LEASE,
    SLOT_DELAYED_LOCK,
    SLOT_DELAYED_LEASE,
    SLOT_PAYLOADS,
    SLOT_EXCESS,
    SLOT_LEASE_LOCK,
    SLOT_LEASE_END,
    SLOT_LEASE_HELD,
    SLOT_RENEW,
    SLOT_RELEASE,
    SLOT_DELETE_LOCK,
    SLOT_DELETE_LEASE,
    SLOT_KEEP_LOCK,
    SLOT_KEEP_LEASE,
    SLOT_CHANGE_LOCK,
    SLOT_CHANGE_LEASE,
    SLOT_RELAY_PUT,
    SLOT_RELAY_TIDY,
    SLOT_TERMINATE,
    N_SLOTS
};

/* The table's name in its parts. */
struct table_name {
    char *schema; /* NULL: found through search_path */
    char *table;
};

#define BEGIN "BEGIN ISOLATION LEVEL READ COMMITTED"

/* How rows are held: in an open transaction, or by a mark that ends. */
enum claiming { CLAIM_LOCKS, CLAIM_LEASES };
enum preparing { PREPARE_AUTO, PREPARE_ON, PREPARE_OFF };

enum { APART_NOT, APART_DONE, APART_STALE };

/* A claimed batch; `batch` first: the host's pointer is ours. */
struct claimed {
    struct outbox_batch batch;
    int64_t token; /* leases: in each of its rows */
    char lease[24];
    int64_t xid;    /* locks: of the open transaction; 0: none */
    int64_t pid;    /* of its session */
    bool open;      /* locks: the transaction is still ours, as far as known */
    bool unknown;   /* a settle was sent and its end not seen */
    bool committed; /* such a one was */
    uint8_t *settled;
    uint8_t *apart; /* settled in a call that failed: APART_... */
    uint8_t *lost;  /* locks: another has had it, as far as known */
    uint32_t left;  /* not settled yet */
};

/* What is known of the table beside the rows that are ready; times are monotonic, us. */
struct outlook {
    bool due;           /* rows that waited for a time can be taken */
    bool strays;        /* rows are `processing` without a lease */
    int64_t delayed_us; /* when the next row is due */
    int64_t lease_us;   /* when the next lease ends */
    int64_t look_us;    /* when to look again: for all this ... */
    int64_t stray_us;   /* ... for strays ... */
    int64_t stuck_us;   /* ... and for sessions that are stuck */
};

/* What a session knows of us. */
struct told {
    int64_t timeout_ms; /* 0: nothing yet */
    int64_t hold_ms;
    bool planner_is_free;
};

/* Why a server did not take a connection. */
struct refusal {
    char said[400]; /* by libpq; empty: nothing yet */
    char state[6];  /* empty: not known */
    char text[200];
};

#define AVOIDED_MAX 1000

struct store {
    const struct outbox_host *host;
    char *conninfo;
    char *password; /* NULL: as conninfo says */
    struct table_name name;
    enum claiming claiming;
    enum preparing preparing;
    bool notify;

    /* ---- the connection */
    PGconn *db; /* NULL: not connected */
    struct timed_call *bounded;
    struct refusal refusal;
    char *schema;      /* the table's, found at connecting */
    uint32_t oid;      /* the table's; 0: not there */
    bool is_dismissed; /* the server ends the connection */
    bool pooled;       /* behind a pooler: nothing of a session lasts */
    bool prepared[N_SLOTS];
    uint32_t statements_key; /* in their names: a pooler mixes connections up */
    bool prepare_is_off;     /* it did not work out */
    bool planner_is_free;    /* upgrading: the planner may sort and scan */
    int64_t hold_ms;         /* how long a transaction may stay open; 0: none is kept so */
    struct told told;
    struct arena scratch; /* of the call that runs */
    int64_t deadline_us;  /* monotonic: of the call that runs */
    int cancel_fd;
    int64_t timeout_ms;   /* of the call, as it was given */
    int failure;          /* class of the last failure */
    char failed_state[6]; /* its SQLSTATE; empty: none */

    /* ---- claiming */
    struct arena claim_arena; /* the batch */
    PGresult *rows[6];        /* what its messages point into */
    size_t n_rows;
    struct claimed *held;
    int64_t bound;   /* fresh rows up to this seq were seen: claims begin behind it */
    int64_t lost;    /* leases: of a claim whose answer never came, or 0 ... */
    int64_t lost_us; /* ... and how long it may still be committed */
    uint32_t fits;   /* rows that fitted into the last batch's bytes; 0: all did */
    struct outlook outlook;

    /* ---- rows that cannot be read, see unreadable.h */
    int64_t searched; /* up to this seq the last search found none; INT64_MIN: it is over */
    int64_t avoided[AVOIDED_MAX];
    int64_t avoided_until[AVOIDED_MAX]; /* monotonic, us; rising */
    size_t n_avoided;

    struct arena page_arena; /* the last list, requeue ... */
    PGresult *page;

    /* ---- waiting */
    struct store *watch; /* notify = on: an instance of its own, over notify_conninfo */
    bool listens;
    bool gate_is_shut; /* producers notify */
    bool look_is_due;  /* something may have been missed */
};

/* ---- name.c ---- */

/* "name", "schema.name", either part in double quotes. OUTBOX_E_CONFIG with what is wrong. */
int name_parse(const char *text, struct table_name *ret, struct outbox_err *err);
void name_free(struct table_name *name);
/* Puts quoted names for {t} (the table), {t_X} (a companion TABLE_X) and {n_X} (the same without
 * its schema); for free(). NULL without memory. */
char *name_render(const struct store *s, const char *sql);

/* ---- args.c ---- */

#define ARGS_MAX 10

/* The arguments of a statement, in binary; they point into the arena. */
struct args {
    struct arena *arena;
    int n;
    bool failed; /* without memory */
    Oid types[ARGS_MAX];
    const char *values[ARGS_MAX];
    int lengths[ARGS_MAX];
};

void args_int(struct args *args, int64_t value);
void args_text(struct args *args, struct outbox_str text);
void args_bytes(struct args *args, struct outbox_str bytes);
/* Arrays; of texts NULL members may be. */
void args_ints(struct args *args, const int64_t *values, size_t n);
void args_texts(struct args *args, const struct outbox_str *values, size_t n);
/* Row addresses, each as column_ctid gives it. */
void args_ctids(struct args *args, const uint64_t *values, size_t n);

/* Columns of a binary result. */
int64_t column_int(const PGresult *rows, int row, int column); /* 2, 4 or 8 bytes, boolean */
struct outbox_str column_text(const PGresult *rows, int row, int column); /* NULL: p NULL */
int64_t column_time(const PGresult *rows, int row, int column);           /* us; NULL: 0 */
uint64_t column_ctid(const PGresult *rows, int row, int column);
/* A UUID as text of 36 characters in the arena. -1 without memory. */
int column_uuid(const PGresult *rows, int row, int column, struct arena *arena,
                struct outbox_str *ret);

/* ---- connect.c ---- */

/* Begins a call: its deadline, and a connection to a database whose table fits. */
int db_enter(struct store *s, const struct outbox_call *call, struct outbox_err *err);
/* The same for what is done to the batch that is held. */
int db_enter_held(struct store *s, const struct outbox_call *call, struct outbox_err *err);
/* Begins a call that needs no connection if there is none. */
void db_resume(struct store *s, const struct outbox_call *call);
/* The same for init: the table may be missing or old. */
int db_enter_raw(struct store *s, const struct outbox_call *call, struct outbox_err *err);
void db_close(struct store *s);

/* ---- dial.c ---- */

/* A connection, within the call's deadline. NULL after a failure, whose class is s->failure. */
PGconn *db_connect(struct store *s, const char *conninfo, struct timed_call *bounded,
                   const char *purpose, struct outbox_err *err);
/* Does conninfo make sense? OUTBOX_E_CONFIG; shows nothing of it. */
int conninfo_check(const char *option, const char *conninfo, struct outbox_err *err);

/* ---- session.c ---- */

/* What a new connection is told and asked once. */
int session_begin(struct store *s, struct outbox_err *err);
/* A statement with the settings that the next ones need, in scratch; *ret NULL: they are there. For
 * the session, or behind a pooler for their transaction. */
int session_settings(struct store *s, const char **ret, struct outbox_err *err);
/* Perhaps they are not. */
void session_forget(struct store *s);

/* ---- wire.c ---- */

/* One statement of a pipeline. */
struct step {
    enum slot slot;
    const char *sql; /* {t} in it is the table */
    struct args *args;
    bool alone;       /* outside of any transaction: the only step */
    PGresult *result; /* the caller's, when all went well */
};

/* Runs the steps in one round trip; without a BEGIN in it they are one transaction. Results are
 * binary. On failure there are none, and what was open is rolled back or lost with the connection.
 */
int db_run(struct store *s, struct step *steps, size_t n, struct outbox_err *err);
/* One statement; its result is thrown away. */
int db_exec(struct store *s, const char *sql, struct outbox_err *err);
/* The same outside of any transaction. */
int db_exec_alone(struct store *s, const char *sql, struct outbox_err *err);
/* One statement; its result, for PQclear. */
int db_query(struct store *s, enum slot slot, const char *sql, struct args *args, PGresult **ret,
             struct outbox_err *err);
/* Ends an open transaction after a failure; keeps *err as it is. Returns r. */
int db_rollback(struct store *s, int r);
/* Rows that a result says were changed. */
uint64_t db_changed(PGresult *result);
/* Waits for the socket: OK, OUTBOX_E_TIMEOUT or OUTBOX_E_CANCELLED. */
int db_poll(struct store *s, PGconn *db, bool write);
int64_t db_left_ms(const struct store *s);
/* False when the call's time is over, or the host wants it back. */
bool db_rest(const struct store *s, int64_t ms);

/* ---- failure.c ---- */

/* Classes a failed result (NULL: of the connection), fills *err. */
int failure_of(struct store *s, PGconn *db, const PGresult *result, struct outbox_err *err);
/* The same with a SQLSTATE (NULL: none) and a text. */
int failure_say(struct store *s, const PGconn *db, const char *state, const char *text,
                struct outbox_err *err);
/* Is the connection of no more use after that? */
bool failure_ends_connection(const struct store *s);

/* ---- schema.c, upgrade.c ---- */

enum schema_form { FORM_MISSING, FORM_OLD, FORM_OURS };
/* Finds the table and its schema. */
int schema_find(struct store *s, enum schema_form *ret, struct outbox_err *err);
/* OK, or OUTBOX_E_CONFIG with what to do. */
int schema_check(struct store *s, struct outbox_err *err);
int schema_render(void *instance, const struct outbox_exec *exec, struct outbox_err *err);
int schema_init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err);
/* Statements in the order of their making; ends with NULL. */
extern const char *const schema_storage[];
extern const char *const schema_indexes[];
extern const char *const schema_companions[];
extern const char *const schema_notify[];
int schema_run_all(struct store *s, const char *const *statements, struct outbox_err *err);
/* Several lists, ending with NULL, in one transaction. */
int schema_run_together(struct store *s, const char *const *const *lists, struct outbox_err *err);
/* In one transaction that waits for its locks a little at a time, so that others do not queue. */
int schema_run_patiently(struct store *s, const char *const *statements, struct outbox_err *err);
int upgrade_old(struct store *s, int64_t *ret_rows, struct outbox_err *err);

/* ---- alone.c ---- */

/* Waits until nobody else inits this table. *ret is for alone_end in any case. */
struct alone;
int alone_begin(const struct store *s, struct alone **ret, struct outbox_err *err);
void alone_end(struct alone *alone);

/* ---- notify.c ---- */

/* The first key of the advisory lock; the second is the table's oid. */
#define NOTIFY_GATE "1869968482" /* "outb" */

/* Makes the trigger if it is wanted and missing. */
int notify_init(struct store *s, struct outbox_err *err);

/* ---- row.c ---- */

/* Topics and keys of more bytes are not loaded, nor published. */
#define ROW_TEXT_MAX 65536

/* The columns that row_message reads, in its order; payload and headers only up to $1 bytes.
 * Headers that are stored in very little are not large, and need not be measured: a number takes
 * ten bytes to store, and a hundred thousand to write. */
#define ROW_COLUMNS                                                                 \
    "m.seq, m.ctid, m.id,"                                                          \
    " CASE WHEN pg_catalog.octet_length(m.topic) <= 65536 THEN m.topic"             \
    "  ELSE pg_catalog.left(m.topic, 1000) END, pg_catalog.octet_length(m.topic),"  \
    " CASE WHEN pg_catalog.octet_length(m.key) <= 65536 THEN m.key"                 \
    "  ELSE pg_catalog.left(m.key, 1000) END, pg_catalog.octet_length(m.key),"      \
    " CASE WHEN pg_catalog.octet_length(m.payload) <= $1 THEN m.payload END,"       \
    " pg_catalog.octet_length(m.payload),"                                          \
    " CASE WHEN pg_catalog.pg_column_size(m.headers) <= 64"                         \
    "  OR pg_catalog.octet_length(m.headers::text) <= $1 THEN m.headers::text END," \
    " CASE WHEN pg_catalog.pg_column_size(m.headers) > 64"                          \
    "  THEN pg_catalog.octet_length(m.headers::text) END,"                          \
    " m.retries, m.created_at, m.origin_id"
enum row_column {
    ROW_SEQ,
    ROW_CTID,
    ROW_ID,
    ROW_TOPIC,
    ROW_TOPIC_N,
    ROW_KEY,
    ROW_KEY_N,
    ROW_PAYLOAD,
    ROW_PAYLOAD_N,
    ROW_HEADERS,
    ROW_HEADERS_N, /* NULL: small */
    ROW_RETRIES,
    ROW_CREATED,
    ROW_ORIGIN,
    ROW_N_COLUMNS
};
/* What its payload and its headers, if they are large, have together, loaded or not. */
uint64_t row_bytes(const PGresult *rows, int row, bool *ret_left_out);
/* NULL without memory. Texts point into the result. */
struct outbox_message *row_message(const PGresult *rows, int row, struct arena *arena,
                                   uint64_t max_message);
/* Reads headers; what is wrong with them becomes the message's defect. -1 without memory. */
int row_headers(struct outbox_str text, uint64_t max, struct arena *arena,
                struct outbox_message *m);

/* ---- filter.c ---- */

/* HEAD, which ends in a condition, then those of the filter but for the topic, then TAIL; arguments
 * are appended. For free(); NULL without memory. */
char *filter_sql(const char *head, const struct outbox_filter *filter, const char *tail,
                 struct args *args);
/* The next rows of the filter behind *after in order of seq, at most limit: their seqs, in the
 * page's arena. *after moves to the last row that was looked at. */
int filter_rows(struct store *s, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
                int64_t **ret, size_t *ret_n, struct outbox_err *err);

/* ---- leases.c ---- */

/* Frees what expired leases hold, and gives strays a lease. */
int leases_expire(struct store *s, struct outbox_err *err);
int leases_adopt(struct store *s, const struct outbox_claim *claim, struct outbox_err *err);
int leases_token(int64_t *ret, struct outbox_err *err);
/* All rows that it still marks. */
int leases_give_back(struct store *s, int64_t token, struct outbox_err *err);
int renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
          const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err);

/* ---- the operations ---- */

int claim(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
          struct outbox_batch **ret, struct outbox_err *err);
/* Lets go of what the batch's messages point into. */
void claim_forget(struct store *s);
int settle(void *instance, struct outbox_batch *batch, const struct outbox_settle *const *items,
           uint64_t n, const struct outbox_call *call, uint8_t *stale, struct outbox_err *err);
int release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
            struct outbox_err *err);
int wait_for_news(void *instance, const struct outbox_call *call, struct outbox_err *err);
int wait_rest(void *instance, const struct outbox_call *call, struct outbox_err *err);
int list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
         const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err);
int requeue(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
            const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int discard(void *instance, const struct outbox_filter *filter, int64_t *after, uint32_t limit,
            const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int purge(void *instance, const struct outbox_filter *filter, uint32_t limit,
          const struct outbox_call *call, uint64_t *ret_n, struct outbox_err *err);
int stats(void *instance, struct outbox_str lane, uint32_t flags, const struct outbox_call *call,
          struct outbox_stats *ret, struct outbox_err *err);
int relay_put(void *instance, const struct outbox_relay_row *row, const struct outbox_call *call,
              struct outbox_err *err);
int relay_list(void *instance, const struct outbox_call *call, struct outbox_relay_page **ret,
               struct outbox_err *err);
int save(void *instance, const struct outbox_new *const *rows, uint64_t n,
         const struct outbox_exec *exec, const struct outbox_call *call, struct outbox_err *err);

#endif
