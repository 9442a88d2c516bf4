/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-http: what it is, and its options. */
#include "http.h"

static const char *const methods[] = {"POST", "PUT", NULL};
static const char *const formats[] = {"raw", "cloudevents-binary", "cloudevents-structured",
                                      "cloudevents-batch", NULL};
static const char *const versions[] = {"auto", "1.1", "2", NULL};
static const char *const logins[] = {"basic", "body", NULL};

#define TEXT(name, deflt, help, flags)                        \
    {                                                         \
        name, deflt, help, NULL, 0, 0, OUTBOX_OPT_TEXT, flags \
    }
#define LIST(name, deflt, help)                           \
    {                                                     \
        name, deflt, help, NULL, 0, 0, OUTBOX_OPT_LIST, 0 \
    }
#define BOOL(name, deflt, help)                           \
    {                                                     \
        name, deflt, help, NULL, 0, 0, OUTBOX_OPT_BOOL, 0 \
    }
#define CHOICE(name, deflt, help, choices)                     \
    {                                                          \
        name, deflt, help, choices, 0, 0, OUTBOX_OPT_CHOICE, 0 \
    }

static const struct outbox_option options[] = {
    TEXT("url", NULL, "https://USER:PASSWORD@HOST:PORT/PATH?QUERY; path and query are a template.",
         OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET),
    LIST("allow_paths", NULL, "Patterns: paths, with their queries, that messages may go to."),
    CHOICE("method", "POST", "The method.", methods),
    CHOICE("format", "raw", "How a message becomes a request.", formats),
    TEXT("content_type", "application/json",
         "Of messages without a header content-type; empty: application/octet-stream.", 0),
    TEXT("id_header", "webhook-id", "The header that the message's id becomes; empty: none.", 0),
    TEXT("key_header", NULL, "The header that the message's key becomes; empty: none.", 0),
    LIST("message_headers", "*", "Patterns: headers of a message that leave with it."),
    {"header", NULL, "One more header, for all requests.", NULL, 0, 0, OUTBOX_OPT_PREFIX,
     OUTBOX_OPT_MAY_BE_SECRET},
    TEXT("ce_source", NULL, "The source of CloudEvents; a template.", 0),
    TEXT("ce_type", "{topic}", "The type of CloudEvents; a template.", 0),
    TEXT("ce_subject", "{key}", "The subject of CloudEvents; a template.", 0),
    {"batch_max", "100", "How many messages one request may have.", NULL, 1, 10000, OUTBOX_OPT_INT,
     0},
    {"batch_bytes", "1M", "How many bytes.", NULL, 1024, 1 << 30, OUTBOX_OPT_SIZE, 0},
    TEXT("signing_secret", NULL, "whsec_BASE64: signs as Standard Webhooks; several, with blanks.",
         OUTBOX_OPT_SECRET),
    TEXT("password", NULL, "The user's password, instead of one in url.", OUTBOX_OPT_SECRET),
    TEXT("bearer_token", NULL, "A token that is sent with each request.", OUTBOX_OPT_SECRET),
    TEXT("bearer_header", "Authorization", "The header for it.", 0),
    TEXT("oauth2_token_url", NULL, "Where tokens are fetched, by client credentials.", 0),
    TEXT("oauth2_client_id", NULL, "The client's id there.", 0),
    TEXT("oauth2_client_secret", NULL, "The client's secret there.", OUTBOX_OPT_SECRET),
    TEXT("oauth2_scope", NULL, "The scopes to ask for, with blanks.", 0),
    TEXT("oauth2_audience", NULL, "The audience to ask for.", 0),
    CHOICE("oauth2_auth", "basic", "How the client proves who it is.", logins),
    TEXT("ca_file", NULL, "The authorities to trust, PEM; default: those of the system.", 0),
    TEXT("cert_file", NULL, "The certificate of the relay, PEM.", 0),
    TEXT("key_file", NULL, "Its key, PEM, without a password.", 0),
    BOOL("tls_verify", "yes", "Whether the receiver's certificate must be valid."),
    BOOL("allow_private", "no", "Whether the receiver may be in a private network."),
    TEXT("proxy", NULL, "http, https or socks5h://USER@HOST:PORT; env: that of the environment.",
         0),
    TEXT("proxy_password", NULL, "The password of the proxy's user.", OUTBOX_OPT_SECRET),
    CHOICE("http_version", "auto", "The version of HTTP.", versions),
    {"max_connections", "20", "How many connections there may be.", NULL, 1, 1000, OUTBOX_OPT_INT,
     0},
    {"max_in_flight", "100", "How many requests may be unanswered.", NULL, 1, 10000, OUTBOX_OPT_INT,
     0},
    {"connect_timeout", "5s", "For a name, TCP, the proxy and TLS.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, 0},
    {"publish_timeout", "10s", "How long a request may take.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
    LIST("accept_status", NULL, "Statuses that say that a message is accepted, instead of 2xx."),
    LIST("retry_status", NULL, "Statuses for which a message is charged, and sent again."),
    LIST("later_status", NULL, "Statuses for which a message is sent later, uncharged."),
    LIST("reject_status", NULL, "Statuses that reject a message."),
    LIST("unavailable_status", NULL, "Statuses that make the publisher unavailable."),
};

static const struct outbox_publisher_ops ops = {OUTBOX_CLIENT_OPS};

OUTBOX_DEFINE_SHARED_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "http", PACKAGE_VERSION,
                            "Publishes messages by HTTP: webhooks and CloudEvents.", NULL, ops,
                            options, client_open, outbox_client_stop)
