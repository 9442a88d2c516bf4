/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-redis: what it is, its options. */
#include "redis.h"

static const char *const fsyncs[] = {"no", "local", "all", NULL};
static const char *const appendonlys[] = {"no", "yes", "always", NULL};

static const struct outbox_option options[] = {
    {"url", NULL, "redis://USER:PASSWORD@HOST:PORT,HOST:PORT/DB, rediss: for TLS, or unix:///PATH.",
     NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED | OUTBOX_OPT_MAY_BE_SECRET},
    {"password", NULL, "The user's password, instead of one in url.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     OUTBOX_OPT_SECRET},
    {"database", "0", "The database, instead of one in url.", NULL, 0, 1000000, OUTBOX_OPT_INT, 0},
    {"sentinel", NULL, "The hosts are sentinels, which know a master by this name.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"sentinel_user", NULL, "The user at the sentinels.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"sentinel_password", NULL, "The password at the sentinels; without it nobody logs in there.",
     NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_SECRET},
    {"stream", "{topic}", "The stream to add to; a template.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"allow_streams", NULL, "Patterns: streams that messages may go to.", NULL, 0, 0,
     OUTBOX_OPT_LIST, 0},
    {"nomkstream", "no", "Whether a stream that does not exist is a failure.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"maxlen", "0", "Entries beyond so many are deleted, read or not; 0: none.", NULL, 0, INT64_MAX,
     OUTBOX_OPT_INT, 0},
    {"maxlen_exact", "no", "Whether maxlen is met exactly, which costs more.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
    {"id_field", "message-id", "The field that the message's id becomes; empty: none.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"topic_field", "topic", "The field that the message's topic becomes; empty: none.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"key_field", "key", "The field that the message's key becomes; empty: none.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"payload_field", "payload", "The field that the payload becomes.", NULL, 0, 0, OUTBOX_OPT_TEXT,
     0},
    {"header_prefix", "header.", "What stands before the name of a header in its field.", NULL, 0,
     0, OUTBOX_OPT_TEXT, 0},
    {"replicas", "0", "A message is delivered once so many replicas have it.", NULL, 0, 100,
     OUTBOX_OPT_INT, 0},
    {"fsync", "no", "Whether it is delivered once it is on a disk: here, or at the replicas, too.",
     fsyncs, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"wait_timeout", "1s", "How long replicas and disks may take.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, 0},
    {"require_appendonly", "no",
     "Whether the server must write what it acknowledges to its file; always: to the disk.",
     appendonlys, 0, 0, OUTBOX_OPT_CHOICE, 0},
    {"window", "1000", "How many messages may be unacknowledged.", NULL, 1, 100000, OUTBOX_OPT_INT,
     0},
    {"keepalive", "15s", "After so much silence the server is asked whether it is there.", NULL,
     1000, 3600000, OUTBOX_OPT_DURATION, 0},
    {"connect_timeout", "5s", "For one host: TCP, TLS and the login.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, 0},
    {"publish_timeout", "10s", "How long a message may wait for its reply.", NULL, 1, 3600000,
     OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
    {"ca_file", NULL, "The authorities to trust, PEM; default: those of the system.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"cert_file", NULL, "The certificate of the relay, PEM.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"key_file", NULL, "Its key, PEM, without a password.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    {"tls_verify", "yes", "Whether the server's certificate must be valid.", NULL, 0, 0,
     OUTBOX_OPT_BOOL, 0},
};

static const struct outbox_publisher_ops ops = {OUTBOX_CLIENT_OPS};

OUTBOX_DEFINE_SHARED_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "redis", PACKAGE_VERSION,
                            "Adds messages to streams of Redis.", NULL, ops, options, broker_open,
                            outbox_client_stop)
