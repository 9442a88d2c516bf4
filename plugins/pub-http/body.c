/* SPDX-License-Identifier: Apache-2.0 */
/* body.c - from messages to what is sent: url, headers, body. Under the lock. */
#include "http.h"

#include <openssl/evp.h>
#include <time.h>

static void refuse(struct client *c, struct outbox_job *job, const struct outbox_err *err)
{
    outbox_job_done(&c->base, job, err->code == OUTBOX_E_RETRY ? OUTBOX_LATER : OUTBOX_REJECTED, 0,
                    "%s", err->text);
}

static int add_job(struct request *q, struct outbox_job *job)
{
    if (q->n == q->cap) {
        uint32_t cap = q->cap ? q->cap * 2 : 4;
        struct outbox_job **jobs = realloc(q->jobs, cap * sizeof(struct outbox_job *));
        if (!jobs)
            return OUTBOX_E_RETRY;
        q->jobs = jobs;
        q->cap = cap;
    }
    job->data = q;
    q->jobs[q->n++] = job;
    q->left++;
    return OUTBOX_OK;
}

/* ---- who we are ---- */

uint64_t body_credentials(const struct client *c)
{
    return c->settings.auth == AUTH_OAUTH2   ? c->token_version
           : c->settings.auth == AUTH_BEARER ? c->bearer.version
                                             : c->password.version;
}

void body_add_credentials(const struct client *c, struct text *ret)
{
    const struct settings *set = &c->settings;
    struct text login = {0};
    switch (set->auth) {
    case AUTH_NONE:
        break;
    case AUTH_BASIC:
        text_adds(&login, set->url.user);
        text_add(&login, ":", 1);
        text_adds(&login, c->password.option ? c->password.value : set->url.password);
        text_adds(ret, "Basic ");
        text_add_base64(ret, login.p, login.n);
        if (login.p)
            explicit_bzero(login.p, login.n);
        text_free(&login);
        break;
    case AUTH_BEARER:
        if (strcasecmp(set->bearer_header, "authorization") == 0)
            text_adds(ret, "Bearer ");
        text_adds(ret, c->bearer.value);
        break;
    case AUTH_OAUTH2:
        text_adds(ret, "Bearer ");
        text_adds(ret, c->token ? c->token : "");
        break;
    }
}

static int add_credentials(const struct client *c, struct request *q, struct outbox_err *err)
{
    const struct settings *set = &c->settings;
    struct text value = {0};
    int r = OUTBOX_OK;
    body_add_credentials(c, &value);
    q->credentials = body_credentials(c);
    if (value.failed)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    else if (value.n > 0)
        r = headers_add(&q->headers,
                        set->auth == AUTH_BEARER ? set->bearer_header : "Authorization",
                        (struct outbox_str){value.p, value.n}, err);
    if (value.p)
        explicit_bzero(value.p, value.n);
    text_free(&value);
    return r;
}

/* ---- the signature ---- */

/* That of the message; of several, one that is the same whenever these are sent together. */
static int add_id(const struct request *q, struct text *ret)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_MD_CTX *ctx;
    if (q->n == 1) {
        text_add(ret, q->jobs[0]->msg->id.p, (size_t)q->jobs[0]->msg->id.n);
        return text_end(ret) != NULL;
    }
    ctx = EVP_MD_CTX_new();
    if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL)) {
        EVP_MD_CTX_free(ctx);
        return 0;
    }
    for (uint32_t i = 0; i < q->n; i++) {
        EVP_DigestUpdate(ctx, q->jobs[i]->msg->id.p, (size_t)q->jobs[i]->msg->id.n);
        EVP_DigestUpdate(ctx, "", 1);
    }
    EVP_DigestFinal_ex(ctx, digest, &n);
    EVP_MD_CTX_free(ctx);
    text_adds(ret, "batch_");
    for (unsigned i = 0; i < 16 && i < n; i++) {
        char hex[4];
        snprintf(hex, sizeof hex, "%02x", digest[i]);
        text_adds(ret, hex);
    }
    return text_end(ret) != NULL;
}

static int add_signature(const struct client *c, struct request *q, const char *id,
                         struct outbox_err *err)
{
    struct text signature = {0};
    char timestamp[24];
    int r;
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)time(NULL));
    r = signature_add(c->signing.value, id, timestamp, &q->body, &signature, err);
    if (r == OUTBOX_OK && !text_end(&signature))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == OUTBOX_OK)
        r = headers_add(&q->headers, "webhook-timestamp", outbox_cstr(timestamp), err);
    if (r == OUTBOX_OK)
        r = headers_add(&q->headers, "webhook-signature", outbox_cstr(signature.p), err);
    text_free(&signature);
    return r;
}

static int add_ids(const struct client *c, struct request *q, const struct text *id,
                   struct outbox_err *err)
{
    struct outbox_str value = {id->p, id->n};
    const struct settings *set = &c->settings;
    int r = OUTBOX_OK;
    if (set->id_header)
        r = headers_add(&q->headers, set->id_header, value, err);
    if (r == OUTBOX_OK && set->signs &&
        (!set->id_header || strcasecmp(set->id_header, "webhook-id") != 0))
        r = headers_add(&q->headers, "webhook-id", value, err);
    return r;
}

/* ---- the parts ---- */

static struct outbox_str content_type(const struct client *c, const struct outbox_message *msg)
{
    switch (c->settings.format) {
    case FORMAT_STRUCTURED:
        return outbox_cstr("application/cloudevents+json; charset=utf-8");
    case FORMAT_BATCH:
        return outbox_cstr("application/cloudevents-batch+json; charset=utf-8");
    default:
        return event_content_type(c, msg);
    }
}

/* What these cannot have is the message's fault. */
static int add_headers(const struct client *c, struct request *q, const struct text *id,
                       struct outbox_err *err)
{
    const struct settings *set = &c->settings;
    const struct outbox_message *msg = q->jobs[0]->msg;
    struct outbox_str type = content_type(c, msg);
    int r = type.n > 0 ? headers_add(&q->headers, "Content-Type", type, err)
                       : headers_add(&q->headers, "Content-Type",
                                     outbox_cstr("application/octet-stream"), err);
    if (r == OUTBOX_OK) /* nobody waits for a word before the body */
        r = headers_add_raw(&q->headers, "Expect:", err);
    if (r == OUTBOX_OK && set->format == FORMAT_BINARY)
        r = event_add_headers(c, msg, &q->headers, err);
    if (r == OUTBOX_OK && set->key_header && msg->key.n > 0 && set->format != FORMAT_BATCH)
        r = headers_add(&q->headers, set->key_header, msg->key, err);
    if (r == OUTBOX_OK && set->format != FORMAT_BATCH)
        r = headers_add_messages(c, msg, &q->headers, err);
    return r == OUTBOX_OK ? add_ids(c, q, id, err) : r;
}

/* What these cannot have is not. */
static int add_own_headers(const struct client *c, struct request *q, const char *id,
                           struct outbox_err *err)
{
    int r = headers_add_own(c, &q->headers, err);
    if (r == OUTBOX_OK && c->settings.signs)
        r = add_signature(c, q, id, err);
    return r == OUTBOX_OK ? add_credentials(c, q, err) : r;
}

/* One message's part of the body. */
static int add_body(const struct client *c, const struct outbox_message *msg, struct text *body,
                    struct outbox_err *err)
{
    if (c->settings.format == FORMAT_STRUCTURED || c->settings.format == FORMAT_BATCH)
        return event_add_json(c, msg, body, err);
    text_add(body, msg->payload.n ? msg->payload.p : "", (size_t)msg->payload.n);
    return body->failed ? outbox_fail(err, OUTBOX_E_RETRY, "out of memory") : OUTBOX_OK;
}

/* The first message that can be sent; those before it are refused. */
static int take_first(struct client *c, struct request *q)
{
    struct outbox_job *job;
    while ((job = outbox_client_next(&c->base)) != NULL) {
        struct outbox_err err = {.size = sizeof err};
        int r = target_render(c->base.host, c->base.cfg, &c->settings, job->msg, &q->url, &err);
        q->body.n = 0;
        if (c->settings.format == FORMAT_BATCH)
            text_add(&q->body, "[", 1);
        if (r == OUTBOX_OK)
            r = add_body(c, job->msg, &q->body, &err);
        if (r == OUTBOX_OK && add_job(q, job) < 0)
            r = outbox_fail(&err, OUTBOX_E_RETRY, "out of memory");
        if (r == OUTBOX_OK) {
            outbox_client_sent(&c->base, job);
            return 1;
        }
        refuse(c, job, &err);
        q->body.failed = q->url.failed = 0;
    }
    return 0;
}

/* More messages for the same url, in their order. */
static void take_more(struct client *c, struct request *q)
{
    const struct settings *set = &c->settings;
    struct text url = {0};
    struct outbox_job *job;
    while (q->n < set->batch_max && q->body.n < set->batch_bytes &&
           (job = outbox_client_next(&c->base)) != NULL && !(job->number & JOB_ALONE)) {
        struct outbox_err err = {.size = sizeof err};
        size_t before = q->body.n;
        int r = target_render(c->base.host, c->base.cfg, set, job->msg, &url, &err);
        if (r == OUTBOX_OK && (url.n != q->url.n || memcmp(url.p, q->url.p, url.n) != 0))
            break;
        text_add(&q->body, ",", 1);
        if (r == OUTBOX_OK)
            r = add_body(c, job->msg, &q->body, &err);
        if (r == OUTBOX_OK && q->body.n > set->batch_bytes) {
            q->body.n = before;
            break;
        }
        if (r == OUTBOX_OK && add_job(q, job) < 0)
            r = outbox_fail(&err, OUTBOX_E_RETRY, "out of memory");
        if (r == OUTBOX_OK) {
            outbox_client_sent(&c->base, job);
            continue;
        }
        q->body.n = before;
        q->body.failed = 0;
        refuse(c, job, &err);
    }
    text_free(&url);
}

static void refuse_all(struct client *c, struct request *q, const struct outbox_err *err)
{
    for (uint32_t i = 0; i < q->n; i++)
        if (q->jobs[i])
            refuse(c, q->jobs[i], err);
    q->n = q->left = 0;
    q->body.failed = 0;
    curl_slist_free_all(q->headers);
    q->headers = NULL;
}

int body_make(struct client *c, struct request *q, struct outbox_err *ret_err)
{
    struct outbox_err err = {.size = sizeof err};
    struct text id = {0};
    int r = OUTBOX_OK;
    while (take_first(c, q)) {
        if (c->settings.format == FORMAT_BATCH) {
            if (!(q->jobs[0]->number & JOB_ALONE))
                take_more(c, q);
            text_add(&q->body, "]", 1);
        }
        id.n = 0;
        r = add_id(q, &id) && text_end(&q->body)
                ? add_headers(c, q, &id, &err)
                : outbox_fail(&err, OUTBOX_E_RETRY, "out of memory");
        if (r == OUTBOX_OK) {
            r = add_own_headers(c, q, id.p, ret_err);
            break;
        }
        refuse_all(c, q, &err);
        r = OUTBOX_OK;
    }
    text_free(&id);
    return r == OUTBOX_OK ? (int)q->n : r;
}
