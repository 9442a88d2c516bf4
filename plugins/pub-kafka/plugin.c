/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-kafka: what it is, its options. */
#include "kafka.h"

static const char *const mechanisms[] = {"plain", "scram-sha-256", "scram-sha-512", NULL};
static const char *const timestamps[] = {"created", "sent", NULL};

static const struct outbox_option options[] = {
    {"url", NULL, "kafka://USER:PASSWORD@HOST:PORT,HOST:PORT, or kafkas: for TLS.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET},
    {"password", NULL, "The user's password, instead of one in url.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     OUTBOX_OPT_SECRET},
    {"sasl_mechanism", "plain", "How the user logs in.", mechanisms, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"topic", "{topic}", "The topic of Kafka to publish to; a template.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"allow_topics", NULL, "Patterns: topics that messages may go to.", NULL, 0, 0, OUTBOX_OPT_LIST,
     0},
    {"id_header", "message-id", "The header that the message's id becomes; empty: none.", NULL, 0,
     0, OUTBOX_OPT_TEXT, 0},
    {"timestamp", "created", "The time of a record: when the row was written, or when it is sent.",
     timestamps, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"window", "10000", "How many messages may be unacknowledged.", NULL, 1, WINDOW_MAX,
     OUTBOX_OPT_INT, 0},
    {"connect_timeout", "5s", "For a first connection: TCP, TLS, the login, the first answer.",
     NULL, 1, 3600000, OUTBOX_OPT_DURATION, 0},
    {"publish_timeout", "10s", "How long a message may wait for its acknowledgement.", NULL, 1000,
     3600000, OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
    {"ca_file", NULL, "The authorities to trust, PEM; default: those of the system.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"cert_file", NULL, "The certificate of the relay, PEM.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"key_file", NULL, "Its key, PEM, without a password.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"tls_verify", "yes", "Whether the brokers' certificates must be valid.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"kafka", NULL, "Settings of librdkafka.", NULL, 0, 0, OUTBOX_OPT_PREFIX, 0},
};

static const struct outbox_publisher_ops ops = {OUTBOX_CLIENT_OPS};

OUTBOX_DEFINE_SHARED_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "kafka", PACKAGE_VERSION,
                            "Publishes messages to a cluster of Kafka.", NULL, ops, options,
                            broker_open, outbox_client_stop)
