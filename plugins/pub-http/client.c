/* SPDX-License-Identifier: Apache-2.0 */
/* client.c - the client's thread: it takes what is queued, lets libcurl work, and takes what came
 * back. Its beginning and end. */
#include "http.h"

static void read_secrets(struct client *c, struct outbox_err *err, int *r)
{
    struct secret *all[] = {&c->password, &c->bearer, &c->signing, &c->client_secret,
                            &c->proxy_password};
    for (size_t i = 0; i < sizeof all / sizeof all[0] && *r == OUTBOX_OK; i++)
        *r = secret_read(c->base.host, c->base.cfg, all[i], err);
    if (*r == OUTBOX_OK && c->settings.signs)
        *r = signature_check(c->signing.value, err);
}

static int start_check(struct client *c, struct outbox_err *err)
{
    struct request *q = request_take(c, KIND_CHECK);
    int r = OUTBOX_OK;
    if (!q)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    text_adds(&q->url, c->settings.origin);
    text_adds(&q->url, "/");
    if (!text_end(&q->url))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == OUTBOX_OK)
        r = request_start(c, q, c->settings.connect_ms, err);
    if (r < 0)
        request_free(q);
    else
        c->checking = 1;
    return r;
}

static uint32_t limit(const struct client *c)
{
    const struct settings *set = &c->settings;
    if (c->multiplexes < 0)
        return 1;
    return c->multiplexes || set->in_flight < set->connections ? set->in_flight : set->connections;
}

static long time_left_ms(const struct client *c, const struct request *q)
{
    int64_t first = INT64_MAX, left_ms;
    for (uint32_t i = 0; i < q->n; i++)
        if (q->jobs[i] && q->jobs[i]->until_us < first)
            first = q->jobs[i]->until_us;
    left_ms = (first - outbox_client_now_us(&c->base)) / 1000;
    return left_ms < c->settings.publish_ms ? (long)left_ms : c->settings.publish_ms;
}

static int send_queued(struct client *c, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    while (r == OUTBOX_OK && c->n_running < limit(c) && c->base.queue.first) {
        struct request *q = request_take(c, KIND_MESSAGES);
        if (!q)
            return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        r = body_make(c, q, err);
        if (r > 0) {
            r = request_start(c, q, time_left_ms(c, q), err);
            if (r == OUTBOX_OK)
                continue;
        }
        if (r < 0)
            request_requeue(c, q, 0);
        request_put_back(c, q);
    }
    return r;
}

static int is_check_waiting(const struct client *c)
{
    for (const struct outbox_client_instance *x = c->base.instances; x; x = x->next)
        if (x->checking)
            return 1;
    return 0;
}

static void begin(struct client *c)
{
    struct outbox_err err = {.size = sizeof err};
    int r = OUTBOX_OK;
    if (!outbox_client_is_wanted(&c->base))
        return;
    read_secrets(c, &err, &r);
    if (r == OUTBOX_OK && !token_is_fresh(c)) {
        if (!c->fetching)
            r = token_fetch(c, &err);
        if (r == OUTBOX_OK)
            return; /* all that waits goes on with the token */
    }
    if (r == OUTBOX_OK && is_check_waiting(c)) {
        if (c->base.is_connected)
            outbox_client_connected(&c->base);
        else if (!c->checking)
            r = start_check(c, &err);
    }
    if (r == OUTBOX_OK)
        r = send_queued(c, &err);
    if (r < 0)
        outbox_client_failed(&c->base, &err);
}

/* Requests that nobody waits for any more. */
static void end_orphans(struct client *c)
{
    struct request *next;
    c->orphans = 0;
    for (struct request *q = c->running; q; q = next) {
        next = q->next;
        if (q->kind == KIND_MESSAGES && q->left == 0) {
            request_end(c, q);
            request_put_back(c, q);
        }
    }
}

static void forget(struct outbox_client *base, struct outbox_job *job)
{
    struct client *c = client_of(base);
    struct request *q = job->data;
    if (!q)
        return;
    for (uint32_t i = 0; i < q->n; i++)
        if (q->jobs[i] == job) {
            q->jobs[i] = NULL;
            q->left--;
            break;
        }
    job->data = NULL;
    if (q->left > 0 || !q->is_running)
        return;
    c->orphans = 1;
    eventfd_write(base->wake_fd, 1);
}

/* All that libcurl has, before the first one is judged: when the receiver has gone, many are lost
 * at once. */
static void take_answers(struct client *c)
{
    struct request *first = NULL, **last = &first;
    CURLMsg *msg;
    int left;
    c->n_lost = 0;
    while ((msg = curl_multi_info_read(c->multi, &left)) != NULL) {
        char *p = NULL;
        struct request *q;
        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &p);
        q = (struct request *)(void *)p;
        q->code = msg->data.result;
        q->next_over = NULL;
        c->n_lost += answer_is_lost(q);
        *last = q;
        last = &q->next_over;
    }
    while (first) {
        struct request *q = first;
        first = q->next_over;
        answer_take(c, q);
    }
}

static void run(struct outbox_client *base)
{
    struct client *c = client_of(base);
    while (!base->ending) {
        int is_due;
        if (c->orphans)
            end_orphans(c);
        begin(c);
        if (!multi_is_due(c)) /* else libcurl has to begin something */
            outbox_client_wait(base, c->epoll_fd, POLLIN, c->timer_us);
        if (base->ending)
            break;
        is_due = multi_is_due(c);
        c->work_us = outbox_client_now_us(base);
        pthread_mutex_unlock(&base->lock);
        multi_work(c, is_due);
        pthread_mutex_lock(&base->lock);
        if (!base->ending)
            take_answers(c);
    }
    outbox_jobs_give_back(base, &base->sent, NULL);
    multi_close(c);
}

/* ---- its life ---- */

static void destroy(struct outbox_client *base)
{
    struct client *c = client_of(base);
    multi_close(c);
    token_drop(c);
    secret_clear(&c->password);
    secret_clear(&c->bearer);
    secret_clear(&c->signing);
    secret_clear(&c->client_secret);
    secret_clear(&c->proxy_password);
    outbox_url_clear(&c->settings.url);
    free(c);
}

static void init_library(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT); /* for the life of the process: others may use it, too */
}

static void name_secrets(struct client *c)
{
    const struct outbox_host *host = c->base.host;
    const struct outbox_cfg *cfg = c->base.cfg;
    c->password.option = host->option_is_set(cfg, "password") ? "password" : NULL;
    c->bearer.option = c->settings.auth == AUTH_BEARER ? "bearer_token" : NULL;
    c->bearer.is_header = 1;
    c->signing.option = c->settings.signs ? "signing_secret" : NULL;
    c->client_secret.option = c->settings.auth == AUTH_OAUTH2 ? "oauth2_client_secret" : NULL;
    c->proxy_password.option = c->settings.proxy_password ? "proxy_password" : NULL;
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
    c->base.host = host;
    c->base.cfg = cfg;
    c->base.run = run;
    c->base.destroy = destroy;
    c->base.forget = forget;
    c->epoll_fd = -1;
    r = settings_read(host, cfg, &c->settings, err);
    if (r == OUTBOX_OK) {
        name_secrets(c);
        c->multiplexes = c->settings.http_version == VERSION_2 ? 1
                         : c->settings.http_version == VERSION_1 || c->settings.url.scheme == 0
                             ? 0
                             : -1;
        r = multi_open(c, err);
    }
    if (r == OUTBOX_OK)
        r = outbox_client_start(&c->base, host, cfg, err);
    if (r < 0) {
        destroy(&c->base);
        return r;
    }
    *ret = c;
    return OUTBOX_OK;
}
