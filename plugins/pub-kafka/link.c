/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - a producer of the library, from its beginning to its end, and what it tells. */
#include "kafka.h"

/* So many producers may be about to end, or questions without an answer, at a time. */
#define HELPERS_MAX 16

/* ---- what the library tells: all of it in link_step ---- */

/* Outages are told by the relay. */
static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    const struct broker *b = rd_kafka_opaque(rk);
    int is_outage = strcmp(facility, "FAIL") == 0 || strcmp(facility, "ERROR") == 0;
    int is_warning = strcmp(facility, "CONFWARN") == 0 || (level <= 3 && !is_outage);
    outbox_logf(b->client.host, is_warning ? OUTBOX_LOG_WARNING : OUTBOX_LOG_DEBUG, "%s: %s",
                facility, text);
}

static int read_password(struct broker *b, char *buf, size_t cap, struct outbox_err *err)
{
    const struct outbox_url *url = &b->settings.url;
    uint64_t n;
    *buf = '\0';
    if (url->has_password)
        snprintf(buf, cap, "%s", url->password);
    else if (url->has_user)
        return outbox_option_read(b->client.host, b->client.cfg, "password", buf, cap, &n, err);
    return OUTBOX_OK;
}

/* Of a login that a broker refuses: is there another password by now? */
static int has_new_password(struct broker *b)
{
    struct outbox_err err = {.size = sizeof err};
    char password[sizeof b->password];
    int is_new = read_password(b, password, sizeof password, &err) == OUTBOX_OK &&
                 strcmp(password, b->password) != 0;
    if (is_new) {
        rd_kafka_error_t *error =
            rd_kafka_sasl_set_credentials(b->link->rk, b->settings.url.user, password);
        is_new = !error;
        rd_kafka_error_destroy(error);
    }
    if (is_new)
        memcpy(b->password, password, sizeof password);
    explicit_bzero(password, sizeof password);
    return is_new;
}

static void take_fatal(struct broker *b, rd_kafka_t *rk)
{
    char why[400] = "";
    rd_kafka_resp_err_t code = rd_kafka_fatal_error(rk, why, sizeof why);
    int is_refusal = code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
                     code == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED ||
                     code == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE ||
                     code == RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION;
    b->gone = is_refusal ? OUTBOX_E_CONFIG : OUTBOX_E_RETRY;
    b->distrust = 1;
    snprintf(b->why, sizeof b->why, "the producer has ended: %s", why);
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    struct broker *b = opaque;
    int is_refusal;
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        take_fatal(b, rk);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
        b->all_down = 1;
        return; /* what was said of each of them says more */
    }
    if (code == RD_KAFKA_RESP_ERR__AUTHENTICATION && has_new_password(b))
        return;
    is_refusal = code == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
                 (code == RD_KAFKA_RESP_ERR__SSL && strstr(reason, "verify"));
    if (is_refusal || !b->refused) /* a refusal says more than that another one is down */
        snprintf(b->last, sizeof b->last, "%s", reason);
    b->refused |= is_refusal;
    outbox_logf(b->client.host, OUTBOX_LOG_DEBUG, "%s", reason);
}

/* ---- the library's producer ---- */

static void forget_past(struct broker *b)
{
    b->gone = b->renew = b->all_down = b->refused = 0;
    b->acked_us = 0;
    b->why[0] = b->last[0] = '\0';
}

static void wake_by_events(const struct broker *b, rd_kafka_t *rk, int on)
{
    static const uint64_t one = 1;
    rd_kafka_queue_t *events = rd_kafka_queue_get_main(rk);
    rd_kafka_queue_io_event_enable(events, on ? b->client.wake_fd : -1, &one, sizeof one);
    rd_kafka_queue_destroy(events);
}

/* Makes the library's part of it. */
static int make_producer(struct broker *b, struct link *link, struct outbox_err *err)
{
    rd_kafka_conf_t *conf = NULL;
    char why[400];
    int r = read_password(b, b->password, sizeof b->password, err);
    if (r == OUTBOX_OK)
        r = configure(b, &conf, err);
    if (r < 0)
        return r;
    rd_kafka_conf_set_opaque(conf, b);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_dr_msg_cb(conf, message_on_report);
    link->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (link->rk)
        return OUTBOX_OK;
    rd_kafka_conf_destroy(conf);
    return outbox_fail(err, OUTBOX_E_CONFIG, "librdkafka: %s", why);
}

/* ---- helpers ---- */

static void *help(void *arg)
{
    struct helper *h = arg;
    h->work(h->arg);
    atomic_store(&h->done, 1);
    return NULL;
}

static int start(struct helper *h)
{
    int e = pthread_create(&h->thread, NULL, help, h);
    h->is_started = e == 0;
    return e;
}

/* Joins those that have ended, or all, and starts those that had no thread. Returns how many are
 * left. */
static int join_helpers(struct broker *b, int all)
{
    struct helper **at = &b->helpers;
    int n = 0;
    while (*at) {
        struct helper *h = *at;
        if (!h->is_started && start(h) != 0 && all)
            help(h);
        if (!all && !atomic_load(&h->done)) {
            at = &h->next;
            n++;
            continue;
        }
        *at = h->next;
        if (h->is_started)
            pthread_join(h->thread, NULL);
        free(h);
    }
    return n;
}

static struct helper *new_helper(void (*work)(void *arg), void *arg)
{
    struct helper *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    atomic_init(&h->done, 0);
    h->work = work;
    h->arg = arg;
    return h;
}

static void add_helper(struct broker *b, struct helper *h)
{
    h->next = b->helpers;
    b->helpers = h;
}

int link_spawn(struct broker *b, void (*work)(void *arg), void *arg)
{
    struct helper *h;
    int e = ENOMEM;
    if (join_helpers(b, 0) >= HELPERS_MAX)
        return EAGAIN;
    h = new_helper(work, arg);
    if (h)
        e = start(h);
    if (e != 0) {
        free(h);
        return e;
    }
    add_helper(b, h);
    return 0;
}

/* ---- its life ---- */

void link_unref(struct link *link)
{
    if (atomic_fetch_sub(&link->users, 1) > 1)
        return;
    topic_forget_all(link);
    rd_kafka_destroy(link->rk); /* may wait, for the look-up of a name, say */
    free(link);
}

static void end_by_helper(void *arg)
{
    link_unref(arg);
}

int link_make(struct broker *b, struct outbox_err *err)
{
    struct link *link;
    int n = join_helpers(b, 0), r;
    if (n >= HELPERS_MAX)
        return outbox_fail(err, OUTBOX_E_RETRY, "%d earlier producers have not ended yet", n);
    forget_past(b);
    b->alone = outbox_client_now_us(&b->client) < b->alone_until_us;
    link = calloc(1, sizeof *link);
    if (link)
        link->ender = new_helper(end_by_helper, link);
    r = link && link->ender ? make_producer(b, link, err)
                            : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r < 0) {
        if (link)
            free(link->ender);
        free(link);
        return r;
    }
    rd_kafka_set_log_queue(link->rk, NULL);
    wake_by_events(b, link->rk, 1);
    atomic_init(&link->users, 1);
    b->link = link;
    return OUTBOX_OK;
}

void link_drop(struct broker *b)
{
    struct link *link = b->link;
    struct helper *ender;
    b->client.is_connected = 0;
    b->link = NULL;
    if (!link)
        return;
    wake_by_events(b, link->rk, 0);
    ender = link->ender;
    start(ender); /* once it runs, the link may be gone */
    add_helper(b, ender);
}

void link_end(struct broker *b)
{
    struct link *link = b->link;
    b->link = NULL;
    if (link) {
        wake_by_events(b, link->rk, 0);
        free(link->ender);
        link_unref(link);
    }
    join_helpers(b, 1);
}

void link_step(struct broker *b, int fd, int64_t until_us)
{
    outbox_client_wait(&b->client, fd, POLLIN, until_us);
    if (b->link && !b->client.ending)
        rd_kafka_poll(b->link->rk, 0);
}
