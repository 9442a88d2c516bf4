/* SPDX-License-Identifier: Apache-2.0 */
/* tls.c - whom to trust, and the handshake. Files are read for each connection. */
#include "redis.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

static const char *last_error(void)
{
    unsigned long e = ERR_peek_last_error();
    const char *text = e ? ERR_reason_error_string(e) : NULL;
    return text ? text : "it is not usable";
}

/* Without this, OpenSSL asks for the password of a key at the terminal. */
static int no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf, (void)size, (void)writing, (void)arg;
    return -1;
}

/* A pipe would make OpenSSL wait for somebody who writes. */
static int check_file(const char *option, const char *path, struct outbox_err *err)
{
    struct stat st;
    if (!path)
        return OUTBOX_OK;
    if (stat(path, &st) < 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: %s: %s", option, path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: %s is no regular file", option, path);
    return OUTBOX_OK;
}

static int load_files(const struct settings *set, SSL_CTX *ctx, struct outbox_err *err)
{
    int r = check_file("ca_file", set->ca_file, err);
    if (r == OUTBOX_OK)
        r = check_file("cert_file", set->cert_file, err);
    if (r == OUTBOX_OK && set->key_file)
        r = outbox_private_file("key_file", set->key_file, err);
    if (r < 0)
        return r;
    if (set->ca_file ? SSL_CTX_load_verify_locations(ctx, set->ca_file, NULL) != 1
                     : SSL_CTX_set_default_verify_paths(ctx) != 1)
        return outbox_fail(err, OUTBOX_E_CONFIG, "ca_file: %s (PEM)", last_error());
    if (set->cert_file && SSL_CTX_use_certificate_chain_file(ctx, set->cert_file) != 1)
        return outbox_fail(err, OUTBOX_E_CONFIG, "cert_file: %s (PEM)", last_error());
    if (set->key_file && (SSL_CTX_use_PrivateKey_file(ctx, set->key_file, SSL_FILETYPE_PEM) != 1 ||
                          SSL_CTX_check_private_key(ctx) != 1))
        return outbox_fail(err, OUTBOX_E_CONFIG, "key_file: %s (PEM, without a password)",
                           last_error());
    return OUTBOX_OK;
}

/* The certificate has to be for `name`, which is a name or an address. */
static int set_name(SSL *ssl, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    unsigned char address[sizeof(struct in6_addr)];
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, name) == 1 &&
           X509_VERIFY_PARAM_set1_host(param, name, 0) == 1;
}

static int make_ssl(struct broker *b, const char *name, struct outbox_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int r = ctx ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "TLS cannot be set up");
    if (r == OUTBOX_OK) {
        SSL_CTX_set_default_passwd_cb(ctx, no_password);
        SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
        SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_verify(ctx, b->settings.tls_verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
        r = load_files(&b->settings, ctx, err);
    }
    if (r == OUTBOX_OK)
        b->link.ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    if (r == OUTBOX_OK &&
        (!b->link.ssl || !set_name(b->link.ssl, name) || SSL_set_fd(b->link.ssl, b->link.fd) != 1))
        r = outbox_fail(err, OUTBOX_E_RETRY, "TLS cannot be set up");
    return r;
}

/* Why the handshake has failed. A certificate that is refused is for a person. */
static int explain(SSL *ssl, int why, int e, struct outbox_err *err)
{
    long verified = SSL_get_verify_result(ssl);
    if (verified != X509_V_OK && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE)
        return outbox_fail(err, OUTBOX_E_CONFIG, "its certificate is refused: %s",
                           X509_verify_cert_error_string(verified));
    if (why == SSL_ERROR_SSL)
        return outbox_fail(err, OUTBOX_E_RETRY, "TLS: %s", last_error());
    return outbox_fail(err, OUTBOX_E_RETRY, "TLS: %s",
                       why == SSL_ERROR_SYSCALL && e != 0 ? strerror(e)
                                                          : "the server has closed the connection");
}

int tls_begin(struct broker *b, const char *name, int64_t until_us, struct outbox_err *err)
{
    int r;
    ERR_clear_error();
    r = make_ssl(b, name, err);
    while (r == OUTBOX_OK) {
        int n, e, why;
        ERR_clear_error();
        errno = 0;
        n = SSL_connect(b->link.ssl);
        e = errno;
        if (n == 1)
            return OUTBOX_OK;
        why = SSL_get_error(b->link.ssl, n);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
            r = ask_wait(b, why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, until_us, err);
        else
            r = explain(b->link.ssl, why, e, err);
    }
    ERR_clear_error();
    return r;
}
