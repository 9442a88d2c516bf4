/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-mqtt: what it is, its options. */
#include "mqtt.h"

static const char *const protocols[] = {"5", "3.1.1", NULL};

static const struct outbox_option options[] = {
    {"url", NULL, "mqtt://USER:PASSWORD@HOST:PORT,HOST:PORT, or mqtts: for TLS.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET},
    {"password", NULL, "The user's password, instead of one in url.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     OUTBOX_OPT_SECRET},
    {"client_id", "outboxd", "The client id; see client_id_suffix.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     0},
    {"client_id_suffix", "yes", "Whether something random follows the client id.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"protocol", "5", "The version of MQTT.", protocols, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"topic", "{topic}", "The topic to publish to; a template.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"topic_slashes", "no", "Whether each `.` of a message's topic becomes a `/`.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"allow_topics", NULL, "Patterns: topics that messages may go to.", NULL, 0, 0, OUTBOX_OPT_LIST,
     0},
    {"qos", "1", "The quality of service.", NULL, 0, 2, OUTBOX_OPT_INT, 0},
    {"retain", "no", "Whether the broker keeps the last message of each topic.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"mandatory", "no", "Whether a message that nobody subscribes to counts as not delivered.",
     NULL, 0, 0, OUTBOX_OPT_BOOL, 0},
    {"id_property", "message-id", "The user property that the message's id becomes; empty: none.",
     NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"key_property", NULL, "The user property that the message's key becomes; empty: none.", NULL,
     0, 0, OUTBOX_OPT_TEXT, 0},
    {"window", "1000", "How many messages may be unconfirmed.", NULL, 1, 10000, OUTBOX_OPT_INT, 0},
    {"keepalive", "60s", "After so much silence the broker is asked whether it is there.", NULL,
     5000, 65535000, OUTBOX_OPT_DURATION, 0},
    {"connect_timeout", "5s", "For one host: TCP, TLS and the login.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, 0},
    {"publish_timeout", "10s", "How long a message may wait for its confirm.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
    {"ca_file", NULL, "The authorities to trust, PEM; default: those of the system.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"cert_file", NULL, "The certificate of the relay, PEM.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"key_file", NULL, "Its key, PEM, without a password.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"tls_verify", "yes", "Whether the broker's certificate must be valid.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
};

static const struct outbox_publisher_ops ops = {OUTBOX_CLIENT_OPS};

OUTBOX_DEFINE_SHARED_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "mqtt", PACKAGE_VERSION,
                            "Publishes messages to a broker of MQTT.", NULL, ops, options,
                            broker_open, outbox_client_stop)
