/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/generation.h"

#include "common/signals.h"
#include "plugin/current_call.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void *wait_main(void *arg)
{
    struct generation *g = arg;
    struct current_call call;
    current_call_init(&call);
    current_call_adopt(&call, true);
    relay_finish(g->relay, &g->report);
    current_call_destroy(&call);
    eventfd_write(g->ended_fd, 1);
    return NULL;
}

static int start_waiting(struct generation *g, struct outbox_err *err)
{
    sigset_t before;
    signals_block(&before);
    int failed = pthread_create(&g->thread, NULL, wait_main, g);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed ? outbox_fail(err, OUTBOX_E_RETRY, "cannot start a thread") : OUTBOX_OK;
}

int generation_start(struct relay *relay, const struct config *config, struct config *own,
                     struct generation **ret, struct outbox_err *err)
{
    struct generation *g = calloc(1, sizeof *g);
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = g && fd >= 0 ? relay_launch(relay, err)
                         : outbox_fail(err, OUTBOX_E_RETRY, "cannot start a relay: %m");
    if (g && r == OUTBOX_OK) {
        *g = (struct generation){relay, config, own, .ended_fd = fd};
        r = start_waiting(g, err);
    }
    if (r == OUTBOX_OK) {
        *ret = g;
        return OUTBOX_OK;
    }
    struct relay_report report;
    relay_stop(relay);
    relay_finish(relay, &report);
    relay_free(relay);
    config_free(own);
    if (fd >= 0)
        close(fd);
    free(g);
    *ret = NULL;
    return r;
}

bool generation_has_ended(const struct generation *g)
{
    struct pollfd ended = {.fd = g ? g->ended_fd : -1, .events = POLLIN};
    return !g || poll(&ended, 1, 0) > 0;
}

const struct relay_report *generation_report(struct generation *g)
{
    if (!g->joined)
        pthread_join(g->thread, NULL);
    g->joined = true;
    return &g->report;
}

void generation_add(struct relay_report *to, const struct relay_report *report)
{
    to->accepted += report->accepted;
    to->retried += report->retried;
    to->failed += report->failed;
    to->stale += report->stale;
}

void generation_free(struct generation *g)
{
    (void)generation_report(g);
    relay_free(g->relay);
    config_free(g->own);
    close(g->ended_fd);
    free(g);
}
