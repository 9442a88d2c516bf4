/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waits.c - WAIT and WAITAOF. They hold for all that was written on this connection before them,
 * and the server does nothing else for it meanwhile, so one follows many messages.
 */
#include "redis.h"

int waits_wanted(const struct broker *b)
{
    const struct settings *set = &b->settings;
    const struct outbox_jobs *sent = &b->client.sent;
    if (b->waits.first != 0 || (set->replicas == 0 && set->fsync == FSYNC_NO))
        return 0;
    return sent->first != NULL || (b->lagging && outbox_client_is_wanted(&b->client));
}

static void put_wait(struct broker *b, const char *command, const char *local, uint32_t replicas)
{
    const char *argv[4];
    size_t lens[4];
    char count[24], ms[24];
    int argc = 0;
    argv[argc++] = command;
    if (local)
        argv[argc++] = local;
    argv[argc++] = outbox_int_text(replicas, count).p;
    argv[argc++] = outbox_int_text(b->settings.wait_ms, ms).p;
    for (int i = 0; i < argc; i++)
        lens[i] = strlen(argv[i]);
    link_command(&b->link, argc, argv, lens);
}

void waits_send(struct broker *b)
{
    const struct settings *set = &b->settings;
    b->waits.first = b->link.asked + 1;
    b->waits.missing[0] = '\0';
    if (set->fsync != FSYNC_NO)
        put_wait(b, "WAITAOF", "1", set->fsync == FSYNC_ALL ? set->replicas : 0);
    if (set->replicas > 0 && set->fsync != FSYNC_ALL)
        put_wait(b, "WAIT", NULL, set->replicas);
    b->waits.last = b->link.asked;
}

/* What a reply lacks goes to waits.missing. */
static void judge(struct broker *b, const redisReply *reply)
{
    char *missing = b->waits.missing;
    size_t cap = sizeof b->waits.missing;
    long long have = -1, want = b->settings.replicas;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2) { /* WAITAOF */
        if (reply->element[0]->integer < 1)
            snprintf(missing, cap, "it is not on the server's disk");
        if (b->settings.fsync != FSYNC_ALL)
            return;
        have = reply->element[1]->integer;
    } else if (reply->type == REDIS_REPLY_INTEGER) {
        have = reply->integer;
    }
    if (have < 0)
        snprintf(missing, cap, "its reply to WAIT is none");
    else if (have < want)
        snprintf(missing, cap, "%lld of %lld replicas have it%s", have, want,
                 b->settings.fsync == FSYNC_ALL ? " on a disk" : "");
}

/* What was written is on its way to the replicas, late; it is not known whether it will get there.
 * So it is sent again, but only once they have come up, or each try would add it once more. */
static void conclude(struct broker *b)
{
    struct outbox_client *c = &b->client;
    struct outbox_err err = {.size = sizeof err};
    struct outbox_job *job, *next;
    int is_short = b->waits.missing[0] != '\0';
    for (job = c->sent.first; job && job->number < b->waits.first; job = next) {
        next = job->next;
        if (is_short)
            outbox_job_done(c, job, OUTBOX_UNAVAILABLE, 0, "%s within wait_timeout",
                            b->waits.missing);
        else
            outbox_job_done(c, job, OUTBOX_ACCEPTED, 0, NULL);
    }
    b->waits.first = b->waits.last = 0;
    b->lagging = is_short;
    if (!is_short)
        return;
    outbox_fail(&err, OUTBOX_E_RETRY, "%s: %s within wait_timeout", b->peer, b->waits.missing);
    outbox_client_failed(c, &err);
}

void waits_take_reply(struct broker *b, uint64_t number, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR)
        link_end(&b->link, OUTBOX_E_RETRY, "%s", reply->str);
    else
        judge(b, reply);
    if (!b->link.gone && number == b->waits.last)
        conclude(b);
}
