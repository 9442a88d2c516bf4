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
/* Is a line due? A caller checks it before it counts what costs time. */
bool progress_due(const struct progress *progress);
/* Shows the line, which is due. `remaining` may be PROGRESS_UNKNOWN; at_least: or too low. */
void progress_step(struct progress *progress, uint64_t done, uint64_t remaining, bool at_least);
/* Erases the line. */
void progress_end(struct progress *progress);

#endif
