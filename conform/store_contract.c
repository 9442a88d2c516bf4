/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/store_contract.h"

#include "base/clock.h"
#include "base/log.h"
#include "plugin/shared_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define INSTANCES_MAX 16
#define PATIENCE_MS 60000

/* Of the case that runs; each has a process of its own. */
static struct {
    const struct store_kind *kind;
    struct plugin_set *set;
    const struct plugin *plugin;
    struct outbox_cfg *cfg;
    struct shared_state *shared; /* of the section, where there is one; NULL: each has its own */
    struct store *instances[INSTANCES_MAX];
    struct outbox_cfg *cfgs[INSTANCES_MAX]; /* theirs */
    size_t n_instances;
    void *connection;
    int log_fd;
    struct log *log;
} rig;

/* ---- the fixture ---- */

static void open_module(void)
{
    struct outbox_err err = {.size = sizeof err};
    if (rig.kind->module) {
        rig.plugin = rig.kind->module(&rig.cfg);
        rig.shared = shared_state_new();
        return;
    }
    rig.set = plugin_set_new(getenv("OUTBOX_TEST_PLUGIN_DIR"));
    int r = plugin_get(rig.set, OUTBOX_KIND_STORE, rig.kind->plugin, &rig.plugin, &err);
    assert_class(r, OUTBOX_OK, &err);
    rig.cfg = options_new(rig.plugin);
    rig.kind->configure(rig.cfg);
}

/* Done and deleted, as far as it is due; failed and processed rows, too. */
static void empty(void)
{
    static const struct outbox_filter through = {.size = sizeof through,
                                                 .statuses = OUTBOX_PROCESSED | OUTBOX_FAILED};
    struct outbox_err err = {.size = sizeof err};
    uint64_t purged = the_store()->setup.plugin->ops.store.purge != NULL;
    for (uint32_t n = 1; n > 0;) {
        struct outbox_batch *batch = claim(the_store(), 1000, LEASE_MS);
        if ((n = batch->n) > 0)
            settle_all(the_store(), batch,
                       (struct outbox_settle){.action = OUTBOX_SETTLE_DONE,
                                              .flags = OUTBOX_SETTLE_DELETE});
        release(the_store(), batch);
    }
    while (purged > 0)
        assert_class(store_purge(the_store(), &through, 1000, CALL, &purged, &err), OUTBOX_OK,
                     &err);
    rig.kind->empty();
}

static void set_up(void)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_str done;
    rig.kind->set_up();
    open_module();
    rig.log_fd = memfd_create("log", MFD_CLOEXEC);
    rig.log = log_new(rig.log_fd, OUTBOX_LOG_DEBUG, LOG_LOGFMT);
    ck_assert(rig.log_fd >= 0 && rig.log);
    assert_class(store_init(an_instance(), CALL, &done, &err), OUTBOX_OK, &err);
    if (rig.kind->empty)
        empty();
    if (rig.kind->connect)
        rig.connection = rig.kind->connect();
}

void close_all(void)
{
    if (rig.connection)
        rig.kind->disconnect(rig.connection);
    rig.connection = NULL;
    for (size_t i = 0; i < rig.n_instances; i++) {
        store_close(rig.instances[i]);
        free(rig.instances[i]);
        options_free(rig.cfgs[i]);
    }
    rig.n_instances = 0;
}

void open_again(void)
{
    an_instance();
    rig.connection = rig.kind->connect();
}

static void tear_down(void)
{
    close_all();
    if (!rig.kind->module)
        options_free(rig.cfg);
    shared_state_free(rig.shared);
    plugin_set_free(rig.set);
    log_free(rig.log);
    close(rig.log_fd);
    rig.kind->tear_down();
}

TCase *store_case(Suite *suite, const char *name)
{
    TCase *tc = tcase_create(name);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 180);
    suite_add_tcase(suite, tc);
    return tc;
}

void store_use(const struct store_kind *kind)
{
    rig.kind = kind;
}

const struct store_kind *store_kind(void)
{
    return rig.kind;
}

void store_test(const struct kit_sink *sink, const TTest *test, int from, int to)
{
    const struct kit_test like = {.set_up = set_up, .tear_down = tear_down, .timeout_s = 180};
    kit_add(sink, &like, test, from, to, 0);
}

void store_contract_add(const struct store_kind *kind, const struct kit_sink *sink)
{
    store_use(kind);
    store_contract_claim(sink);
    store_contract_budget(sink);
    store_contract_settle(sink);
    if (kind->refuse)
        store_contract_refused(sink);
    store_contract_admin(sink);
}

Suite *store_contract(const struct store_kind *kind)
{
    Suite *suite = suite_create(kind->plugin);
    const struct kit_sink sink = kit_suite(suite);
    store_contract_add(kind, &sink);
    return suite;
}

/* Options that are no files; no store has lists of words. */
static struct outbox_cfg *copy_options(const struct outbox_cfg *from)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_cfg *to = options_new(rig.plugin);
    for (size_t i = 0; i < rig.plugin->desc.n_options; i++) {
        const struct outbox_option *o = &rig.plugin->desc.options[i];
        bool is_text = o->type == OUTBOX_OPT_TEXT || o->type == OUTBOX_OPT_CHOICE;
        struct outbox_str text = is_text ? options_text(from, o->name) : str("");
        int r = !is_text ? options_set_int(to, o->name, options_int(from, o->name), &err)
                : text.p ? options_set(to, o->name, text.p, &err)
                         : OUTBOX_OK;
        assert_class(r, OUTBOX_OK, &err);
    }
    return to;
}

/* What is set later is not for this one. */
struct store *an_instance(void)
{
    struct outbox_err err = {.size = sizeof err};
    struct store *s = calloc(1, sizeof *s);
    ck_assert(s && rig.n_instances < INSTANCES_MAX);
    const struct instance_setup setup = {
        .plugin = rig.plugin, .cfg = rig.cfg, .log = rig.log, .shared = rig.shared};
    assert_class(store_open_with(s, &setup, &err), OUTBOX_OK, &err);
    rig.instances[rig.n_instances++] = s;
    if (rig.kind->module) /* it has one set of options */
        return s;
    rig.cfgs[rig.n_instances - 1] = rig.cfg;
    rig.cfg = copy_options(rig.cfg);
    return s;
}

int try_instance(struct outbox_err *err)
{
    struct store s;
    *err = (struct outbox_err){.size = sizeof *err};
    int r = store_open(&s, rig.plugin, rig.cfg, NULL, err);
    if (r == 0)
        store_close(&s);
    return r;
}

int times_logged(const char *part)
{
    static char text[1 << 20];
    ssize_t n = pread(rig.log_fd, text, sizeof text - 1, 0);
    int times = 0;
    text[n > 0 ? n : 0] = '\0';
    for (const char *p = text; (p = strstr(p, part)); p++)
        times++;
    return times;
}

struct outbox_cfg *the_options(void)
{
    return rig.cfg;
}

struct store *the_store(void)
{
    return rig.instances[0];
}

static int64_t passed_us;

static int64_t shifted_clock(const struct outbox_host *host)
{
    (void)host;
    return clock_monotonic_us() + passed_us;
}

void pass_ms(struct store *s, int64_t ms)
{
    passed_us += ms * 1000;
    s->instance.abi.monotonic_us = shifted_clock;
}

void *the_connection(void)
{
    return rig.connection;
}

/* ---- the application's side ---- */

/* What a kind may lack. */
#define NEEDS(function)                                                                          \
    do {                                                                                         \
        if (!rig.kind->function)                                                                 \
            kit_skip("it needs a connection to the database, which our own stores' tests have"); \
    } while (0)

static char *__attribute__((format(printf, 1, 0))) format(const char *fmt, va_list ap)
{
    char *sql = NULL;
    ck_assert_int_ge(vasprintf(&sql, fmt, ap), 0);
    return sql;
}

void execute(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *sql = format(fmt, ap);
    va_end(ap);
    rig.kind->execute(rig.connection, sql);
    free(sql);
}

int64_t number(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *sql = format(fmt, ap);
    va_end(ap);
    int64_t n = rig.kind->number(rig.connection, sql);
    free(sql);
    return n;
}

void assert_bytes(const char *sql, const char *bytes, size_t n)
{
    NEEDS(bytes);
    char *found = rig.kind->bytes(rig.connection, sql);
    char *wanted = calloc(1, 2 * n + 5);
    ck_assert_ptr_nonnull(wanted);
    for (size_t i = 0; bytes && i < n; i++)
        snprintf(wanted + 2 * i, 3, "%02X", (unsigned char)bytes[i]);
    ck_assert_str_eq(found, bytes ? wanted : "NULL");
    free(found);
    free(wanted);
}

#define SAVED_AT_ONCE 500

/* As a producer does, but by the plugin alone. */
static void save_all(int n)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_new rows[SAVED_AT_ONCE];
    const struct outbox_new *pointers[SAVED_AT_ONCE];
    char texts[SAVED_AT_ONCE][16];
    for (int done = 0, some; done < n; done += some) {
        some = n - done < SAVED_AT_ONCE ? n - done : SAVED_AT_ONCE;
        for (int i = 0; i < some; i++) {
            snprintf(texts[i], sizeof texts[i], "%d", done + i + 1);
            rows[i] = (struct outbox_new){
                .size = sizeof rows[i], .topic = str("t"), .payload = str(texts[i])};
            pointers[i] = &rows[i];
        }
        int r = store_save(the_store(), pointers, (uint64_t)some, NULL, CALL, &err);
        if (r == OUTBOX_E_NOTSUP)
            kit_skip("it has no save, by which this test writes messages");
        assert_class(r, OUTBOX_OK, &err);
    }
}

void produce(int n)
{
    if (rig.kind->module) {
        save_all(n);
        return;
    }
    execute("BEGIN");
    for (int i = 1; i <= n; i++)
        execute("INSERT INTO outbox_messages (topic, payload) VALUES ('t', '%d')", i);
    execute("COMMIT");
}

/* ---- the host's side ---- */

struct outbox_call within(uint32_t ms)
{
    return (struct outbox_call){
        .size = sizeof(struct outbox_call), .timeout_ms = ms, .cancel_fd = -1};
}

void assert_class(int r, int wanted, const struct outbox_err *err)
{
    ck_assert_msg(r == wanted, "class %d instead of %d: %s", r, wanted,
                  r < 0 ? err->text : "it worked");
}

struct outbox_batch *claim(struct store *s, uint32_t limit, uint32_t lease_ms)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_batch *batch = NULL;
    struct outbox_claim what = {
        .size = sizeof what,
        .limit = limit,
        .lease_ms = lease_ms,
        .max_bytes = 64 << 20,
        .max_message = 64 << 20,
        .relay = str("relay-of-the-test"),
        .max_headers = 1000,
        .max_header_bytes = 256 << 10,
    };
    assert_class(store_claim(s, &what, CALL, &batch, &err), OUTBOX_OK, &err);
    ck_assert_ptr_nonnull(batch);
    return batch;
}

struct outbox_batch *claim_soon(struct store *s)
{
    for (int64_t end = now_ms() + PATIENCE_MS;; sleep_ms(10)) {
        struct outbox_batch *batch = claim(s, 100, LEASE_MS);
        if (batch->n > 0)
            return batch;
        release(s, batch);
        ck_assert_msg(now_ms() < end, "nothing to claim in %d ms", PATIENCE_MS);
    }
}

void release(struct store *s, struct outbox_batch *batch)
{
    struct outbox_err err = {.size = sizeof err};
    assert_class(store_release(s, batch, CALL, &err), OUTBOX_OK, &err);
}

uint32_t settle_all(struct store *s, struct outbox_batch *batch, struct outbox_settle how)
{
    struct outbox_err err = {.size = sizeof err};
    uint32_t n = batch->n, n_stale = 0;
    struct outbox_settle *items = calloc(n, sizeof *items);
    const struct outbox_settle **pointers = calloc(n, sizeof *pointers);
    uint8_t *stale = malloc(n);
    ck_assert(items && pointers && stale);
    memset(stale, 7, n);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = how;
        items[i].size = sizeof items[i];
        items[i].index = i;
        pointers[i] = &items[i];
    }
    assert_class(store_settle(s, batch, pointers, n, CALL, stale, &err), OUTBOX_OK, &err);
    for (uint32_t i = 0; i < n; i++) {
        ck_assert_uint_le(stale[i], 1);
        n_stale += stale[i];
    }
    free(items);
    free(pointers);
    free(stale);
    return n_stale;
}

int save_one(struct store *s, struct outbox_new row, struct outbox_err *err)
{
    const struct outbox_new *rows[] = {&row};
    row.size = sizeof row;
    if (!row.topic.p)
        row.topic = str("t");
    return store_save(s, rows, 1, NULL, CALL, err);
}

struct outbox_str str(const char *text)
{
    return (struct outbox_str){text, strlen(text)};
}
