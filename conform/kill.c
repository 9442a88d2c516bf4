/* SPDX-License-Identifier: Apache-2.0 */
#include "conform/kill.h"

#include "conform/arrive.h"
#include "conform/command.h"
#include "conform/load.h"
#include "conform/target.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_KILLS 3
#define PAUSE_MS 5   /* between two batches: a thousand messages a second */
#define N_BETWEEN 50 /* messages between two kills */
#define DOWN_MS 1000 /* how long the server is away, besides what its start takes */
#define COMMAND_S 120
#define DRAIN_MS 30000

static struct kills {
    bool run;
    struct load *load;
    /* What did not come back, and why; empty: nothing of that kind. */
    char process[500], server[500];
    bool server_killed;
    int unclaimed; /* of a store: written, and never claimed */
    uint32_t first_unclaimed;
} * kills;

static pid_t worker;

void kill_begin(void)
{
    kills = kit_shared(sizeof *kills);
    kills->load = load_new();
}

/* ---- the process that works ---- */

static void start_worker(void)
{
    fflush(NULL);
    worker = fork();
    ck_assert_int_ge(worker, 0);
    if (worker == 0) {
        signal(SIGPIPE, SIG_IGN);
        load_work(kills->load, PAUSE_MS);
        _exit(0);
    }
}

static bool has_died(char *why, size_t n)
{
    int status;
    if (waitpid(worker, &status, WNOHANG) != worker)
        return false;
    snprintf(why, n,
             WIFSIGNALED(status) ? "the plugin crashed, by signal %d"
                                 : "the plugin ended the process, with code %d",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return true;
}

/* Waits until it has done so many more; says in *why (empty before) when it does not. */
static bool await_work(unsigned more, const char *after, char *why, size_t n)
{
    const struct setup *s = target();
    unsigned from = atomic_load(&kills->load->n_done);
    int64_t end = now_ms() + s->back_ms;
    kills->load->trouble[0] = '\0';
    while (atomic_load(&kills->load->n_done) < from + more) {
        if (has_died(why, n))
            return false;
        if (now_ms() > end) {
            snprintf(why, n, "%s it did %u of %u messages in %lld ms; the last trouble: %.250s",
                     after, atomic_load(&kills->load->n_done) - from, more, (long long)s->back_ms,
                     kills->load->trouble[0] ? kills->load->trouble : "none, it waits");
            return false;
        }
        sleep_ms(5);
    }
    return true;
}

static bool kill_processes(void)
{
    if (!await_work(N_BETWEEN, "before any kill", kills->process, sizeof kills->process))
        return false;
    for (int i = 0; i < N_KILLS; i++) {
        sleep_ms(20 + 17 * i); /* in the middle of something */
        kill(worker, SIGKILL);
        waitpid(worker, NULL, 0);
        start_worker();
        if (!await_work(N_BETWEEN, "after its process was killed", kills->process,
                        sizeof kills->process))
            return false;
    }
    return true;
}

static bool run_command(const char *name, const char *command)
{
    struct outbox_err err = {.size = sizeof err};
    if (command_run(command, NULL, COMMAND_S, NULL, &err) == OUTBOX_OK)
        return true;
    snprintf(kills->server, sizeof kills->server, "[kill] %s: %.400s", name, err.text);
    return false;
}

static bool kill_servers(void)
{
    const struct setup *s = target();
    for (int i = 0; s->stop && i < N_KILLS; i++) {
        if (!run_command("stop", s->stop))
            return false;
        kills->server_killed = true;
        atomic_store(&kills->load->down, (unsigned)i + 1);
        sleep_ms(DOWN_MS);
        atomic_store(&kills->load->down, 0);
        if (!run_command("start", s->start) ||
            !await_work(N_BETWEEN, "after its server was killed and had started again",
                        kills->server, sizeof kills->server))
            return false;
    }
    return true;
}

static int count_unclaimed(void)
{
    int n = 0;
    for (uint32_t i = 0; i < LOAD_MESSAGES; i++)
        if (atomic_load(&kills->load->state[i]) == LOAD_WRITTEN && n++ == 0)
            kills->first_unclaimed = i;
    return n;
}

/* What was written in a store is claimed by somebody in the end; nothing is written any more. */
static void drain(void)
{
    int64_t end = now_ms() + DRAIN_MS;
    atomic_store(&kills->load->next, LOAD_MESSAGES);
    while (target()->kind == OUTBOX_KIND_STORE && (kills->unclaimed = count_unclaimed()) > 0 &&
           now_ms() < end)
        sleep_ms(50);
}

static void end_worker(void)
{
    int64_t end = now_ms() + target()->publish_ms + 20000;
    atomic_store(&kills->load->end, true);
    while (waitpid(worker, NULL, WNOHANG) == 0) {
        if (now_ms() > end)
            kill(worker, SIGKILL);
        sleep_ms(10);
    }
}

static const struct kills *kill_all(void)
{
    if (kills->run)
        return kills;
    (void)target();
    (void)kit_run_number();
    start_worker();
    if (kill_processes() && kill_servers())
        drain();
    end_worker();
    kills->run = true;
    return kills;
}

/* ---- the tests ---- */

START_TEST(it_works_again_after_its_process_was_killed)
{
    const struct kills *k = kill_all();
    ck_assert_msg(!k->process[0], "%s", k->process);
}
END_TEST

START_TEST(it_comes_back_after_its_server_was_killed)
{
    const struct kills *k = kill_all();
    if (!target_outside()->stop)
        kit_skip("there are no [kill] commands in the INI");
    if (k->process[0])
        kit_skip("it did not work before");
    ck_assert_msg(!k->server[0], "%s", k->server);
}
END_TEST

START_TEST(nothing_is_accepted_while_its_server_is_away)
{
    const struct kills *k = kill_all();
    if (!k->server_killed)
        kit_skip("no server was killed");
    ck_assert_msg(atomic_load(&k->load->lies) == 0,
                  "%u messages were handed to it and accepted while its server was stopped",
                  atomic_load(&k->load->lies));
}
END_TEST

START_TEST(nothing_accepted_is_lost_in_kills)
{
    const char *verify = target_needs(target_outside()->verify, "[conform] verify");
    const struct kills *k = kill_all();
    char **ids = calloc(LOAD_MESSAGES, sizeof *ids);
    const char *first;
    size_t n = 0;
    ck_assert_ptr_nonnull(ids);
    for (uint32_t i = 0; i < LOAD_MESSAGES; i++)
        if (atomic_load(&k->load->state[i]) & LOAD_DONE)
            ck_assert_ptr_nonnull(ids[n++] = strdup(load_id(i)));
    if (n == 0)
        kit_skip("nothing was accepted: %s", k->load->trouble);
    size_t missing = arrive_wait(verify, ids, n, target()->back_ms, &first);
    ck_assert_msg(missing == 0,
                  "%zu of %zu accepted messages have not arrived; the first has the id %s", missing,
                  n, first);
}
END_TEST

START_TEST(nothing_written_is_lost_in_kills)
{
    const struct kills *k = kill_all();
    if (k->process[0] || k->server[0])
        kit_skip("it did not come back");
    ck_assert_msg(k->unclaimed == 0,
                  "%d messages that save had written were never claimed, though it went on for %d "
                  "s; the first has "
                  "the id %s",
                  k->unclaimed, DRAIN_MS / 1000, load_id(k->first_unclaimed));
}
END_TEST

START_TEST(nothing_settled_comes_again_after_kills)
{
    const struct kills *k = kill_all();
    ck_assert_msg(atomic_load(&k->load->again) == 0,
                  "%u messages were claimed again after settle had said that they are done",
                  atomic_load(&k->load->again));
}
END_TEST

void kill_add(const struct kit_sink *sink, uint32_t kind)
{
    const struct kit_test like = {.level = 4, .timeout_s = 900};
    if (kind == OUTBOX_KIND_RULE)
        return; /* it has nothing that could be killed or lost */
    kit_add(sink, &like, it_works_again_after_its_process_was_killed, 0, 1, 0);
    kit_add(sink, &like, it_comes_back_after_its_server_was_killed, 0, 1, 0);
    if (kind == OUTBOX_KIND_PUBLISHER) {
        kit_add(sink, &like, nothing_is_accepted_while_its_server_is_away, 0, 1, 0);
        kit_add(sink, &like, nothing_accepted_is_lost_in_kills, 0, 1, 0);
    } else {
        kit_add(sink, &like, nothing_written_is_lost_in_kills, 0, 1, 0);
        kit_add(sink, &like, nothing_settled_comes_again_after_kills, 0, 1, 0);
    }
}
