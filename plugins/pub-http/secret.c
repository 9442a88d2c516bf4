/* SPDX-License-Identifier: Apache-2.0 */
/* secret.c - secrets that may change while the relay runs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "http.h"

/* So often is a file read again. */
#define AGAIN_US 1000000
/* So many bytes of a secret are too many. */
#define PART 16
/* A header of the configuration that is shorter is no secret. */
#define HEADER_MIN 8

int secret_check_header(const char *option, const char *value, struct outbox_err *err)
{
    for (const char *p = value; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F)
            return outbox_fail_option(err, option,
                                      "%s: it has more than one line, or another control "
                                      "character",
                                      option);
    return OUTBOX_OK;
}

int secret_read(const struct outbox_host *host, const struct outbox_cfg *cfg, struct secret *s,
                struct outbox_err *err)
{
    char value[SECRET_MAX];
    int64_t now_us = host->monotonic_us(host);
    uint64_t n = 0;
    int r;
    if (!s->option || (s->read_us > 0 && now_us - s->read_us < AGAIN_US))
        return OUTBOX_OK;
    r = outbox_option_read(host, cfg, s->option, value, sizeof value, &n, err);
    if (r == OUTBOX_OK && s->is_header)
        r = secret_check_header(s->option, value, err);
    if (r == OUTBOX_OK && (s->version == 0 || strcmp(value, s->value) != 0)) {
        explicit_bzero(s->value, sizeof s->value);
        memcpy(s->value, value, (size_t)n + 1);
        s->n = n;
        s->version++;
    }
    if (r == OUTBOX_OK)
        s->read_us = now_us;
    explicit_bzero(value, sizeof value);
    return r;
}

void secret_clear(struct secret *s)
{
    explicit_bzero(s->value, sizeof s->value);
}

/* ---- does a text have part of one? ---- */

static int has_part(struct outbox_str text, const char *secret)
{
    size_t n = secret ? strlen(secret) : 0, part = n < PART ? n : PART;
    for (size_t i = 0; part > 0 && i + part <= n; i++)
        if (memmem(text.p, (size_t)text.n, secret + i, part))
            return 1;
    return 0;
}

/* Of `Token abc`, that is abc. */
static const char *last_word(const char *text)
{
    const char *blank = strrchr(text, ' ');
    return blank && strlen(blank + 1) >= HEADER_MIN ? blank + 1 : text;
}

static int has_header(const struct client *c, struct outbox_str text)
{
    const struct outbox_host *host = c->base.host;
    for (uint64_t i = 0; i < host->option_count(c->base.cfg, "header"); i++) {
        struct outbox_str value = host->option_item(c->base.cfg, "header", i);
        if (value.n >= HEADER_MIN && has_part(text, last_word(value.p)))
            return 1;
    }
    return 0;
}

int secret_is_in(const struct client *c, struct outbox_str text)
{
    const char *const all[] = {c->password.value,      c->bearer.value, c->signing.value,
                               c->client_secret.value, c->token,        c->settings.url.password,
                               c->proxy_password.value};
    struct text credentials = {0};
    const char *value;
    int is_in = has_header(c, text);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        is_in |= has_part(text, all[i]);
    body_add_credentials(c, &credentials);
    value = text_end(&credentials);
    is_in |= !value || has_part(text, last_word(value));
    if (credentials.p)
        explicit_bzero(credentials.p, credentials.n);
    text_free(&credentials);
    return is_in;
}
