/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - a producer of the library, from its beginning to its end, and what it tells. */
#include "kafka.h"

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
        memcpy(b->password, password, sizeof password);
    }
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

/* ---- its life ---- */

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

int link_make(struct broker *b, struct outbox_err *err)
{
    rd_kafka_conf_t *conf = NULL;
    struct link *link = calloc(1, sizeof *link);
    char why[400];
    int r;
    forget_past(b);
    b->alone = outbox_client_now_us(&b->client) < b->alone_until_us;
    r = link ? read_password(b, b->password, sizeof b->password, err)
             : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == OUTBOX_OK)
        r = configure(b, &conf, err);
    if (r < 0) {
        free(link);
        return r;
    }
    rd_kafka_conf_set_opaque(conf, b);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_dr_msg_cb(conf, message_on_report);
    link->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!link->rk) {
        rd_kafka_conf_destroy(conf);
        free(link);
        return outbox_fail(err, OUTBOX_E_CONFIG, "librdkafka: %s", why);
    }
    rd_kafka_set_log_queue(link->rk, NULL);
    wake_by_events(b, link->rk, 1);
    atomic_init(&link->users, 1);
    b->link = link;
    return OUTBOX_OK;
}

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

static void *help(void *arg)
{
    struct helper *h = arg;
    h->work(h->arg);
    atomic_store(&h->done, 1);
    return NULL;
}

/* Of those that have ended, or of all. */
static void join_helpers(struct broker *b, int all)
{
    struct helper **at = &b->helpers;
    while (*at) {
        struct helper *h = *at;
        if (!all && !atomic_load(&h->done)) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        pthread_join(h->thread, NULL);
        free(h);
    }
}

int link_spawn(struct broker *b, void (*work)(void *arg), void *arg)
{
    struct helper *h = calloc(1, sizeof *h);
    int e = ENOMEM;
    join_helpers(b, 0);
    if (h) {
        atomic_init(&h->done, 0);
        h->work = work;
        h->arg = arg;
        e = pthread_create(&h->thread, NULL, help, h);
    }
    if (e != 0) {
        free(h);
        return e;
    }
    h->next = b->helpers;
    b->helpers = h;
    return 0;
}

void link_drop(struct broker *b)
{
    struct link *link = b->link;
    b->client.is_connected = 0;
    b->link = NULL;
    if (!link)
        return;
    wake_by_events(b, link->rk, 0);
    if (link_spawn(b, end_by_helper, link) != 0)
        link_unref(link); /* without a thread it takes the time that it takes */
}

void link_end(struct broker *b)
{
    if (b->link) {
        wake_by_events(b, b->link->rk, 0);
        link_unref(b->link);
    }
    b->link = NULL;
    join_helpers(b, 1);
}

void link_step(struct broker *b, int fd, int64_t until_us)
{
    outbox_client_wait(&b->client, fd, POLLIN, until_us);
    if (b->link && !b->client.ending)
        rd_kafka_poll(b->link->rk, 0);
}
