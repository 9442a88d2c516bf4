/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/arrive.h"

#include "base/array.h"
#include "conform/command.h"
#include "conform/target.h"

#include <stdlib.h>
#include <string.h>

#define N_MESSAGES 20
#define VERIFY_S 60
#define PATIENCE_MS 10000

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void arrive_read(const char *verify, struct arrived *ret)
{
    struct outbox_err err = {.size = sizeof err};
    char *rest = NULL;
    *ret = (struct arrived){0};
    if (command_run(verify, NULL, VERIFY_S, &ret->text, &err) < 0)
        ck_abort_msg("verify: %s", err.text);
    for (char *id = strtok_r(ret->text, " \t\r\n", &rest); id;
         id = strtok_r(NULL, " \t\r\n", &rest)) {
        char **added = array_add(&ret->ids, &ret->n, sizeof *ret->ids);
        ck_assert_ptr_nonnull(added);
        *added = id;
    }
    if (ret->n > 0)
        qsort(ret->ids, ret->n, sizeof *ret->ids, compare);
}

void arrive_free(struct arrived *a)
{
    free(a->ids);
    free(a->text);
}

bool arrive_has(const struct arrived *a, const char *id)
{
    return a->n > 0 && bsearch(&id, a->ids, a->n, sizeof *a->ids, compare);
}

size_t arrive_wait(const char *verify, char *const *ids, size_t n, int64_t ms,
                   const char **ret_first)
{
    for (int64_t end = now_ms() + ms;; sleep_ms(200)) {
        struct arrived a;
        size_t missing = 0;
        *ret_first = NULL;
        arrive_read(verify, &a);
        for (size_t i = 0; i < n; i++)
            if (!arrive_has(&a, ids[i]) && missing++ == 0)
                *ret_first = ids[i];
        arrive_free(&a);
        if (missing == 0 || now_ms() > end)
            return missing;
    }
}

START_TEST(accepts_without_publishing)
{
    const char *verify = target_needs(target_outside()->verify, "[conform] verify");
    struct setup *s = target();
    struct outbox_err err = {.size = sizeof err};
    struct instance instance;
    const struct instance_setup setup = {.plugin = s->plugin,
                                         .cfg = s->options,
                                         .label = s->section,
                                         .log = target_log(),
                                         .publish_ms = s->publish_ms};
    const struct outbox_call call = {sizeof call, s->publish_ms, -1, 0};
    struct batch *b = batch_new(N_MESSAGES);
    char *ids[N_MESSAGES];
    size_t n = 0;
    const char *first;
    if (instance_open(&instance, &setup, &err) < 0)
        ck_abort_msg("%s", err.text);
    for (uint64_t i = 0; i < b->n; i++)
        batch_set_id(b, i, 0xacce);
    batch_publish(b, &instance, &call);
    for (uint64_t i = 0; i < b->n; i++)
        if (b->outcomes[i].verdict == OUTBOX_ACCEPTED)
            ids[n++] = (char *)(uintptr_t)b->msgs[i].id.p;
    if (n == 0)
        kit_skip("no message was accepted: %s", batch_tell(b, 0));
    instance_close(&instance);
    size_t missing = arrive_wait(verify, ids, n, PATIENCE_MS, &first);
    ck_assert_msg(missing == 0,
                  "%zu of %zu accepted messages have not arrived in %d s; the first has "
                  "the id %s",
                  missing, n, PATIENCE_MS / 1000, first);
}
END_TEST

void arrive_add(const struct kit_sink *sink)
{
    const struct kit_test like = {.name = "accepts-without-publishing", .timeout_s = 120};
    kit_add(sink, &like, accepts_without_publishing, 0, 1, 0);
}
