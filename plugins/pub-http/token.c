/* SPDX-License-Identifier: Apache-2.0 */
/* token.c - OAuth2 client credentials (RFC 6749, 4.4): one token for all, fetched when one is
 * needed. */
#include "http.h"

#include <json-c/json.h>

/* A token without expires_in is good for so long; one is renewed a tenth of its time before its
 * end, at most so long before. */
#define EXPIRES_S 300
#define MARGIN_US 30000000
/* With `Bearer` before it, it is a header. */
#define TOKEN_MAX_BYTES 8000

int token_is_fresh(const struct client *c)
{
    return c->settings.auth != AUTH_OAUTH2 ||
           (c->token && outbox_client_now_us(&c->base) < c->token_until_us);
}

void token_drop(struct client *c)
{
    if (c->token)
        explicit_bzero(c->token, strlen(c->token));
    free(c->token);
    c->token = NULL;
}

static void add_field(struct text *t, const char *name, const char *value)
{
    if (!value)
        return;
    if (t->n > 0)
        text_add(t, "&", 1);
    text_adds(t, name);
    text_add(t, "=", 1);
    text_add_encoded(t, value, strlen(value));
}

static int add_login(struct client *c, struct request *q, struct outbox_err *err)
{
    const struct settings *set = &c->settings;
    struct text login = {0}, value = {0};
    int r = OUTBOX_OK;
    if (set->token_by_body) {
        add_field(&q->body, "client_id", set->client_id);
        add_field(&q->body, "client_secret", c->client_secret.value);
        return OUTBOX_OK;
    }
    text_add_encoded(&login, set->client_id, strlen(set->client_id));
    text_add(&login, ":", 1);
    text_add_encoded(&login, c->client_secret.value, (size_t)c->client_secret.n);
    text_adds(&value, "Basic ");
    text_add_base64(&value, login.p, login.n);
    if (login.failed || value.failed)
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    else
        r = headers_add(&q->headers, "Authorization", (struct outbox_str){value.p, value.n}, err);
    text_free(&login);
    text_free(&value);
    return r;
}

int token_fetch(struct client *c, struct outbox_err *err)
{
    const struct settings *set = &c->settings;
    struct request *q = request_take(c, KIND_TOKEN);
    int r = OUTBOX_OK;
    if (!q)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    text_adds(&q->url, set->token_url);
    add_field(&q->body, "grant_type", "client_credentials");
    add_field(&q->body, "scope", set->scope);
    add_field(&q->body, "audience", set->audience);
    r = add_login(c, q, err);
    if (r == OUTBOX_OK)
        r = headers_add(&q->headers, "Content-Type",
                        outbox_cstr("application/x-www-form-urlencoded"), err);
    if (r == OUTBOX_OK)
        r = headers_add(&q->headers, "Accept", outbox_cstr("application/json"), err);
    if (r == OUTBOX_OK && (!text_end(&q->url) || !text_end(&q->body)))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == OUTBOX_OK)
        r = request_start(c, q, set->publish_ms, err);
    if (r < 0) {
        request_free(q);
        return r;
    }
    c->fetching = 1;
    return OUTBOX_OK;
}

/* The text of a member, cut and without what does not belong into a log. */
static void show_member(const struct client *c, struct json_object *doc, const char *name,
                        char buf[128])
{
    struct json_object *member;
    buf[0] = '\0';
    if (!doc || !json_object_object_get_ex(doc, name, &member) ||
        !json_object_is_type(member, json_type_string))
        return;
    if (secret_is_in(c, outbox_cstr(json_object_get_string(member))))
        return;
    snprintf(buf, 128, "%s", json_object_get_string(member));
    for (char *p = buf; *p; p++)
        if (*p < 0x20 || *p >= 0x7F)
            *p = '?';
}

static int take_token(struct client *c, struct json_object *doc, struct outbox_err *err)
{
    struct json_object *member;
    int64_t seconds = EXPIRES_S, margin_us;
    const char *token = NULL;
    if (json_object_object_get_ex(doc, "access_token", &member) &&
        json_object_is_type(member, json_type_string))
        token = json_object_get_string(member);
    if (!token || !*token || strlen(token) > TOKEN_MAX_BYTES)
        return outbox_fail(err, OUTBOX_E_RETRY, "oauth2_token_url: its answer has no access_token");
    for (const char *p = token; *p; p++)
        if (*p <= 0x20 || *p >= 0x7F)
            return outbox_fail(err, OUTBOX_E_RETRY,
                               "oauth2_token_url: its access_token has a blank or the like");
    if (json_object_object_get_ex(doc, "expires_in", &member) && json_object_get_int64(member) > 0)
        seconds = json_object_get_int64(member);
    if (seconds > 86400 * 365)
        seconds = 86400 * 365;
    margin_us = seconds * 100000 < MARGIN_US ? seconds * 100000 : MARGIN_US;
    token_drop(c);
    c->token = strdup(token);
    if (!c->token)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    c->token_version++;
    c->token_until_us = outbox_client_now_us(&c->base) + seconds * 1000000 - margin_us;
    return OUTBOX_OK;
}

int token_take(struct client *c, struct request *q, CURLcode code, struct outbox_err *err)
{
    struct json_object *doc = NULL;
    char error[128];
    long status = 0;
    int r;
    curl_easy_getinfo(q->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK)
        return answer_fault(c, q, code, err);
    if (text_end(&q->document))
        doc = json_tokener_parse(q->document.p);
    if (doc && !json_object_is_type(doc, json_type_object)) {
        json_object_put(doc);
        doc = NULL;
    }
    if (status == 200 && doc) {
        r = take_token(c, doc, err);
    } else {
        show_member(c, doc, "error", error);
        c->client_secret.read_us = 0;
        r = outbox_fail(
            err,
            status >= 400 && status < 500 && status != 429 && status != 408 ? OUTBOX_E_CONFIG
                                                                            : OUTBOX_E_RETRY,
            "oauth2_token_url: no token, but status %ld%s%s", status, *error ? ": " : "", error);
    }
    json_object_put(doc);
    if (q->document.p)
        explicit_bzero(q->document.p, q->document.n);
    return r;
}
