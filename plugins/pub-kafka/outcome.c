/* SPDX-License-Identifier: Apache-2.0 */
/* outcome.c - what an error of the library or of the broker means for a message. The table of the
 * manual page is this one. */
#include "kafka.h"

/* How long a message waits when its partition, or the whole cluster, cannot take it now, ms. */
#define LATER_MS 5000
/* How long each message goes in a batch of its own after a batch was refused, us. */
#define ALONE_US (60 * INT64_C(1000000))

enum meaning {
    ANY_OTHER,   /* charged, once it was in a batch of its own */
    UNKNOWN,     /* it may have arrived */
    TIMED_OUT,   /* no acknowledgement within publish_timeout */
    NOT_NOW,     /* its partition, or a quota */
    NO_REASON,   /* the broker does not say why; charged, once it was alone and others were taken */
    TARGET,      /* its topic */
    UNUSABLE,    /* the whole publisher; a person has to look */
    NO_RECORD,   /* this message, which the library has looked at alone */
    MAYBE_RECORD /* a message of the batch: the broker does not say which */
};

static const struct {
    rd_kafka_resp_err_t code;
    enum meaning meaning;
} meanings[] = {
    {RD_KAFKA_RESP_ERR__MSG_TIMED_OUT, TIMED_OUT},
    /* The producer has ended, or begins anew: the relay sends it again. */
    {RD_KAFKA_RESP_ERR__PURGE_QUEUE, UNKNOWN},
    {RD_KAFKA_RESP_ERR__PURGE_INFLIGHT, UNKNOWN},
    {RD_KAFKA_RESP_ERR__FATAL, UNKNOWN},
    {RD_KAFKA_RESP_ERR__DESTROY, UNKNOWN},
    {RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE, UNKNOWN},
    {RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, UNKNOWN},
    {RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER, UNKNOWN},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, UNKNOWN},
    {RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING, UNKNOWN},
    {RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID, UNKNOWN},
    {RD_KAFKA_RESP_ERR_PRODUCER_FENCED, UNKNOWN},
    /* The library tries these again until publish_timeout. */
    {RD_KAFKA_RESP_ERR__TRANSPORT, UNKNOWN},
    {RD_KAFKA_RESP_ERR__TIMED_OUT, UNKNOWN},
    {RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE, UNKNOWN},
    {RD_KAFKA_RESP_ERR__RETRY, UNKNOWN},
    {RD_KAFKA_RESP_ERR__WAIT_COORD, UNKNOWN},
    {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, UNKNOWN},
    {RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION, UNKNOWN},
    {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE, UNKNOWN},
    {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, UNKNOWN},
    {RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE, UNKNOWN},
    {RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE, UNKNOWN},
    {RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, UNKNOWN},
    {RD_KAFKA_RESP_ERR_UNKNOWN, NO_REASON},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, NOT_NOW},
    {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, NOT_NOW},
    {RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED, NOT_NOW},
    {RD_KAFKA_RESP_ERR__QUEUE_FULL, NOT_NOW},
    {RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, TARGET},
    {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, TARGET},
    {RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, TARGET},
    {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, TARGET},
    {RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION, TARGET},
    {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, UNUSABLE},
    {RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, UNUSABLE},
    {RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, UNUSABLE},
    {RD_KAFKA_RESP_ERR__AUTHENTICATION, UNUSABLE},
    {RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, UNUSABLE},
    {RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE, UNUSABLE},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION, UNUSABLE},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT, UNUSABLE},
    {RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE, UNUSABLE},
    {RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, UNUSABLE},
    {RD_KAFKA_RESP_ERR__BAD_COMPRESSION, UNUSABLE},
    {RD_KAFKA_RESP_ERR__INVALID_ARG, NO_RECORD},
    {RD_KAFKA_RESP_ERR__BAD_MSG, NO_RECORD},
    {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, MAYBE_RECORD},
    {RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, MAYBE_RECORD},
    {RD_KAFKA_RESP_ERR_INVALID_MSG, MAYBE_RECORD},
    {RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, MAYBE_RECORD},
    {RD_KAFKA_RESP_ERR_INVALID_RECORD, MAYBE_RECORD},
    {RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, MAYBE_RECORD},
};

static enum meaning meaning_of(rd_kafka_resp_err_t code)
{
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (meanings[i].code == code)
            return meanings[i].meaning;
    return ANY_OTHER;
}

/* A broker refuses a batch as a whole. From here on each message has one of its own, for a while,
 * so that none is blamed for another; what is on its way keeps the time that it has. */
static void find_out(struct broker *b, rd_kafka_resp_err_t code)
{
    b->alone_until_us = outbox_client_now_us(&b->client) + ALONE_US;
    if (b->renew)
        return;
    b->renew = 1;
    outbox_logf(b->client.host, OUTBOX_LOG_WARNING,
                "a batch was refused (%s): for a minute each message goes in its own%s",
                rd_kafka_err2str(code),
                code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
                    ? "; set kafka.batch.size to no more than max.message.bytes of the topic"
                    : "");
}

/* Nothing at all was acknowledged since it was sent: the broker is to blame, and broker.c gives all
 * of them back. */
static void time_out(struct broker *b, struct outbox_job *job, int may_be_stored)
{
    if (b->acked_us < job->sent_us) {
        b->gone = b->refused ? OUTBOX_E_CONFIG : OUTBOX_E_RETRY;
        snprintf(b->why, sizeof b->why, "no acknowledgement within publish_timeout%s%.300s",
                 *b->last ? "; " : "", b->last);
        return;
    }
    if (may_be_stored)
        outbox_job_done(&b->client, job, OUTBOX_UNSET, 0, NULL);
    else
        outbox_job_done(&b->client, job, OUTBOX_LATER, LATER_MS,
                        "its partition took nothing within publish_timeout%s%.300s",
                        *b->last ? "; " : "", b->last);
}

static void refuse(struct broker *b, struct outbox_job *job, uint32_t verdict,
                   rd_kafka_resp_err_t code)
{
    int by_broker = code > 0 && job->list == &b->client.sent;
    outbox_job_done(&b->client, job, verdict, verdict == OUTBOX_LATER ? LATER_MS : 0,
                    "%s it: %s (%s)", by_broker ? "the broker refuses" : "librdkafka refuses",
                    rd_kafka_err2str(code), rd_kafka_err2name(code));
}

void outcome_set(struct broker *b, struct outbox_job *job, rd_kafka_resp_err_t code,
                 int may_be_stored)
{
    enum meaning meaning = code == RD_KAFKA_RESP_ERR_NO_ERROR ? UNKNOWN : meaning_of(code);
    int in_batch = job->list == &b->client.sent && !b->alone;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        outbox_job_done(&b->client, job, OUTBOX_ACCEPTED, 0, NULL);
        return;
    }
    if ((meaning == MAYBE_RECORD || meaning == NO_REASON || meaning == ANY_OTHER) && in_batch) {
        find_out(b, code);
        outbox_job_done(&b->client, job, OUTBOX_UNSET, 0, NULL);
        return;
    }
    if (meaning == NO_REASON) /* which is the broker's while it takes nothing else */
        meaning = b->acked_us >= job->sent_us ? ANY_OTHER : UNKNOWN;
    switch (meaning) {
    case NO_REASON:
    case UNKNOWN:
        outbox_job_done(&b->client, job, OUTBOX_UNSET, 0, NULL);
        break;
    case TIMED_OUT:
        time_out(b, job, may_be_stored);
        break;
    case NOT_NOW:
        refuse(b, job, OUTBOX_LATER, code);
        break;
    case TARGET: /* all messages have a fixed one: nothing is wrong with this one */
        refuse(b, job, b->settings.topic.fixed ? OUTBOX_UNAVAILABLE : OUTBOX_RETRY, code);
        break;
    case UNUSABLE:
        refuse(b, job, OUTBOX_UNAVAILABLE, code);
        break;
    case NO_RECORD:
    case MAYBE_RECORD:
        refuse(b, job, OUTBOX_REJECTED, code);
        break;
    case ANY_OTHER:
        refuse(b, job, OUTBOX_RETRY, code);
        break;
    }
}
