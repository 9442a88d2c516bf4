/* SPDX-License-Identifier: Apache-2.0 */
/* secret.c - secrets that may change while the relay runs. */
#include "http.h"

/* So often is a file read again. */
#define AGAIN_US 1000000

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
