/* SPDX-License-Identifier: Apache-2.0 */
/* inquiry.c - what a check asks the cluster about the fixed topic: whether it is there, and how
 * well it keeps what it acknowledges. The library waits for answers, so a thread asks; whoever
 * uses the inquiry last frees it. */
#include "kafka.h"

#define ADVICE_MAX 4
/* How long the settings of the topic may take at most: they are asked for advice alone. */
#define ADVICE_MS 2000

struct inquiry {
    atomic_int users;
    atomic_int answered;
    struct link *link;
    char topic[TOPIC_MAX + 1];
    int ms, advise;
    int told_fd;
    /* the answer */
    rd_kafka_resp_err_t code;
    int replicas; /* of the partition that has the fewest */
    int n_advice;
    char advice[ADVICE_MAX][256];
};

static void put_down(struct inquiry *q)
{
    if (atomic_fetch_sub(&q->users, 1) > 1)
        return;
    close(q->told_fd);
    free(q);
}

/* ---- what is asked: by the thread, without the lock ---- */

static OUTBOX_PRINTF(2, 3) void advise(struct inquiry *q, const char *fmt, ...)
{
    va_list ap;
    if (q->n_advice == ADVICE_MAX)
        return;
    va_start(ap, fmt);
    vsnprintf(q->advice[q->n_advice++], sizeof q->advice[0], fmt, ap);
    va_end(ap);
}

/* Metadata are asked without making the topic. */
static void ask_topic(struct inquiry *q)
{
    const struct rd_kafka_metadata *found = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(q->link->rk, q->topic, NULL);
    q->replicas = INT32_MAX;
    if (!topic) {
        q->code = rd_kafka_last_error();
        return;
    }
    q->code = rd_kafka_metadata(q->link->rk, 0, topic, &found, q->ms);
    if (q->code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (found->topic_cnt > 0)
            q->code = found->topics[0].err;
        for (int i = 0; found->topic_cnt > 0 && i < found->topics[0].partition_cnt; i++)
            if (found->topics[0].partitions[i].replica_cnt < q->replicas)
                q->replicas = found->topics[0].partitions[i].replica_cnt;
        rd_kafka_metadata_destroy(found);
    }
    rd_kafka_topic_destroy(topic);
}

static void take_setting(struct inquiry *q, const char *name, const char *value)
{
    if (!value)
        return;
    if (strcmp(name, "min.insync.replicas") == 0 && strcmp(value, "1") == 0)
        advise(q,
               "topic %s: min.insync.replicas is 1: an acknowledged message may be on one broker "
               "only, and is lost with it",
               q->topic);
    if (strcmp(name, "unclean.leader.election.enable") == 0 && strcmp(value, "true") == 0)
        advise(
            q,
            "topic %s: unclean.leader.election.enable is true: acknowledged messages may be lost "
            "when brokers fail",
            q->topic);
    if (strcmp(name, "max.message.bytes") == 0) {
        char batch[24] = "";
        size_t n = sizeof batch;
        if (rd_kafka_conf_get(rd_kafka_conf(q->link->rk), "batch.size", batch, &n) ==
                RD_KAFKA_CONF_OK &&
            strtoll(value, NULL, 10) < strtoll(batch, NULL, 10))
            advise(q, "topic %s: max.message.bytes is %.20s: set kafka.batch.size to no more",
                   q->topic, value);
    }
}

static void take_settings(struct inquiry *q, rd_kafka_event_t *event)
{
    const rd_kafka_DescribeConfigs_result_t *result = rd_kafka_event_DescribeConfigs_result(event);
    const rd_kafka_ConfigResource_t **resources = NULL;
    const rd_kafka_ConfigEntry_t **entries = NULL;
    size_t n = 0;
    if (result)
        resources = rd_kafka_DescribeConfigs_result_resources(result, &n);
    if (n == 0)
        return;
    entries = rd_kafka_ConfigResource_configs(resources[0], &n);
    for (size_t i = 0; entries && i < n; i++)
        take_setting(q, rd_kafka_ConfigEntry_name(entries[i]),
                     rd_kafka_ConfigEntry_value(entries[i]));
}

/* A user who may only write gets no answer, and no advice. */
static void ask_settings(struct inquiry *q)
{
    char why[200];
    int ms = (int)earlier(ADVICE_MS, q->ms / 2);
    rd_kafka_t *rk = q->link->rk;
    rd_kafka_queue_t *answers = rd_kafka_queue_new(rk);
    rd_kafka_ConfigResource_t *resource =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, q->topic);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_event_t *event;
    rd_kafka_AdminOptions_set_request_timeout(options, ms, why, sizeof why);
    rd_kafka_DescribeConfigs(rk, &resource, 1, options, answers);
    event = rd_kafka_queue_poll(answers, ms);
    if (event)
        take_settings(q, event);
    rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_queue_destroy(answers);
}

static void ask(void *arg)
{
    struct inquiry *q = arg;
    ask_topic(q);
    if (q->code == RD_KAFKA_RESP_ERR_NO_ERROR && q->advise) {
        if (q->replicas == 1)
            advise(q, "topic %s: it has no replicas: what is acknowledged is on one broker only",
                   q->topic);
        else
            ask_settings(q);
    }
    link_unref(q->link);
    atomic_store(&q->answered, 1);
    eventfd_write(q->told_fd, 1);
    put_down(q);
}

/* ---- what is made of it ---- */

static int begin(struct broker *b, struct inquiry **ret, struct outbox_err *err)
{
    struct inquiry *q = calloc(1, sizeof *q);
    int e;
    if (!q)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    q->told_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    snprintf(q->topic, sizeof q->topic, "%s", b->settings.topic.text);
    q->ms = (int)(b->settings.connect_us / 1000);
    q->advise = !b->advised;
    q->link = b->link;
    atomic_fetch_add(&b->link->users, 1);
    atomic_init(&q->users, 2);
    atomic_init(&q->answered, 0);
    e = q->told_fd < 0 ? errno : link_spawn(b, ask, q);
    if (e == 0) {
        *ret = q;
        return OUTBOX_OK;
    }
    atomic_fetch_sub(&b->link->users, 1);
    if (q->told_fd >= 0)
        close(q->told_fd);
    free(q);
    return outbox_fail(err, OUTBOX_E_RETRY, "no thread: %s", strerror(e));
}

static int take(struct broker *b, const struct inquiry *q, struct outbox_err *err)
{
    if (q->code != RD_KAFKA_RESP_ERR_NO_ERROR && q->code != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
        return outbox_fail(err,
                           q->code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                                   q->code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
                               ? OUTBOX_E_CONFIG
                               : OUTBOX_E_RETRY,
                           "topic %s: %s (%s)", q->topic, rd_kafka_err2str(q->code),
                           rd_kafka_err2name(q->code));
    for (int i = 0; i < q->n_advice; i++)
        outbox_logf(b->client.host, OUTBOX_LOG_WARNING, "%s", q->advice[i]);
    b->advised |= q->advise;
    return OUTBOX_OK;
}

int inquiry_make(struct broker *b, int64_t until_us, struct outbox_err *err)
{
    struct inquiry *q = NULL;
    int r;
    if (!b->settings.topic.fixed)
        return OUTBOX_OK;
    r = begin(b, &q, err);
    if (r < 0)
        return r;
    while (!atomic_load(&q->answered) && b->gone == 0 && !b->client.ending &&
           outbox_client_now_us(&b->client) < until_us)
        link_step(b, q->told_fd, until_us);
    if (b->client.ending)
        r = outbox_fail(err, OUTBOX_E_RETRY, "it ends");
    else if (atomic_load(&q->answered))
        r = take(b, q, err);
    else
        r = outbox_fail(err, OUTBOX_E_RETRY, "topic %s: no answer within connect_timeout",
                        q->topic);
    put_down(q);
    return r;
}
