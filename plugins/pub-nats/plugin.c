/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-nats: what it is, and its options. */
#include "broker.h"

static const struct outbox_option options[] = {
    {"url", NULL, "nats://USER:PASSWORD@HOST:PORT,HOST:PORT, or tls: for TLS.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET},
    {"password", NULL, "The user's password, instead of one in url.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     OUTBOX_OPT_SECRET},
    {"token", NULL, "The token to log in with, instead of a user.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     OUTBOX_OPT_SECRET},
    {"creds_file", NULL, "A credentials file: the JWT of a user and its seed.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"nkey_file", NULL, "A file with the seed of a user's NKey.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"subject", "{topic}", "The subject to publish to; a template.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     0},
    {"allow_subjects", NULL, "Patterns: subjects that messages may go to.", NULL, 0, 0,
     OUTBOX_OPT_LIST, 0},
    {"stream", NULL, "The stream that has to take the messages.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"key_header", NULL,
     "The header that the message's key becomes; without it, the key is not sent.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"allow_headers", NULL, "Patterns: headers Nats-... that messages may have.", NULL, 0, 0,
     OUTBOX_OPT_LIST, 0},
    {"inbox_prefix", "_INBOX", "What the subjects begin with that answers come to.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"window", "1000", "How many messages may be unconfirmed.", NULL, 1, 10000, OUTBOX_OPT_INT, 0},
    {"keepalive", "60s", "After so much silence the server is asked whether it is there.", NULL,
     1000, 3600000, OUTBOX_OPT_DURATION, 0},
    {"connect_timeout", "5s", "For one host: its name, TCP, TLS and the login.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, 0},
    {"publish_timeout", "10s", "How long a message may wait for its confirm.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
    {"ca_file", NULL, "Authorities to trust besides those of the system, PEM.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"cert_file", NULL, "The certificate of the relay, PEM.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"key_file", NULL, "Its key, PEM, without a password.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"tls_verify", "yes", "Whether the server's certificate must be valid.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
};

static const struct outbox_publisher_ops ops = {OUTBOX_CLIENT_OPS};

OUTBOX_DEFINE_SHARED_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "nats", PACKAGE_VERSION,
                            "Publishes messages to streams of NATS JetStream.", NULL, ops, options,
                            broker_open, outbox_client_stop)
