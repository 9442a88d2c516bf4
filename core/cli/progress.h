/* SPDX-License-Identifier: Apache-2.0 */
/* progress.h - one line on a terminal for work that takes longer than a second. */
#ifndef CORE_CLI_PROGRESS_H
#define CORE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_UNKNOWN UINT64_MAX

struct progress {
    const char *what;
    int64_t began_us;
    int64_t shown_us;
    bool terminal; /* stdout and stderr are one; else nothing is ever shown */
    bool shown;
};

void progress_begin(struct progress *progress, const char *what);
/* Is it time to show something? To be asked before a count that costs. */
bool progress_due(const struct progress *progress);
/* Shows it when it is due. `remaining` may be PROGRESS_UNKNOWN, or with at_least too low. */
void progress_step(struct progress *progress, uint64_t done, uint64_t remaining, bool at_least);
/* Takes the line away. */
void progress_end(struct progress *progress);

#endif
