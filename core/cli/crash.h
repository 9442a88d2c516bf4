/* SPDX-License-Identifier: Apache-2.0 */
/* crash.h - after a crash a line on standard error says in which plugin's operation it came. */
#pragma once

/* For the process. What a crash does else, a core dump, stays as it is. */
void crash_install(void);

/* For a child whose parent tells of its crash. */
void crash_uninstall(void);
