/* SPDX-License-Identifier: Apache-2.0 */
/* environment.c - what a program learns of its message; nothing else of ours passes unasked. */
#include "common/rfc3339.h"
#include "exec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_PREFIX "OUTBOX_HEADER_"
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
            return 0;
    if (!value)
        return 0;
    if (asprintf(&entry, "%s=%s", name, value) < 0)
        return -1;
    x->base_env[x->n_base_env++] = entry;
    return 0;
}

int environment_base(struct exec *x, const struct outbox_cfg *cfg)
{
    size_t more = (size_t)x->host->option_count(cfg, "pass_env");
    x->base_env = calloc(N_ALWAYS + more + 1, sizeof *x->base_env);
    if (!x->base_env)
        return -1;
    for (size_t i = 0; i < N_ALWAYS; i++)
        if (pass(x, always[i]) < 0)
            return -1;
    for (size_t i = 0; i < more; i++)
        if (pass(x, x->host->option_item(cfg, "pass_env", i).p) < 0)
            return -1;
    return 0;
}

/* NAME=value in the arena; NULL without memory. */
static char *entry(struct arena *arena, const char *name, struct outbox_str value)
{
    size_t n = strlen(name);
    char *out = arena_alloc(arena, n + (size_t)value.n + 2);
    if (!out)
        return NULL;
    memcpy(out, name, n);
    out[n] = '=';
    if (value.n)
        memcpy(out + n + 1, value.p, (size_t)value.n);
    out[n + 1 + value.n] = '\0';
    return out;
}

static char *header_entry(struct arena *arena, const struct outbox_header *header)
{
    size_t prefix = sizeof HEADER_PREFIX - 1;
    char *name = arena_alloc(arena, prefix + (size_t)header->name.n + 1);
    if (!name)
        return NULL;
    memcpy(name, HEADER_PREFIX, prefix);
    for (uint64_t i = 0; i < header->name.n; i++) {
        char c = header->name.p[i];
        if (c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9'))
            c = '_';
        name[prefix + i] = c;
    }
    name[prefix + header->name.n] = '\0';
    return entry(arena, name, header->value);
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

static size_t name_length(const char *entry)
{
    return strcspn(entry, "=");
}

static int compare_names(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    size_t nx = name_length(x), ny = name_length(y);
    int c = memcmp(x, y, nx < ny ? nx : ny);
    return c ? c : (nx > ny) - (nx < ny);
}

/* Two headers that become one name are both left out: which one is meant, nobody can know. */
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
        } else if (x->host->monotonic_us(x->host) - x->collision_us > COLLISION_LOG_US ||
                   x->collision_us == 0) {
            x->collision_us = x->host->monotonic_us(x->host);
            outbox_logf(x->host, OUTBOX_LOG_WARNING,
                        "%zu headers of a message become %.*s; they are left out", same,
                        (int)name_length(headers[i]), headers[i]);
        }
        i += same;
    }
    return kept;
}

char **environment_for(struct exec *x, const struct outbox_message *msg, struct outbox_str *ret_why)
{
    enum { OURS = 5 };
    char retries[16], created[RFC3339_SIZE];
    *ret_why = (struct outbox_str){NULL, 0};
    if (holds_nul(msg)) {
        *ret_why = outbox_cstr("a NUL in id, topic, key or a header cannot be given to a program");
        return NULL;
    }
    size_t n = x->n_base_env;
    char **env = arena_array(&x->arena, n + OURS + (size_t)msg->n_headers + 1, sizeof *env);
    if (!env)
        return NULL;
    memcpy(env, x->base_env, n * sizeof *env);
    snprintf(retries, sizeof retries, "%" PRIu32, msg->retries);
    rfc3339_format(msg->created_us, created);
    env[n++] = entry(&x->arena, "OUTBOX_ID", msg->id);
    env[n++] = entry(&x->arena, "OUTBOX_TOPIC", msg->topic);
    env[n++] = entry(&x->arena, "OUTBOX_KEY", msg->key);
    env[n++] = entry(&x->arena, "OUTBOX_RETRIES", outbox_cstr(retries));
    env[n++] = entry(&x->arena, "OUTBOX_CREATED_AT", outbox_cstr(created));
    for (uint64_t i = 0; i < msg->n_headers; i++)
        env[n + i] = header_entry(&x->arena, &msg->headers[i]);
    for (size_t i = 0; i < n + msg->n_headers; i++)
        if (!env[i])
            return NULL;
    if (msg->n_headers > 1)
        n += drop_collisions(x, env + n, (size_t)msg->n_headers);
    else
        n += (size_t)msg->n_headers;
    env[n] = NULL;
    return env;
}
