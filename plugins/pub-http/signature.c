/* SPDX-License-Identifier: Apache-2.0 */
/* signature.c - the signatures of Standard Webhooks: HMAC-SHA256 of id.timestamp.body. */
#include "http.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define KEY_MAX 512

/* The bytes of whsec_BASE64, or of BASE64. 0: it is none, or not of 16 to 64 bytes: the standard
 * asks for 24 and more, and has an example of 18. */
static size_t decode_secret(const char *text, size_t n, unsigned char key[KEY_MAX])
{
    unsigned char padded[KEY_MAX];
    size_t pad = 0;
    int r;
    if (n > 6 && memcmp(text, "whsec_", 6) == 0) {
        text += 6;
        n -= 6;
    }
    while (n > 0 && text[n - 1] == '=' && pad < 2) {
        n--;
        pad++;
    }
    if (n == 0 || n + 4 > sizeof padded || n % 4 == 1 || memchr(text, '=', n))
        return 0;
    memcpy(padded, text, n);
    pad = (4 - n % 4) % 4;
    memset(padded + n, '=', pad);
    r = EVP_DecodeBlock(key, padded, (int)(n + pad));
    explicit_bzero(padded, sizeof padded);
    if (r < 0 || (size_t)r < 16 + pad || (size_t)r > 64 + pad)
        return 0;
    return (size_t)r - pad;
}

static size_t next_secret(const char **at, const char **ret)
{
    size_t n;
    *at += strspn(*at, " \n\t");
    n = strcspn(*at, " \n\t");
    *ret = *at;
    *at += n;
    return n;
}

int signature_check(const char *secrets, struct outbox_err *err)
{
    unsigned char key[KEY_MAX];
    const char *one;
    size_t n, count = 0;
    int r = OUTBOX_OK;
    while ((n = next_secret(&secrets, &one)) > 0 && r == OUTBOX_OK) {
        if (decode_secret(one, n, key) == 0)
            r = outbox_fail_option(err, "signing_secret",
                                   "signing_secret: secret %zu is no base64 of 16 to 64 bytes",
                                   count + 1);
        count++;
    }
    explicit_bzero(key, sizeof key);
    if (r == OUTBOX_OK && count == 0)
        r = outbox_fail_option(err, "signing_secret", "signing_secret: it is empty");
    return r;
}

static int sign(const unsigned char *key, size_t key_n, const char *id, const char *timestamp,
                const struct text *body, struct text *ret)
{
    struct text signed_text = {0};
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_n = 0;
    int ok = 0;
    text_adds(&signed_text, id);
    text_add(&signed_text, ".", 1);
    text_adds(&signed_text, timestamp);
    text_add(&signed_text, ".", 1);
    text_add(&signed_text, body->n ? body->p : "", body->n);
    if (text_end(&signed_text))
        ok = HMAC(EVP_sha256(), key, (int)key_n, (const unsigned char *)signed_text.p,
                  signed_text.n, digest, &digest_n) != NULL;
    text_free(&signed_text);
    text_adds(ret, "v1,");
    text_add_base64(ret, digest, digest_n);
    return ok;
}

int signature_add(const char *secrets, const char *id, const char *timestamp,
                  const struct text *body, struct text *ret, struct outbox_err *err)
{
    unsigned char key[KEY_MAX];
    const char *one;
    size_t n, key_n, count = 0;
    int ok = 1;
    while (ok && (n = next_secret(&secrets, &one)) > 0) {
        if (count++ > 0)
            text_add(ret, " ", 1);
        key_n = decode_secret(one, n, key);
        ok = key_n > 0 && sign(key, key_n, id, timestamp, body, ret);
    }
    explicit_bzero(key, sizeof key);
    return ok ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "the signature cannot be made");
}
