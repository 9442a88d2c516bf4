/* SPDX-License-Identifier: Apache-2.0 */
/* attempt.c - connecting. The library looks up the name, and has no limit for that and for the
 * beginning of TLS: it runs in a thread that is left behind when it takes too long. */
#include "broker.h"

/* So many may hang at a time, in all of the process. */
#define HANGING_MAX 16

static pthread_mutex_t hanging_lock = PTHREAD_MUTEX_INITIALIZER;
static int hanging;

struct attempt {
    natsOptions *opts;
    struct link *link;
    natsConnection *nc;
    natsStatus status;
    char text[256];
    int done_fd;
    /* under hanging_lock */
    int is_done, is_left;
};

static void free_attempt(struct attempt *a)
{
    if (a->nc) {
        natsConnection_Close(a->nc);
        natsConnection_Destroy(a->nc);
    }
    natsOptions_Destroy(a->opts);
    close(a->done_fd);
    free(a);
}

static void *run(void *arg)
{
    struct attempt *a = arg;
    int is_left;
    a->status = natsConnection_Connect(&a->nc, a->opts);
    snprintf(a->text, sizeof a->text, "%s", login_text(a->status));
    if (a->status == NATS_OK)
        link_ref(a->link); /* what the library calls at the end gives it back */
    else
        a->nc = NULL;
    pthread_mutex_lock(&hanging_lock);
    a->is_done = 1;
    is_left = a->is_left;
    hanging -= is_left;
    pthread_mutex_unlock(&hanging_lock);
    if (is_left) {
        struct link *link = a->link;
        free_attempt(a);
        link_unref(link);
    } else {
        eventfd_write(a->done_fd, 1);
    }
    nats_ReleaseThreadMemory();
    return NULL;
}

static int begin(struct broker *b, const struct outbox_url_host *h, struct attempt **ret,
                 pthread_t *ret_thread, struct outbox_err *err)
{
    struct attempt *a = NULL;
    int r, e;
    pthread_mutex_lock(&hanging_lock);
    e = hanging;
    pthread_mutex_unlock(&hanging_lock);
    if (e >= HANGING_MAX)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: %d earlier tries to connect still hang",
                           h->peer, e);
    a = calloc(1, sizeof *a);
    if (!a)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    a->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    a->link = link_new(strlen(b->inbox), b->client.wake_fd);
    r = a->done_fd >= 0 && a->link ? login_options(b, h, &a->opts, err)
                                   : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == OUTBOX_OK && link_set_options(a->link, a->opts) != NATS_OK)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == OUTBOX_OK) {
        e = pthread_create(ret_thread, NULL, run, a);
        if (e)
            r = outbox_fail(err, OUTBOX_E_RETRY, "no thread: %s", strerror(e));
    }
    if (r == OUTBOX_OK) {
        *ret = a;
        return r;
    }
    if (a->link)
        link_leave(a->link);
    if (a->done_fd >= 0)
        free_attempt(a);
    else
        free(a);
    return r;
}

/* What a failed try means. */
static int judge(const struct broker *b, const struct attempt *a, const char *peer,
                 struct outbox_err *err)
{
    const struct settings *set = &b->settings;
    const char *who = set->url.has_user ? set->url.user
                      : set->has_token  ? "token"
                      : set->creds_file ? "creds_file"
                      : set->nkey_file  ? "nkey_file"
                                        : "nobody";
    natsStatus s =
        a->status == NATS_SSL_ERROR && !set->tls ? NATS_SECURE_CONNECTION_REQUIRED : a->status;
    switch (s) {
    case NATS_CONNECTION_AUTH_FAILED:
    case NATS_NOT_PERMITTED:
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: the server refuses the login as `%s`: %s",
                           peer, who, a->text);
    case NATS_SECURE_CONNECTION_REQUIRED:
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: the server demands TLS; write tls:// in url",
                           peer);
    case NATS_SECURE_CONNECTION_WANTED:
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: the server has no TLS, or does not demand it (allow_non_tls)",
                           peer);
    case NATS_SSL_ERROR:
        return outbox_fail(err, strstr(a->text, "verif") ? OUTBOX_E_CONFIG : OUTBOX_E_RETRY,
                           "%s: %s", peer, a->text);
    case NATS_NO_SERVER:
        return outbox_fail(
            err, OUTBOX_E_RETRY,
            "%s: nobody listens there, or its name is unknown, or it does not answer", peer);
    case NATS_TIMEOUT:
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: no answer within connect_timeout", peer);
    default:
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: %s", peer, a->text);
    }
}

/* 1 if it has ended; else it is left behind. */
static int await(struct broker *b, struct attempt *a, pthread_t thread)
{
    struct outbox_client *c = &b->client;
    int64_t until_us = outbox_client_now_us(c) + b->settings.connect_us + 250000;
    int is_done;
    while (!c->ending && !(outbox_client_wait(c, a->done_fd, POLLIN, until_us) & POLLIN))
        if (!c->ending && outbox_client_now_us(c) >= until_us)
            break;
    pthread_mutex_lock(&hanging_lock);
    is_done = a->is_done;
    if (!is_done) {
        link_ref(a->link);
        a->is_left = 1;
        hanging++;
        pthread_detach(thread);
    }
    pthread_mutex_unlock(&hanging_lock);
    if (is_done)
        pthread_join(thread, NULL);
    return is_done;
}

int attempt_connect(struct broker *b, const struct outbox_url_host *h, struct outbox_err *err)
{
    struct attempt *a = NULL;
    struct link *link;
    pthread_t thread;
    int r = begin(b, h, &a, &thread, err);
    if (r < 0)
        return r;
    link = a->link;
    if (!await(b, a, thread)) {
        link_leave(link);
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: no answer within connect_timeout", h->peer);
    }
    if (a->nc) {
        b->nc = a->nc;
        b->link = link;
        a->nc = NULL;
    } else {
        r = judge(b, a, h->peer, err);
        link_leave(link);
    }
    free_attempt(a);
    return r;
}
