/* SPDX-License-Identifier: Apache-2.0 */
/* topic.c - the library's handles of topics. It looks names up in a list, and asks for a topic at
 * once only when somebody makes a handle of it, not when a message is the first to name it. */
#include "kafka.h"

static size_t hash_of(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash % TOPICS_MAX;
}

rd_kafka_topic_t *topic_of(struct link *link, const char *name)
{
    rd_kafka_topic_t **at = &link->topics[hash_of(name)];
    if (*at && strcmp(rd_kafka_topic_name(*at), name) == 0)
        return *at;
    if (*at)
        rd_kafka_topic_destroy(*at); /* its messages keep it */
    *at = rd_kafka_topic_new(link->rk, name, NULL);
    return *at;
}

void topic_forget_all(struct link *link)
{
    for (size_t i = 0; i < TOPICS_MAX; i++)
        if (link->topics[i])
            rd_kafka_topic_destroy(link->topics[i]);
}
