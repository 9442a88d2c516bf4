/* SPDX-License-Identifier: Apache-2.0 */
#include "exec.h"

#include "common/rfc3339.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLLISION_LOG_US (60 * INT64_C(1000000))

static const char *const always[] = {"PATH", "HOME", "LANG", "LC_ALL", "TZ"};
#define N_ALWAYS (sizeof always / sizeof always[0])

static int pass(struct exec *x, const char *name)
{
    const char *value = getenv(name);
    char *entry = NULL;
    size_t n = strlen(name);
    for (size_t i = 0; i < x->n_base_env; i++)
        if (strncmp(x->base_env[i], name, n) == 0 && x->base_env[i][n] == '=')
            return OUTBOX_OK;
    if (!value)
        return OUTBOX_OK;
    if (asprintf(&entry, "%s=%s", name, value) < 0)
        return OUTBOX_E_RETRY;
    x->base_env[x->n_base_env++] = entry;
    return OUTBOX_OK;
}

int environment_base(struct exec *x, const struct outbox_cfg *cfg)
{
    size_t more = (size_t)x->host->option_count(cfg, "pass_env");
    x->base_env = calloc(N_ALWAYS + more + 1, sizeof *x->base_env);
    int r = x->base_env ? OUTBOX_OK : OUTBOX_E_RETRY;
    for (size_t i = 0; r == 0 && i < N_ALWAYS; i++)
        r = pass(x, always[i]);
    for (size_t i = 0; r == 0 && i < more; i++)
        r = pass(x, x->host->option_item(cfg, "pass_env", i).p);
    return r;
}

/* PREFIXNAME=value in the arena, the name made one of a variable; NULL without memory. */
static char *entry(struct arena *arena, const char *prefix, struct outbox_str name,
                   struct outbox_str value)
{
    size_t n = strlen(prefix);
    char *out = arena_alloc(arena, n + (size_t)name.n + (size_t)value.n + 2);
    if (!out)
        return NULL;
    memcpy(out, prefix, n);
    for (uint64_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        bool fits = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        out[n++] = fits ? c : '_';
    }
    out[n++] = '=';
    if (value.n)
        memcpy(out + n, value.p, (size_t)value.n);
    out[n + value.n] = '\0';
    return out;
}

static bool has_nul(struct outbox_str text)
{
    return text.n > 0 && memchr(text.p, '\0', (size_t)text.n);
}

static bool holds_nul(const struct outbox_message *msg)
{
    bool nul = has_nul(msg->id) || has_nul(msg->topic) || has_nul(msg->key);
    for (uint64_t i = 0; i < msg->n_headers; i++)
        nul |= has_nul(msg->headers[i].name) || has_nul(msg->headers[i].value);
    return nul;
}

static int compare_names(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    for (; *x == *y && *x != '='; x++)
        y++;
    return *x - *y;
}

/* Headers that become one name are all left out: which one is meant cannot be known. */
static size_t drop_collisions(struct exec *x, char **headers, size_t n)
{
    size_t kept = 0;
    qsort(headers, n, sizeof *headers, compare_names);
    for (size_t i = 0; i < n;) {
        size_t same = 1;
        while (i + same < n && compare_names(&headers[i], &headers[i + same]) == 0)
            same++;
        if (same == 1) {
            headers[kept++] = headers[i];
        } else if (exec_now_us(x) - x->collision_logged_us > COLLISION_LOG_US ||
                   x->collision_logged_us == 0) {
            x->collision_logged_us = exec_now_us(x);
            outbox_logf(x->host, OUTBOX_LOG_WARNING,
                        "%zu headers of a message become %.*s; they are left out", same,
                        (int)strcspn(headers[i], "="), headers[i]);
        }
        i += same;
    }
    return kept;
}

int environment_of(struct exec *x, const struct outbox_message *msg, char ***ret,
                   const char **ret_why)
{
    enum { OURS = 5 };
    const struct outbox_str none = {NULL, 0};
    char retries[24], created[RFC3339_SIZE];
    *ret_why =
        holds_nul(msg) ? "a NUL in id, topic, key or a header cannot be given to a program" : NULL;
    if (*ret_why)
        return OUTBOX_OK;
    size_t n = x->n_base_env, n_headers = (size_t)msg->n_headers;
    char **env = *ret = arena_array(&x->arena, n + OURS + n_headers + 1, sizeof *env);
    if (!env)
        return OUTBOX_E_RETRY;
    memcpy(env, x->base_env, n * sizeof *env);
    rfc3339_format(msg->created_us, created);
    env[n++] = entry(&x->arena, "OUTBOX_ID", none, msg->id);
    env[n++] = entry(&x->arena, "OUTBOX_TOPIC", none, msg->topic);
    env[n++] = entry(&x->arena, "OUTBOX_KEY", none, msg->key);
    env[n++] = entry(&x->arena, "OUTBOX_RETRIES", none, outbox_int_text(msg->retries, retries));
    env[n++] = entry(&x->arena, "OUTBOX_CREATED_AT", none, outbox_cstr(created));
    for (size_t i = 0; i < n_headers; i++)
        env[n + i] =
            entry(&x->arena, "OUTBOX_HEADER_", msg->headers[i].name, msg->headers[i].value);
    for (size_t i = 0; i < n + n_headers; i++)
        if (!env[i])
            return OUTBOX_E_RETRY;
    env[n + drop_collisions(x, env + n, n_headers)] = NULL;
    return OUTBOX_OK;
}
