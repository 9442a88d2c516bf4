/* SPDX-License-Identifier: Apache-2.0 */
/* nkey.c - the public key that belongs to a seed: the server is told it at the login. */
#include "nkey.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

/* In base32: two bytes of what it is, 32 of Ed25519, two of a checksum. */
#define SEED_TEXT 58
#define SEED_BYTES 36

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

static uint16_t checksum(const unsigned char *p, size_t n)
{
    uint32_t crc = 0;
    for (size_t i = 0; i < n; i++) {
        crc ^= (uint32_t)p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xFFFF;
    }
    return (uint16_t)crc;
}

static int decode(const char *text, size_t n, unsigned char *ret)
{
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; i < n; i++) {
        const char *at = text[i] ? strchr(letters, text[i]) : NULL;
        if (!at)
            return -1;
        bits = (bits << 5 | (uint32_t)(at - letters)) & 0xFFFF;
        have += 5;
        if (have >= 8) {
            have -= 8;
            *ret++ = (unsigned char)(bits >> have);
        }
    }
    return 0;
}

static void encode(const unsigned char *p, size_t n, char *ret)
{
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; i < n; i++) {
        bits = (bits << 8 | p[i]) & 0xFFFF;
        have += 8;
        while (have >= 5) {
            have -= 5;
            *ret++ = letters[bits >> have & 31];
        }
    }
    if (have > 0)
        *ret++ = letters[bits << (5 - have) & 31];
    *ret = '\0';
}

/* The file holds the seed of a user, with lines of other things around it or without. */
static int read_seed(const char *path, char ret[SEED_TEXT + 1], struct outbox_err *err)
{
    char line[512] = "";
    int found = 0;
    FILE *f = fopen(path, "re");
    if (!f)
        return outbox_fail_option(err, "nkey_file", "nkey_file: %s: %s", path, strerror(errno));
    setvbuf(f, NULL, _IONBF, 0); /* no copy of it stays behind */
    while (!found && fgets(line, sizeof line, f)) {
        const char *p = line + strspn(line, " \t");
        size_t n = strcspn(p, " \t\r\n");
        if (n == SEED_TEXT && strncmp(p, "SU", 2) == 0) {
            memcpy(ret, p, SEED_TEXT);
            ret[SEED_TEXT] = '\0';
            found = 1;
        }
    }
    explicit_bzero(line, sizeof line);
    fclose(f);
    return found ? OUTBOX_OK
                 : outbox_fail_option(err, "nkey_file",
                                      "nkey_file: %s holds no seed of a user, which begins with SU",
                                      path);
}

static int derive(const unsigned char seed[SEED_BYTES], char ret[NKEY_MAX], struct outbox_err *err)
{
    unsigned char raw[1 + 32 + 2] = {20 << 3}; /* it begins with a U */
    uint16_t crc = checksum(seed, SEED_BYTES - 2);
    size_t n = 32;
    EVP_PKEY *key;
    int ok;
    if (seed[SEED_BYTES - 2] != (crc & 0xFF) || seed[SEED_BYTES - 1] != crc >> 8)
        return outbox_fail_option(err, "nkey_file", "nkey_file: its seed is not complete");
    key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed + 2, 32);
    ok = key && EVP_PKEY_get_raw_public_key(key, raw + 1, &n) == 1 && n == 32;
    EVP_PKEY_free(key);
    if (!ok)
        return outbox_fail(err, OUTBOX_E_RETRY, "nkey_file: OpenSSL has no Ed25519");
    crc = checksum(raw, 33);
    raw[33] = (unsigned char)(crc & 0xFF);
    raw[34] = (unsigned char)(crc >> 8);
    encode(raw, sizeof raw, ret);
    return OUTBOX_OK;
}

int nkey_public(const char *path, char ret[NKEY_MAX], struct outbox_err *err)
{
    char text[SEED_TEXT + 1] = "";
    unsigned char seed[SEED_BYTES + 1];
    int r = outbox_private_file("nkey_file", path, err);
    if (r == OUTBOX_OK)
        r = read_seed(path, text, err);
    if (r == OUTBOX_OK && decode(text, SEED_TEXT, seed) < 0)
        r = outbox_fail_option(err, "nkey_file", "nkey_file: its seed is no base32");
    if (r == OUTBOX_OK)
        r = derive(seed, ret, err);
    explicit_bzero(text, sizeof text);
    explicit_bzero(seed, sizeof seed);
    return r;
}

void nkey_begin(void)
{
    OPENSSL_init_crypto(0, NULL);
}
