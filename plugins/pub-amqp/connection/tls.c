/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tls.c - which brokers to trust. The library loads no authorities by itself, and its version 0.11
 * knows no addresses in certificates, so OpenSSL verifies during the handshake.
 */
#include "connection/tls.h"

#include <outbox/helpers.h>

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

const char *tls_last_error(void)
{
    unsigned long e = ERR_peek_last_error();
    return e ? ERR_reason_error_string(e) : NULL;
}

/* An encrypted key would make OpenSSL ask for its password on the terminal. */
static int no_password(char *buffer, int size, int writing, void *arg)
{
    (void)buffer, (void)size, (void)writing, (void)arg;
    return -1;
}

static int bad_file(const char *option, const char *path, struct outbox_err *err)
{
    const char *why = tls_last_error();
    if (path && access(path, R_OK) < 0)
        return outbox_fail_option(err, option, "%s: cannot read %.200s: %s", option, path,
                                  strerror(errno));
    return outbox_fail_option(err, option, "%s: not usable: %s (PEM, without a password)", option,
                              why ? why : "unknown reason");
}

/* A pipe would make OpenSSL wait for somebody who writes. */
static int check_regular(const char *option, const char *path, struct outbox_err *err)
{
    struct stat st;
    if (path && stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return outbox_fail_option(err, option, "%s: %.200s is not a regular file", option, path);
    return OUTBOX_OK;
}

static int load_files(SSL_CTX *ctx, const struct endpoint *e, struct outbox_err *err)
{
    int r = check_regular("ca_file", e->ca_file, err);
    if (r == 0)
        r = check_regular("cert_file", e->cert_file, err);
    if (r == 0)
        r = check_regular("key_file", e->key_file, err);
    if (r < 0)
        return r;
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    ERR_clear_error();
    if (e->ca_file ? SSL_CTX_load_verify_locations(ctx, e->ca_file, NULL) != 1
                   : SSL_CTX_set_default_verify_paths(ctx) != 1)
        return bad_file("ca_file", e->ca_file, err);
    if (e->cert_file && SSL_CTX_use_certificate_chain_file(ctx, e->cert_file) != 1)
        return bad_file("cert_file", e->cert_file, err);
    if (e->key_file && (SSL_CTX_use_PrivateKey_file(ctx, e->key_file, SSL_FILETYPE_PEM) != 1 ||
                        SSL_CTX_check_private_key(ctx) != 1))
        return bad_file("key_file", e->key_file, err);
    return OUTBOX_OK;
}

int tls_check(const struct endpoint *endpoint, struct outbox_err *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    int r = ctx ? load_files(ctx, endpoint, err)
                : outbox_fail(err, OUTBOX_E_RETRY, "cannot set up TLS");
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return r;
}

/* ---- connecting ---- */

/* OpenSSL calls it for each certificate of the chain, and ends the handshake if it returns 0. */
static int on_verified(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct attempt *a = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    if (!ok && a)
        outbox_fail(&a->err, OUTBOX_E_CONFIG, "its certificate is refused: %s",
                    X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
    return ok;
}

static void copy_identity(struct attempt *a, SSL_CTX *ctx)
{
    X509 *certificate = SSL_CTX_get0_certificate(ctx);
    const X509_NAME *name = certificate ? X509_get_subject_name(certificate) : NULL;
    if (!name ||
        X509_NAME_get_text_by_NID(name, NID_commonName, a->identity, sizeof a->identity) <= 0)
        snprintf(a->identity, sizeof a->identity, "-");
}

static int set_up(struct attempt *a, SSL_CTX *ctx)
{
    const struct endpoint *endpoint = a->endpoint;
    const char *name = endpoint->url.parts.hosts[a->host].name;
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    unsigned char address[sizeof(struct in6_addr)];
    int r = load_files(ctx, endpoint, &a->err);
    if (r < 0)
        return r;
    copy_identity(a, ctx);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "cannot set up TLS");
    /* At a renegotiation the attempt that on_verified writes to would be gone. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    if (!endpoint->verify)
        return OUTBOX_OK;
    bool is_address =
        inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (is_address ? X509_VERIFY_PARAM_set1_ip_asc(param, name) != 1
                   : X509_VERIFY_PARAM_set1_host(param, name, 0) != 1)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "cannot set up TLS");
    SSL_CTX_set_app_data(ctx, a);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verified);
    return OUTBOX_OK;
}

static int explain(struct attempt *a, int status)
{
    const char *detail = tls_last_error();
    if (a->err.code != OUTBOX_OK)
        return a->err.code; /* on_verified has said why */
    if (status == AMQP_STATUS_HOSTNAME_RESOLUTION_FAILED)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "cannot resolve the name");
    if (status == AMQP_STATUS_TIMEOUT)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "no answer within connect_timeout");
    if (status == AMQP_STATUS_SOCKET_ERROR)
        return outbox_fail(&a->err, OUTBOX_E_RETRY,
                           "cannot connect, it refuses or is not reachable");
    return outbox_fail(&a->err, OUTBOX_E_RETRY, "TLS: %s",
                       detail ? detail : amqp_error_string2(status));
}

int tls_connect(struct attempt *a)
{
    const struct outbox_url_host *host = &a->endpoint->url.parts.hosts[a->host];
    amqp_socket_t *s = amqp_ssl_socket_new(a->state);
    if (!s)
        return outbox_fail(&a->err, OUTBOX_E_RETRY, "cannot set up TLS");
    amqp_ssl_socket_set_verify_peer(s, a->endpoint->verify);
    amqp_ssl_socket_set_verify_hostname(s, 0);
    SSL_CTX *ctx = amqp_ssl_socket_get_context(s);
    if (set_up(a, ctx) < 0)
        return a->err.code;
    struct timeval left = attempt_time_left(a);
    int status = amqp_socket_open_noblock(s, host->name, host->port, &left);
    /* The context lives longer than the attempt. */
    SSL_CTX_set_verify(ctx, a->endpoint->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    SSL_CTX_set_app_data(ctx, NULL);
    return status == AMQP_STATUS_OK ? OUTBOX_OK : explain(a, status);
}
