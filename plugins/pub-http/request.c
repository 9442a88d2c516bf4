/* SPDX-License-Identifier: Apache-2.0 */
/* request.c - a request of libcurl: how it is set, and what libcurl tells while it runs. */
#include "http.h"

#include <arpa/inet.h>
#include <sys/socket.h>

/* What is read of an answer before the rest is not waited for. */
#define ANSWER_MAX (1024 * 1024)
#define HEADERS_MAX (256 * 1024)
#define TOKEN_MAX (64 * 1024)

/* ---- what libcurl calls, without the lock ---- */

static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct request *q = data;
    const struct settings *set = &q->client->settings;
    (void)purpose;
    /* To a proxy that the configuration names; what the proxy resolves is the proxy's. */
    if (!set->allow_private && !*set->proxy && address_is_private(&to->addr)) {
        struct sockaddr_storage copy = {0};
        const void *at = &((struct sockaddr_in *)(void *)&copy)->sin_addr;
        memcpy(&copy, &to->addr, to->addrlen < sizeof copy ? to->addrlen : sizeof copy);
        if (to->family == AF_INET6)
            at = &((struct sockaddr_in6 *)(void *)&copy)->sin6_addr;
        q->refused = 1;
        if (!inet_ntop(to->family, at, q->address, sizeof q->address))
            q->address[0] = '\0';
        return CURL_SOCKET_BAD;
    }
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

/* There is a connection, and the request goes out next. */
static int on_begin(void *data, char *ip, char *local_ip, int port, int local_port)
{
    struct request *q = data;
    (void)ip;
    (void)local_ip;
    (void)port;
    (void)local_port;
    q->begun = 1;
    q->begun_us = q->client->work_us;
    return CURL_PREREQFUNC_OK;
}

static size_t on_header(char *p, size_t size, size_t count, void *data)
{
    struct request *q = data;
    size_t n = size * count;
    long status = 0;
    q->headers_seen += n;
    if (n > 5 && memcmp(p, "HTTP/", 5) == 0)
        q->complete = 0;
    if (n <= 2 && (n == 0 || *p == '\r' || *p == '\n')) {
        curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
        q->complete = status >= 200;
    }
    return q->headers_seen > HEADERS_MAX ? 0 : n;
}

static size_t on_body(char *p, size_t size, size_t count, void *data)
{
    struct request *q = data;
    size_t n = size * count, keep = ANSWER_KEPT - q->answer_n;
    if (keep > n)
        keep = n;
    memcpy(q->answer + q->answer_n, p, keep);
    q->answer_n += keep;
    q->answer[q->answer_n] = '\0';
    q->answer_seen += n;
    if (q->kind == KIND_TOKEN) {
        text_add(&q->document, p, n);
        return q->document.n > TOKEN_MAX || q->document.failed ? 0 : n;
    }
    return q->answer_seen > ANSWER_MAX ? 0 : n;
}

/* ---- what is the same for all of a kind ---- */

static CURLcode set_proxy(CURL *e, const struct client *c)
{
    const struct settings *set = &c->settings;
    CURLcode rc;
    if (set->proxy_env)
        return CURLE_OK;
    rc = curl_easy_setopt(e, CURLOPT_PROXY, set->proxy);
    if (rc == CURLE_OK && *set->proxy_user)
        rc = curl_easy_setopt(e, CURLOPT_PROXYUSERNAME, set->proxy_user);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_NOPROXY, "");
    if (rc == CURLE_OK && set->ca_file)
        rc = curl_easy_setopt(e, CURLOPT_PROXY_CAINFO, set->ca_file);
    if (rc == CURLE_OK && set->ca_file)
        rc = curl_easy_setopt(e, CURLOPT_PROXY_CAPATH, NULL);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (rc == CURLE_OK && !set->tls_verify)
        rc = curl_easy_setopt(e, CURLOPT_PROXY_SSL_VERIFYPEER, 0L);
    if (rc == CURLE_OK && !set->tls_verify)
        rc = curl_easy_setopt(e, CURLOPT_PROXY_SSL_VERIFYHOST, 0L);
    return rc;
}

/* Without a KEYPASSWD, OpenSSL asks for one at the terminal. */
static CURLcode set_tls(CURL *e, const struct settings *set, enum kind kind)
{
    CURLcode rc = curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, set->tls_verify ? 1L : 0L);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, set->tls_verify ? 2L : 0L);
    if (rc == CURLE_OK && set->ca_file)
        rc = curl_easy_setopt(e, CURLOPT_CAINFO, set->ca_file);
    if (rc == CURLE_OK && set->ca_file)
        rc = curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
    if (rc != CURLE_OK || !set->cert_file || kind == KIND_TOKEN)
        return rc;
    rc = curl_easy_setopt(e, CURLOPT_SSLCERT, set->cert_file);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_SSLKEY, set->key_file);
    return rc == CURLE_OK ? curl_easy_setopt(e, CURLOPT_KEYPASSWD, "") : rc;
}

static CURLcode set_callbacks(CURL *e, struct request *q)
{
    const struct {
        CURLoption function, data;
    } callbacks[] = {{CURLOPT_OPENSOCKETFUNCTION, CURLOPT_OPENSOCKETDATA},
                     {CURLOPT_PREREQFUNCTION, CURLOPT_PREREQDATA},
                     {CURLOPT_HEADERFUNCTION, CURLOPT_HEADERDATA},
                     {CURLOPT_WRITEFUNCTION, CURLOPT_WRITEDATA}};
    CURLcode rc = CURLE_OK;
    for (size_t i = 0; i < sizeof callbacks / sizeof callbacks[0] && rc == CURLE_OK; i++)
        rc = curl_easy_setopt(e, callbacks[i].data, q);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_begin);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_PRIVATE, q);
    return rc == CURLE_OK ? curl_easy_setopt(e, CURLOPT_ERRORBUFFER, q->error) : rc;
}

static CURLcode set_numbers(CURL *e, const struct client *c, enum kind kind)
{
    static const long versions[] = {CURL_HTTP_VERSION_2TLS, CURL_HTTP_VERSION_1_1,
                                    CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE};
    const struct settings *set = &c->settings;
    const struct {
        CURLoption option;
        long value;
    } numbers[] = {
        {CURLOPT_NOSIGNAL, 1},
        {CURLOPT_QUICK_EXIT, 1}, /* nobody waits for a thread that looks up a name */
        {CURLOPT_HTTP_VERSION, versions[kind == KIND_TOKEN ? VERSION_AUTO : set->http_version]},
        {CURLOPT_PATH_AS_IS, 1},
        {CURLOPT_FOLLOWLOCATION, 0},
        {CURLOPT_SUPPRESS_CONNECT_HEADERS, 1},
        {CURLOPT_TCP_KEEPALIVE, 1},
        {CURLOPT_CONNECTTIMEOUT_MS, set->connect_ms},
        {CURLOPT_CONNECT_ONLY, kind == KIND_CHECK},
        {CURLOPT_NOPROGRESS, 1},
    };
    CURLcode rc = curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && rc == CURLE_OK; i++)
        rc = curl_easy_setopt(e, numbers[i].option, numbers[i].value);
    return rc;
}

static CURLcode set_once(const struct client *c, struct request *q)
{
    CURL *e = q->easy;
    CURLcode rc = set_callbacks(e, q);
    if (rc == CURLE_OK)
        rc = set_numbers(e, c, q->kind);
    if (rc == CURLE_OK)
        rc = set_tls(e, &c->settings, q->kind);
    if (rc == CURLE_OK)
        rc = set_proxy(e, c);
    if (rc == CURLE_OK && q->kind == KIND_MESSAGES)
        rc = curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, c->settings.method);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_USERAGENT, "outboxd/" PACKAGE_VERSION);
    q->is_set = rc == CURLE_OK;
    return rc;
}

/* ---- its life ---- */

struct request *request_take(struct client *c, enum kind kind)
{
    struct request *q = kind == KIND_MESSAGES ? c->idle : NULL;
    if (q) {
        c->idle = q->next;
        q->next = NULL;
        return q;
    }
    q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->client = c;
    q->kind = kind;
    q->easy = curl_easy_init();
    if (!q->easy) {
        free(q);
        return NULL;
    }
    return q;
}

void request_free(struct request *q)
{
    curl_easy_cleanup(q->easy);
    curl_slist_free_all(q->headers);
    text_free(&q->url);
    text_free(&q->body);
    text_free(&q->document);
    free(q->jobs);
    free(q);
}

void request_put_back(struct client *c, struct request *q)
{
    curl_slist_free_all(q->headers);
    q->headers = NULL;
    if (q->kind != KIND_MESSAGES || q->body.cap > 1024 * 1024) {
        request_free(q);
        return;
    }
    q->n = q->left = 0;
    q->url.n = q->body.n = 0;
    q->url.failed = q->body.failed = 0;
    q->begun = q->refused = q->complete = 0;
    q->answer_n = q->answer_seen = q->headers_seen = 0;
    q->answer[0] = q->error[0] = '\0';
    q->next = c->idle;
    c->idle = q;
}

static CURLcode set_password(struct client *c, CURL *e)
{
    return c->proxy_password.option
               ? curl_easy_setopt(e, CURLOPT_PROXYPASSWORD, c->proxy_password.value)
               : CURLE_OK;
}

int request_start(struct client *c, struct request *q, long timeout_ms, struct outbox_err *err)
{
    CURL *e = q->easy;
    CURLcode rc = q->is_set ? CURLE_OK : set_once(c, q);
    if (rc == CURLE_OK)
        rc = set_password(c, e);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_URL, q->url.p);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_HTTPHEADER, q->headers);
    if (rc == CURLE_OK && q->kind != KIND_CHECK)
        rc = curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)q->body.n);
    if (rc == CURLE_OK && q->kind != KIND_CHECK)
        rc = curl_easy_setopt(e, CURLOPT_POSTFIELDS, q->body.p);
    /* For a connection that others share; without that, it would wait for somebody's answer. */
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_PIPEWAIT, c->multiplexes > 0 ? 1L : 0L);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, timeout_ms > 0 ? timeout_ms : 1L);
    if (rc != CURLE_OK)
        return outbox_fail(err, rc == CURLE_OUT_OF_MEMORY ? OUTBOX_E_RETRY : OUTBOX_E_CONFIG,
                           "the request cannot be made: %s", curl_easy_strerror(rc));
    if (curl_multi_add_handle(c->multi, e) != CURLM_OK)
        return outbox_fail(err, OUTBOX_E_RETRY, "the request cannot be made: out of memory");
    q->is_running = 1;
    q->next = c->running;
    c->running = q;
    c->n_running += q->kind == KIND_MESSAGES;
    return OUTBOX_OK;
}

void request_end(struct client *c, struct request *q)
{
    struct request **at = &c->running;
    curl_multi_remove_handle(c->multi, q->easy);
    while (*at && *at != q)
        at = &(*at)->next;
    if (*at)
        *at = q->next;
    q->next = NULL;
    q->is_running = 0;
    c->n_running -= q->kind == KIND_MESSAGES;
    c->checking = q->kind == KIND_CHECK ? 0 : c->checking;
    c->fetching = q->kind == KIND_TOKEN ? 0 : c->fetching;
}

void request_requeue(struct client *c, struct request *q, uint64_t flags)
{
    for (uint32_t i = 0; i < q->n; i++) {
        struct outbox_job *job = q->jobs[i];
        if (!job)
            continue;
        outbox_jobs_remove(job);
        job->data = NULL;
        job->number |= flags;
        outbox_jobs_push(&c->base.queue, job);
    }
    q->n = q->left = 0;
}
