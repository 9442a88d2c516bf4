/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define AFTER_US 1000000
#define EVERY_US 500000

void progress_begin(struct progress *progress, const char *what)
{
    *progress = (struct progress){
        .what = what,
        .began_us = clock_monotonic_us(),
        .terminal = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO),
    };
}

bool progress_due(const struct progress *progress)
{
    int64_t now = clock_monotonic_us();
    return progress->terminal && now - progress->began_us >= AFTER_US &&
           now - progress->shown_us >= EVERY_US;
}

void progress_step(struct progress *progress, uint64_t done, uint64_t remaining, bool at_least)
{
    progress->shown_us = clock_monotonic_us();
    progress->shown = true;
    double seconds = (double)(progress->shown_us - progress->began_us) / 1e6;
    fprintf(stderr, "\r\033[K%s: %" PRIu64 " done", progress->what, done);
    if (remaining != PROGRESS_UNKNOWN)
        fprintf(stderr, ", %s%" PRIu64 " remaining", at_least ? ">= " : "", remaining);
    fprintf(stderr, ", %.0f/s", (double)done / seconds);
    fflush(stderr);
}

void progress_end(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
