/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - the thread of the client: it connects when there is something to do, sends, and finds
 * out what a lost connection means for the messages that were on their way. Its beginning and end.
 */
#include "mqtt.h"

#include <errno.h>
#include <mqtt_protocol.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* How long client_close waits for its thread, ms: less than OUTBOX_CLOSE_MS. */
#define END_MS 800

/* ---- a lost connection ---- */

static int is_about_message(int code)
{
    return code == MQTT_RC_MALFORMED_PACKET || code == MQTT_RC_PROTOCOL_ERROR ||
           code == MQTT_RC_TOPIC_NAME_INVALID || code == MQTT_RC_PACKET_TOO_LARGE ||
           code == MQTT_RC_PAYLOAD_FORMAT_INVALID ||
           code == MOSQ_ERR_PROTOCOL; /* the library does not take the broker's answer to it */
}

static void tell_checks(struct client *c, const struct outbox_err *err)
{
    for (struct instance *x = c->instances; x; x = x->next)
        if (x->checking) {
            x->checked = *err;
            x->checking = 0;
            eventfd_write(x->told, 1);
        }
}

/*
 * A broker that does not like a message may end the connection, in MQTT 3 without a word. Of one
 * that was alone that is told, and the host, which sends one by one after an outage, finds out
 * whether it is to blame; one that the broker has named is.
 */
static void lost(struct client *c)
{
    struct outbox_err err = {.size = sizeof err};
    int alone = c->sent.n == 1, named = alone && is_about_message(c->gone);
    outbox_fail(&err, OUTBOX_E_RETRY, "the connection has ended: %s", c->why);
    if (alone)
        jobs_done(&c->sent, c->sent.first, named ? OUTBOX_RETRY : OUTBOX_UNAVAILABLE, 0, "%s",
                  err.text);
    jobs_fail(&c->sent, &err);
    if (alone)
        jobs_give_back(&c->queue, NULL);
    jobs_fail(&c->queue, &err);
    if (!named)
        c->down = err;
    connection_drop(c);
}

/* ---- the thread ---- */

static int is_wanted(const struct client *c)
{
    int wanted = c->queue.first != NULL;
    for (const struct instance *x = c->instances; x; x = x->next)
        wanted |= x->checking;
    return wanted;
}

static void connect_if_wanted(struct client *c)
{
    struct outbox_err err = {.size = sizeof err};
    int r = OUTBOX_OK;
    if (!is_wanted(c))
        return;
    if (!c->connected)
        r = connection_make(c, &err);
    err.code = r;
    if (r < 0) {
        c->down = err;
        jobs_fail(&c->queue, &err);
    }
    tell_checks(c, &err);
}

static void send_queued(struct client *c)
{
    while (c->queue.first && !c->gone && c->sent.n < c->window) {
        int rc;
        if (c->queue.first->until_us <= client_now_us(c)) {
            jobs_done(&c->queue, c->queue.first, OUTBOX_UNSET, 0, NULL);
            continue;
        }
        rc = message_send(c);
        if (rc != 0 && !c->gone) {
            c->gone = rc;
            snprintf(c->why, sizeof c->why, "%s", mosquitto_strerror(rc));
        }
    }
}

/* When the oldest message has waited for its answer for too long. */
static int64_t answer_until(const struct client *c)
{
    return c->sent.first ? c->sent.first->sent_us + c->settings.publish_us : INT64_MAX;
}

static void serve(struct client *c)
{
    send_queued(c);
    if (!c->gone)
        connection_step(c, answer_until(c));
    if (!c->gone && answer_until(c) <= client_now_us(c)) {
        c->gone = MOSQ_ERR_TIMEOUT;
        snprintf(c->why, sizeof c->why, "no confirm within publish_timeout");
    }
    if (c->gone && !c->ending)
        lost(c);
}

static void free_client(struct client *c)
{
    close(c->wake);
    pthread_cond_destroy(&c->ended_cond);
    pthread_mutex_destroy(&c->lock);
    outbox_url_clear(&c->settings.url);
    free(c);
}

static void *run(void *arg)
{
    struct client *c = arg;
    sigset_t all;
    int abandoned;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_mutex_lock(&c->lock);
    while (!c->ending) {
        connect_if_wanted(c);
        if (c->connected)
            serve(c);
        else if (!c->ending && !is_wanted(c))
            connection_step(c, INT64_MAX);
    }
    connection_drop(c);
    c->ended = 1;
    abandoned = c->abandoned;
    pthread_cond_signal(&c->ended_cond);
    pthread_mutex_unlock(&c->lock);
    if (abandoned)
        free_client(c);
    return NULL;
}

/* ---- its life ---- */

static void init_library(void)
{
    mosquitto_lib_init(); /* for the life of the process: others may use the library, too */
}

static int start(struct client *c, struct outbox_err *err)
{
    pthread_condattr_t attr;
    int r;
    c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->wake < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "eventfd: %s", strerror(errno));
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->ended_cond, &attr);
    pthread_condattr_destroy(&attr);
    r = pthread_create(&c->thread, NULL, run, c);
    if (r == 0)
        return OUTBOX_OK;
    pthread_cond_destroy(&c->ended_cond);
    pthread_mutex_destroy(&c->lock);
    close(c->wake);
    return outbox_fail(err, OUTBOX_E_RETRY, "no thread: %s", strerror(r));
}

int client_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct client *c = calloc(1, sizeof *c);
    int r;
    if (!c)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    pthread_once(&once, init_library);
    c->host = host;
    c->cfg = cfg;
    c->earliest_us = INT64_MAX;
    r = settings_read(host, cfg, &c->settings, err);
    if (r == OUTBOX_OK)
        r = start(c, err);
    if (r < 0) {
        outbox_url_clear(&c->settings.url);
        free(c);
        return r;
    }
    *ret = c;
    return OUTBOX_OK;
}

/* The look-up of a name has no limit: the thread is left behind then, and frees what it has. */
void client_close(void *shared)
{
    struct client *c = shared;
    struct timespec until;
    int ended;
    if (!c)
        return;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += END_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&c->lock);
    c->ending = 1;
    eventfd_write(c->wake, 1);
    while (!c->ended && pthread_cond_timedwait(&c->ended_cond, &c->lock, &until) == 0)
        ;
    ended = c->ended;
    c->abandoned = !ended;
    pthread_mutex_unlock(&c->lock);
    if (!ended) {
        pthread_detach(c->thread);
        return;
    }
    pthread_join(c->thread, NULL);
    free_client(c);
}
