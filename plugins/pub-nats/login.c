/* SPDX-License-Identifier: Apache-2.0 */
/* login.c - what one connection is made with. Files are read anew for each. */
#include "broker.h"
#include "nkey.h"

#include <strings.h>

/* How long the end of a process waits for threads of the library, ms. */
#define LIBRARY_END_MS 500

/* Without the place in the library's source, which stands before it. */
const char *login_text(natsStatus s)
{
    const char *text = nats_GetLastError(NULL), *end;
    if (!text || !*text)
        return natsStatus_GetText(s);
    end = *text == '(' ? strstr(text, "): ") : NULL;
    return end ? end + 3 : text;
}

static int failed(natsStatus s, const char *what, struct outbox_err *err)
{
    return outbox_fail(err, s == NATS_NO_MEMORY ? OUTBOX_E_RETRY : OUTBOX_E_CONFIG, "%s: %.300s",
                       what, login_text(s));
}

static int set_password(const struct broker *b, natsOptions *opts, struct outbox_err *err)
{
    const struct outbox_client *c = &b->client;
    const struct settings *set = &b->settings;
    const char *option = set->has_token ? "token" : "password";
    char secret[4096] = "";
    uint64_t n;
    natsStatus s = NATS_OK;
    int r = OUTBOX_OK;
    if (set->url.has_password)
        snprintf(secret, sizeof secret, "%s", set->url.password);
    else
        r = outbox_option_read(c->host, c->cfg, option, secret, sizeof secret, &n, err);
    if (r == OUTBOX_OK)
        s = set->has_token ? natsOptions_SetToken(opts, secret)
                           : natsOptions_SetUserInfo(opts, set->url.user, secret);
    explicit_bzero(secret, sizeof secret);
    return s == NATS_OK ? r : failed(s, option, err);
}

static int set_login(const struct broker *b, natsOptions *opts, struct outbox_err *err)
{
    const struct settings *set = &b->settings;
    char public[NKEY_MAX];
    natsStatus s = NATS_OK;
    int r = OUTBOX_OK;
    if (set->url.has_user || set->has_token)
        return set_password(b, opts, err);
    if (set->creds_file) {
        r = outbox_private_file("creds_file", set->creds_file, err);
        if (r == OUTBOX_OK)
            s = natsOptions_SetUserCredentialsFromFiles(opts, set->creds_file, NULL);
    } else if (set->nkey_file) {
        r = nkey_public(set->nkey_file, public, err);
        if (r == OUTBOX_OK)
            s = natsOptions_SetNKeyFromSeed(opts, public, set->nkey_file);
    }
    return s == NATS_OK ? r : failed(s, set->creds_file ? "creds_file" : "nkey_file", err);
}

static int set_tls(const struct settings *set, const struct outbox_url_host *h, natsOptions *opts,
                   struct outbox_err *err)
{
    natsStatus s;
    if (!set->tls) { /* the library would begin TLS by itself if the server demands it */
        s = natsOptions_SetExpectedHostname(opts, "tls.was.not.asked.for.invalid");
        return s == NATS_OK ? OUTBOX_OK : failed(s, "TLS", err);
    }
    if (set->key_file && outbox_private_file("key_file", set->key_file, err) < 0)
        return OUTBOX_E_CONFIG;
    s = natsOptions_SetSecure(opts, true);
    if (s == NATS_OK && set->ca_file) {
        s = natsOptions_LoadCATrustedCertificates(opts, set->ca_file);
        if (s != NATS_OK)
            return failed(s, "ca_file cannot be read", err);
    }
    if (s == NATS_OK && set->cert_file) {
        s = natsOptions_LoadCertificatesChain(opts, set->cert_file, set->key_file);
        if (s != NATS_OK)
            return failed(s, "cert_file or key_file cannot be read", err);
    }
    if (s == NATS_OK)
        s = set->tls_verify ? natsOptions_SetExpectedHostname(opts, h->name)
                            : natsOptions_SkipServerVerification(opts, true);
    return s == NATS_OK ? OUTBOX_OK : failed(s, "TLS", err);
}

/* One host, one try: what comes after a connection has ended is decided elsewhere, and nothing is
 * kept to be sent later. */
static natsStatus set_manners(const struct broker *b, const struct outbox_url_host *h,
                              natsOptions *opts)
{
    char url[sizeof h->peer + 8];
    natsStatus s;
    snprintf(url, sizeof url, "%s://%s", b->settings.tls ? "tls" : "nats", h->peer);
    s = natsOptions_SetURL(opts, url);
    if (s == NATS_OK)
        s = natsOptions_SetName(opts, b->client.host->instance);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(opts, b->settings.connect_us / 1000);
    if (s == NATS_OK)
        s = natsOptions_SetAllowReconnect(opts, false);
    if (s == NATS_OK)
        s = natsOptions_SetPingInterval(opts, 0); /* a thread of the library would end it */
    if (s == NATS_OK)
        s = natsOptions_SetSendAsap(opts, true); /* so does the thread that flushes nothing */
    return s;
}

/* At the end of the process: a thread of the library may still be freeing a connection that was
 * closed, with OpenSSL, which cleans up after this. */
static void close_library(void)
{
    nats_CloseAndWait(LIBRARY_END_MS);
}

/* A section that uses the library while another one's thread opens it would get an error.
 * What becomes of SIGPIPE is the host's; the library's threads block it, as ours, which they are
 * made by. */
static void open_library(void)
{
    struct sigaction before;
    nkey_begin(); /* what is registered first is called last */
    sigaction(SIGPIPE, NULL, &before);
    nats_Open(-1); /* natsOptions_Create tells what failed */
    sigaction(SIGPIPE, &before, NULL);
    atexit(close_library);
}

int login_options(const struct broker *b, const struct outbox_url_host *h, natsOptions **ret,
                  struct outbox_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    natsOptions *opts = NULL;
    natsStatus s;
    int r;
    pthread_once(&once, open_library);
    s = natsOptions_Create(&opts);
    if (s == NATS_OK)
        s = set_manners(b, h, opts);
    r = s == NATS_OK ? set_login(b, opts, err) : failed(s, h->peer, err);
    if (r == OUTBOX_OK)
        r = set_tls(&b->settings, h, opts, err);
    if (r == OUTBOX_OK)
        *ret = opts;
    else
        natsOptions_Destroy(opts);
    return r;
}
