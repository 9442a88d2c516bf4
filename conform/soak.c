/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/soak.h"

#include "conform/load.h"
#include "conform/target.h"
#include "plugin/checked.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What allocators and caches may add after the first half. */
#define MEMORY_KIB 4096

/* While all instances wait between two calls. */
struct size {
    long memory; /* KiB */
    int descriptors, threads;
    unsigned done;
};

static struct soak {
    bool run;
    struct size half, end;
    char trouble[400];
} * soak;

void soak_begin(void)
{
    soak = kit_shared(sizeof *soak);
}

static long resident_kib(void)
{
    char line[200];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return kib;
}

static struct size measure(struct load *load)
{
    int64_t end = now_ms() + target()->publish_ms + 20000;
    atomic_store(&load->pause, true);
    while (atomic_load(&load->n_waiting) < LOAD_INSTANCES && now_ms() < end)
        sleep_ms(5);
    sleep_ms(200); /* for what the plugin ends behind a call */
    struct size size = {resident_kib(), checked_descriptors(), checked_threads(),
                        atomic_load(&load->n_done)};
    atomic_store(&load->pause, false);
    return size;
}

static void *work(void *load)
{
    load_work(load, 0);
    return NULL;
}

/* Loaders stop at the last number; a soak begins anew. */
static void refill(struct load *load)
{
    if (atomic_load(&load->next) > LOAD_MESSAGES / 2)
        atomic_store(&load->next, 0);
}

static void wait_until(int64_t end, struct load *load)
{
    for (; now_ms() < end; sleep_ms(50))
        refill(load);
}

static const struct soak *run(void)
{
    struct load *load = load_new();
    pthread_t thread;
    if (soak->run)
        return soak;
    int64_t begin = now_ms(), all = target()->soak_ms;
    ck_assert_int_eq(pthread_create(&thread, NULL, work, load), 0);
    wait_until(begin + all / 2, load);
    soak->half = measure(load);
    wait_until(begin + all, load);
    soak->end = measure(load);
    memcpy(soak->trouble, load->trouble, sizeof soak->trouble);
    atomic_store(&load->end, true);
    pthread_join(thread, NULL);
    soak->run = true;
    return soak;
}

START_TEST(it_works_all_the_time)
{
    const struct soak *s = run();
    ck_assert_msg(s->half.done > 0 && s->end.done > s->half.done,
                  "%u messages were done in the first half, and %u in the second: %s", s->half.done,
                  s->end.done - s->half.done, s->trouble);
}
END_TEST

START_TEST(its_memory_does_not_grow)
{
    const struct soak *s = run();
    ck_assert_msg(s->end.memory <= s->half.memory + s->half.memory / 10 + MEMORY_KIB,
                  "%ld KiB after %u messages, %ld KiB after %u", s->half.memory, s->half.done,
                  s->end.memory, s->end.done);
}
END_TEST

START_TEST(its_descriptors_and_threads_do_not_grow)
{
    const struct soak *s = run();
    ck_assert_msg(s->end.descriptors <= s->half.descriptors && s->end.threads <= s->half.threads,
                  "%d descriptors and %d threads after %u messages, %d and %d after %u",
                  s->half.descriptors, s->half.threads, s->half.done, s->end.descriptors,
                  s->end.threads, s->end.done);
}
END_TEST

void soak_add(const struct kit_sink *sink)
{
    const struct kit_test like = {.level = 5,
                                  .timeout_s = 100 + (int)(target_outside()->soak_ms / 1000)};
    kit_add(sink, &like, it_works_all_the_time, 0, 1, 0);
    kit_add(sink, &like, its_memory_does_not_grow, 0, 1, 0);
    kit_add(sink, &like, its_descriptors_and_threads_do_not_grow, 0, 1, 0);
}
