/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/soak.h"

#include "conform/load.h"
#include "conform/target.h"
#include "plugin/checked.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_PERCENT 25
/* What allocators and caches may add behind that. */
#define MEMORY_KIB 4096

static struct soak {
    bool run;
    long memory[2]; /* KiB, warm and at the end */
    int descriptors[2], threads[2];
    unsigned done[2];
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

static void measure(int at, struct load *load)
{
    soak->memory[at] = resident_kib();
    soak->descriptors[at] = checked_descriptors();
    soak->threads[at] = checked_threads();
    soak->done[at] = atomic_load(&load->n_done);
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
    wait_until(begin + all * WARM_PERCENT / 100, load);
    measure(0, load);
    wait_until(begin + all, load);
    measure(1, load);
    memcpy(soak->trouble, load->trouble, sizeof soak->trouble);
    atomic_store(&load->end, true);
    pthread_join(thread, NULL);
    soak->run = true;
    return soak;
}

START_TEST(it_works_all_the_time)
{
    const struct soak *s = run();
    ck_assert_msg(s->done[0] > 0 && s->done[1] > s->done[0],
                  "%u messages were done at first, and %u more afterwards: %s", s->done[0],
                  s->done[1] - s->done[0], s->trouble);
}
END_TEST

START_TEST(its_memory_does_not_grow)
{
    const struct soak *s = run();
    long limit = s->memory[0] + s->memory[0] / 10 + MEMORY_KIB;
    ck_assert_msg(s->memory[1] <= limit, "%ld KiB after %u messages, %ld KiB after %u",
                  s->memory[0], s->done[0], s->memory[1], s->done[1]);
}
END_TEST

START_TEST(its_descriptors_and_threads_do_not_grow)
{
    const struct soak *s = run();
    ck_assert_msg(s->descriptors[1] <= s->descriptors[0] && s->threads[1] <= s->threads[0],
                  "%d descriptors and %d threads after %u messages, %d and %d after %u",
                  s->descriptors[0], s->threads[0], s->done[0], s->descriptors[1], s->threads[1],
                  s->done[1]);
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
