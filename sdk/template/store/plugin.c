/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store-@name@.c - keeps messages in the memory of the process: for tests, and for programs that
 * write and relay in one process. All instances of a section share the rows.
 *
 * Replace the rows by your database. Its clock then decides what is due, its transactions make a
 * settle durable, and its constraints refuse an id that exists.
 */
#include <outbox/plugin.h>

#include <fnmatch.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>

#ifndef PLUGIN_VERSION
#define PLUGIN_VERSION "0.1.0"
#endif

#define ERROR_SIZE 256

/* Bytes never change once the row is there; the rest belongs to the lock of the table. */
struct row {
    struct outbox_message msg; /* without retries */
    uint32_t status;
    uint32_t retries;
    uint32_t pins;         /* so many batches and pages point at its bytes */
    bool deleted;          /* and freed once there are no pins */
    uint64_t lease;        /* 0: not claimed */
    int64_t lease_ends_us; /* by the database's clock, as all times */
    int64_t available_us;
    int64_t processed_us;
    bool has_error;
    char last_error[ERROR_SIZE];
};

/* The database: rows in the order of seq. */
struct table {
    const struct outbox_host *host;
    int64_t max_rows;
    pthread_mutex_t lock;
    struct row **rows;
    size_t n, room;
    int64_t last_seq;
};

struct copy {
    struct outbox_message msg;
    char defect[96];
};

/* Rows that were handed out: a batch, or a page. */
struct handed {
    struct row **rows;
    struct copy *messages;
    const struct outbox_message **pointers;
    size_t n;
};

struct shown {
    struct outbox_row row;
    char last_error[ERROR_SIZE];
};

struct store {
    struct table *table;
    uint64_t lease; /* 0: there is no batch */
    char lease_name[24];
    struct handed claimed;
    struct outbox_batch batch;
    struct handed listed;
    struct shown *shown;
    const struct outbox_row **shown_pointers;
    struct outbox_page page;
};

static const struct outbox_option options[] = {
    {"max_rows", "100000", "How many rows the store keeps; save fails beyond.", NULL, 1, 100000000,
     OUTBOX_OPT_INT, 0},
};

/* ---- rows ---- */

static int no_memory(struct outbox_err *err)
{
    return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
}

static uint64_t random_number(void)
{
    uint64_t n = 0;
    while (n == 0)
        if (getrandom(&n, sizeof n, 0) != (ssize_t)sizeof n)
            n = 0;
    return n;
}

static int64_t due_us(int64_t now_us, int64_t delay_ms)
{
    if (delay_ms <= 0)
        return 0;
    return delay_ms > (INT64_MAX - now_us) / 1000 ? INT64_MAX : now_us + delay_ms * 1000;
}

/* A copy with a NUL behind it. NULL stays NULL. */
static bool copy(struct outbox_str from, struct outbox_str *ret)
{
    char *p;
    *ret = outbox_cstr(NULL);
    if (!from.p)
        return true;
    p = malloc((size_t)from.n + 1);
    if (!p)
        return false;
    memcpy(p, from.p, (size_t)from.n);
    p[from.n] = '\0';
    ret->p = p;
    ret->n = from.n;
    return true;
}

static void free_str(struct outbox_str s)
{
    free((void *)(uintptr_t)s.p);
}

static void free_row(struct row *row)
{
    if (!row)
        return;
    for (uint64_t i = 0; row->msg.headers && i < row->msg.n_headers; i++) {
        free_str(row->msg.headers[i].name);
        free_str(row->msg.headers[i].value);
    }
    free((void *)(uintptr_t)row->msg.headers);
    free_str(row->msg.id);
    free_str(row->msg.topic);
    free_str(row->msg.key);
    free_str(row->msg.payload);
    free(row);
}

static bool copy_headers(const struct outbox_new *from, struct outbox_message *to)
{
    struct outbox_header *headers = calloc((size_t)from->n_headers + 1, sizeof *headers);
    if (!headers)
        return false;
    to->headers = headers;
    to->n_headers = from->n_headers;
    for (uint64_t i = 0; i < from->n_headers; i++)
        if (!copy(from->headers[i].name, &headers[i].name) ||
            !copy(from->headers[i].value, &headers[i].value))
            return false;
    return true;
}

static struct row *new_row(const struct outbox_new *from, int64_t now_us)
{
    struct row *row = calloc(1, sizeof *row);
    struct outbox_str key = from->key.p ? from->key : outbox_cstr("");
    struct outbox_str id = from->id;
    char made[40];
    if (!row)
        return NULL;
    if (!id.p) {
        snprintf(made, sizeof made, "%016llx%016llx", (unsigned long long)random_number(),
                 (unsigned long long)random_number());
        id = outbox_cstr(made);
    }
    row->msg.size = sizeof row->msg;
    row->msg.created_us = now_us;
    row->available_us = due_us(now_us, from->delay_ms);
    row->status = OUTBOX_PENDING;
    if (!copy(id, &row->msg.id) || !copy(from->topic, &row->msg.topic) ||
        !copy(key, &row->msg.key) || !copy(from->payload, &row->msg.payload) ||
        !copy_headers(from, &row->msg)) {
        free_row(row);
        return NULL;
    }
    row->msg.row_id = row->msg.id;
    return row;
}

static struct row *find_id(const struct table *t, struct outbox_str id)
{
    for (size_t i = 0; i < t->n; i++)
        if (!t->rows[i]->deleted && outbox_str_eq(t->rows[i]->msg.id, id))
            return t->rows[i];
    return NULL;
}

/* Ends leases whose time is over, and frees deleted rows that nothing points at. */
static void sweep(struct table *t, int64_t now_us)
{
    size_t kept = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct row *row = t->rows[i];
        if (row->lease != 0 && row->lease_ends_us <= now_us) {
            row->status = OUTBOX_PENDING; /* uncharged: that relay may never have sent it */
            row->lease = 0;
        }
        if (row->deleted && row->pins == 0)
            free_row(row);
        else
            t->rows[kept++] = row;
    }
    t->n = kept;
}

static void drop_handed(struct handed *h)
{
    for (size_t i = 0; i < h->n; i++)
        h->rows[i]->pins--;
    free(h->rows);
    free(h->messages);
    free(h->pointers);
    memset(h, 0, sizeof *h);
}

static bool room_for(struct handed *h, size_t n)
{
    h->rows = calloc(n + 1, sizeof(struct row *));
    h->messages = calloc(n + 1, sizeof *h->messages);
    h->pointers = calloc(n + 1, sizeof(struct outbox_message *));
    if (h->rows && h->messages && h->pointers)
        return true;
    drop_handed(h);
    return false;
}

static struct outbox_message *hand_out(struct handed *h, struct row *row)
{
    struct outbox_message *msg = &h->messages[h->n].msg;
    *msg = row->msg;
    msg->retries = row->retries;
    msg->handle = h->n;
    row->pins++;
    h->rows[h->n] = row;
    h->pointers[h->n++] = msg;
    return msg;
}

/* Every operation begins so: takes the lock, and what the last one handed out ends. */
static struct table *enter(struct store *x)
{
    pthread_mutex_lock(&x->table->lock);
    drop_handed(&x->listed);
    free(x->shown);
    free(x->shown_pointers);
    x->shown = NULL;
    x->shown_pointers = NULL;
    sweep(x->table, x->table->host->now_us(x->table->host));
    return x->table;
}

static int leave(struct store *x, int r)
{
    pthread_mutex_unlock(&x->table->lock);
    return r;
}

/* ---- claim, settle, release ---- */

static uint64_t bytes_of(const struct outbox_message *m)
{
    uint64_t n = m->id.n + m->topic.n + m->key.n + m->payload.n;
    for (uint64_t i = 0; i < m->n_headers; i++)
        n += m->headers[i].name.n + m->headers[i].value.n;
    return n;
}

/* What is over a limit of the claim is not loaded, and has a defect. */
static void find_defect(const struct outbox_claim *c, struct copy *copy)
{
    struct outbox_message *m = &copy->msg;
    if (c->max_message && m->payload.n > c->max_message) {
        snprintf(copy->defect, sizeof copy->defect, "the payload has %llu bytes, more than %llu",
                 (unsigned long long)m->payload.n, (unsigned long long)c->max_message);
        m->payload = outbox_cstr(NULL);
    } else if (c->max_headers && m->n_headers > c->max_headers) {
        snprintf(copy->defect, sizeof copy->defect, "it has %llu headers, more than %u",
                 (unsigned long long)m->n_headers, c->max_headers);
        m->headers = NULL;
        m->n_headers = 0;
    }
    if (copy->defect[0])
        m->defect = outbox_cstr(copy->defect);
}

static bool is_due(const struct row *row, int64_t now_us)
{
    return !row->deleted && row->status == OUTBOX_PENDING && row->available_us <= now_us;
}

/* Half of a batch is for messages that come again, so that neither they nor fresh ones starve. */
static uint32_t room_for_again(const struct table *t, uint32_t limit, int64_t now_us)
{
    uint64_t fresh = 0;
    for (size_t i = 0; i < t->n; i++)
        fresh += is_due(t->rows[i], now_us) && t->rows[i]->available_us == 0;
    return fresh < limit - limit / 2 ? limit - (uint32_t)fresh : limit / 2;
}

static void find_next_due(struct store *x, const struct row *row, int64_t now_us)
{
    bool waits = !row->deleted && (row->status & (OUTBOX_PENDING | OUTBOX_PROCESSING));
    int64_t then_us = row->status == OUTBOX_PROCESSING ? row->lease_ends_us : row->available_us;
    int64_t ms = (then_us - now_us) / 1000 + 1;
    if (waits && then_us > now_us && (x->batch.next_due_ms < 0 || ms < x->batch.next_due_ms))
        x->batch.next_due_ms = ms;
}

static void take_due(struct store *x, const struct outbox_claim *c, int64_t now_us)
{
    struct table *t = x->table;
    uint32_t again = room_for_again(t, c->limit, now_us);
    uint64_t bytes = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct row *row = t->rows[i];
        uint64_t size = bytes_of(&row->msg);
        if (!is_due(row, now_us)) {
            find_next_due(x, row, now_us);
            continue;
        }
        if (x->claimed.n == c->limit || (x->claimed.n > 0 && bytes + size > c->max_bytes)) {
            x->batch.more = 1;
            return;
        }
        if (row->available_us != 0 && again == 0) {
            x->batch.more = 1;
            continue;
        }
        again -= row->available_us != 0;
        bytes += size;
        row->status = OUTBOX_PROCESSING;
        row->lease = x->lease;
        row->lease_ends_us = now_us + (int64_t)c->lease_ms * 1000;
        hand_out(&x->claimed, row);
        find_defect(c, &x->claimed.messages[x->claimed.n - 1]);
    }
}

static int claim(void *instance, const struct outbox_claim *c, const struct outbox_call *call,
                 struct outbox_batch **ret, struct outbox_err *err)
{
    struct store *x = instance;
    struct table *t = enter(x);
    (void)call; /* memory answers at once */
    if (!room_for(&x->claimed, c->limit < t->n ? c->limit : t->n))
        return leave(x, no_memory(err));
    memset(&x->batch, 0, sizeof x->batch);
    x->batch.size = sizeof x->batch;
    x->batch.next_due_ms = -1;
    x->lease = random_number();
    take_due(x, c, t->host->now_us(t->host));
    x->batch.n = (uint32_t)x->claimed.n;
    x->batch.messages = x->claimed.pointers;
    if (x->claimed.n > 0) {
        snprintf(x->lease_name, sizeof x->lease_name, "%016llx", (unsigned long long)x->lease);
        x->batch.lease = outbox_cstr(x->lease_name);
    }
    *ret = &x->batch;
    return leave(x, OUTBOX_OK);
}

static void settle_row(struct row *row, const struct outbox_settle *item, int64_t now_us)
{
    row->lease = 0;
    row->available_us = 0;
    row->status = item->action == OUTBOX_SETTLE_DONE    ? OUTBOX_PROCESSED
                  : item->action == OUTBOX_SETTLE_RETRY ? OUTBOX_PENDING
                                                        : OUTBOX_FAILED;
    if (row->status == OUTBOX_PROCESSED)
        row->processed_us = now_us;
    if (row->status == OUTBOX_PENDING)
        row->available_us = due_us(now_us, item->delay_ms);
    if (item->flags & OUTBOX_SETTLE_CHARGE)
        row->retries++;
    if (item->flags & OUTBOX_SETTLE_REASON) {
        row->has_error = item->reason.p != NULL;
        snprintf(row->last_error, ERROR_SIZE, "%.*s",
                 (int)(item->reason.n < ERROR_SIZE ? item->reason.n : ERROR_SIZE - 1),
                 item->reason.p ? item->reason.p : "");
    }
    if (row->status == OUTBOX_PROCESSED && (item->flags & OUTBOX_SETTLE_DELETE))
        row->deleted = true;
}

static int settle(void *instance, struct outbox_batch *batch,
                  const struct outbox_settle *const *items, uint64_t n,
                  const struct outbox_call *call, uint8_t *settled, struct outbox_err *err)
{
    struct store *x = instance;
    struct table *t;
    (void)batch;
    (void)call;
    for (uint64_t i = 0; i < n; i++) /* before anything is settled */
        if (items[i]->action < OUTBOX_SETTLE_DONE || items[i]->action > OUTBOX_SETTLE_FAILED ||
            items[i]->index >= x->claimed.n)
            return outbox_fail(err, OUTBOX_E_NOTSUP,
                               "no such action of this store, or no such message");
    t = enter(x);
    for (uint64_t i = 0; i < n; i++) {
        struct row *row = x->claimed.rows[items[i]->index];
        settled[i] = OUTBOX_SETTLED_STALE;
        if (row->lease == x->lease) {
            settle_row(row, items[i], t->host->now_us(t->host));
            settled[i] = OUTBOX_SETTLED;
        }
    }
    return leave(x, OUTBOX_OK);
}

static int release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
                   struct outbox_err *err)
{
    struct store *x = instance;
    (void)batch;
    (void)call;
    (void)err;
    enter(x);
    for (size_t i = 0; i < x->claimed.n; i++) {
        struct row *row = x->claimed.rows[i];
        if (row->lease == x->lease) {
            row->lease = 0;
            row->status = OUTBOX_PENDING;
        }
    }
    drop_handed(&x->claimed);
    x->lease = 0;
    return leave(x, OUTBOX_OK);
}

static int renew(void *instance, struct outbox_str lease, uint32_t lease_ms,
                 const struct outbox_call *call, uint64_t *ret_held, struct outbox_err *err)
{
    struct store *x = instance;
    struct table *t = enter(x);
    char name[24] = "";
    uint64_t wanted;
    (void)call;
    (void)err;
    memcpy(name, lease.p, lease.n < sizeof name ? (size_t)lease.n : sizeof name - 1);
    wanted = strtoull(name, NULL, 16);
    *ret_held = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (t->rows[i]->lease != wanted)
            continue;
        t->rows[i]->lease_ends_us = t->host->now_us(t->host) + (int64_t)lease_ms * 1000;
        ++*ret_held;
    }
    return leave(x, OUTBOX_OK);
}

/* ---- producers, and people ---- */

/* What a database's types and constraints refuse. */
static int check_new(const struct table *t, const struct outbox_new *const *from, uint64_t i,
                     struct outbox_err *err)
{
    const struct outbox_new *row = from[i];
    bool twice = row->id.p && find_id(t, row->id);
    for (uint64_t k = 0; k < i && row->id.p && !twice; k++)
        twice = outbox_str_eq(from[k]->id, row->id);
    if (twice)
        return outbox_fail(err, OUTBOX_E_EXISTS, "a message with the id %.*s is there already",
                           (int)(row->id.n < 80 ? row->id.n : 80), row->id.p);
    if (row->topic.n == 0 || memchr(row->topic.p, '\0', (size_t)row->topic.n))
        return outbox_fail(err, OUTBOX_E_CONFIG, "the topic is empty, or holds a NUL");
    return OUTBOX_OK;
}

static int save_all(struct table *t, const struct outbox_new *const *from, uint64_t n,
                    struct row **made, struct outbox_err *err)
{
    if ((int64_t)(t->n + n) > t->max_rows)
        return outbox_fail(err, OUTBOX_E_RETRY, "there are max_rows = %lld rows already",
                           (long long)t->max_rows);
    if (t->n + n > t->room) {
        struct row **rows = realloc(t->rows, (t->n + (size_t)n) * 2 * sizeof *rows);
        if (!rows)
            return no_memory(err);
        t->rows = rows;
        t->room = (t->n + (size_t)n) * 2;
    }
    for (uint64_t i = 0; i < n; i++) {
        int r = check_new(t, from, i, err);
        if (r < 0)
            return r;
        made[i] = new_row(from[i], t->host->now_us(t->host));
        if (!made[i])
            return no_memory(err);
    }
    for (uint64_t i = 0; i < n; i++) {
        made[i]->msg.seq = ++t->last_seq;
        t->rows[t->n++] = made[i];
    }
    return OUTBOX_OK;
}

static int save(void *instance, const struct outbox_new *const *from, uint64_t n,
                const struct outbox_exec *exec, const struct outbox_call *call,
                struct outbox_err *err)
{
    struct store *x = instance;
    struct row **made;
    int r;
    (void)call;
    if (exec)
        return outbox_fail(err, OUTBOX_E_NOTSUP, "this store has no SQL for another transaction");
    made = calloc((size_t)n + 1, sizeof *made);
    if (!made)
        return no_memory(err);
    r = save_all(enter(x), from, n, made, err);
    for (uint64_t i = 0; r < 0 && i < n; i++)
        free_row(made[i]);
    free(made);
    return leave(x, r);
}

static bool matches(const struct row *row, const struct outbox_filter *f, int64_t now_us)
{
    int64_t since = row->status == OUTBOX_PROCESSED ? row->processed_us : row->msg.created_us;
    bool named = f->n_ids == 0;
    if (row->deleted || (f->statuses && !(f->statuses & row->status)) || f->lane.p)
        return false;
    if (f->topic.p && fnmatch(f->topic.p, row->msg.topic.p, 0) != 0)
        return false;
    for (uint64_t i = 0; i < f->n_ids && !named; i++)
        named = outbox_str_eq(f->ids[i], row->msg.id);
    return named && (f->older_than_ms <= 0 || since <= now_us - f->older_than_ms * 1000);
}

static int list(void *instance, const struct outbox_filter *filter, int64_t after, uint32_t limit,
                const struct outbox_call *call, struct outbox_page **ret, struct outbox_err *err)
{
    struct store *x = instance;
    struct table *t = enter(x);
    size_t room = limit < t->n ? limit : t->n;
    (void)call;
    x->shown = calloc(room + 1, sizeof *x->shown);
    x->shown_pointers = calloc(room + 1, sizeof(struct outbox_row *));
    if (!x->shown || !x->shown_pointers || !room_for(&x->listed, room))
        return leave(x, no_memory(err));
    for (size_t i = 0; i < t->n && x->listed.n < room; i++) {
        struct row *row = t->rows[i];
        struct shown *shown = &x->shown[x->listed.n];
        if (row->msg.seq <= after || !matches(row, filter, t->host->now_us(t->host)))
            continue;
        memcpy(shown->last_error, row->last_error, ERROR_SIZE);
        shown->row.size = sizeof shown->row;
        shown->row.status = row->status;
        shown->row.last_error = outbox_cstr(row->has_error ? shown->last_error : NULL);
        shown->row.processed_us = row->processed_us;
        shown->row.available_us = row->available_us;
        x->shown_pointers[x->listed.n] = &shown->row;
        shown->row.message = hand_out(&x->listed, row);
    }
    x->page.size = sizeof x->page;
    x->page.n = (uint32_t)x->listed.n;
    x->page.rows = x->shown_pointers;
    *ret = &x->page;
    return leave(x, OUTBOX_OK);
}

/* ---- life ---- */

static int shared_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                       struct outbox_err *err)
{
    struct table *t = calloc(1, sizeof *t);
    if (!t)
        return no_memory(err);
    t->host = host;
    t->max_rows = host->option_int(cfg, "max_rows");
    pthread_mutex_init(&t->lock, NULL);
    *ret = t;
    return OUTBOX_OK;
}

static void shared_close(void *shared)
{
    struct table *t = shared;
    if (!t)
        return;
    for (size_t i = 0; i < t->n; i++)
        free_row(t->rows[i]);
    free(t->rows);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static int open_instance(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                         struct outbox_err *err)
{
    struct store *x = calloc(1, sizeof *x);
    (void)cfg;
    if (!x)
        return no_memory(err);
    x->table = host->shared;
    *ret = x;
    return OUTBOX_OK;
}

static void close_instance(void *instance)
{
    struct store *x = instance;
    if (!x)
        return;
    release(x, &x->batch, NULL, NULL);
    free(x);
}

static uint64_t capabilities(void *instance)
{
    (void)instance;
    return OUTBOX_STORE_DELAY | OUTBOX_STORE_PARTIAL | OUTBOX_STORE_RENEWS;
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    (void)instance;
    (void)call;
    (void)err;
    return OUTBOX_OK;
}

static int schema(void *instance, const struct outbox_exec *exec, struct outbox_err *err)
{
    (void)instance;
    (void)exec;
    return outbox_fail(err, OUTBOX_E_NOTSUP, "this store has no tables");
}

static int init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err)
{
    (void)instance;
    (void)call;
    (void)err;
    *ret = outbox_cstr("there is nothing to create: the rows are in memory");
    return OUTBOX_OK;
}

static const struct outbox_store_ops ops = {
    .size = sizeof ops,
    .open = open_instance,
    .close = close_instance,
    .capabilities = capabilities,
    .check = check,
    .schema = schema,
    .init = init,
    .claim = claim,
    .settle = settle,
    .release = release,
    .renew = renew,
    .list = list,
    .save = save,
};

OUTBOX_DEFINE_SHARED_PLUGIN(OUTBOX_KIND_STORE, 0, "@name@", PLUGIN_VERSION,
                            "Keeps messages in memory.", NULL, ops, options, shared_open,
                            shared_close)
