/* SPDX-License-Identifier: Apache-2.0 */
/* kill.h - level 4: the process that uses the plugin is killed, and its server, by the author's
 * commands. The kills are made once, and each test looks at what came of them. */
#pragma once

#include "conform/kit.h"

/* Before the processes that share what came of them. */
void kill_begin(void);
void kill_add(const struct kit_sink *sink, uint32_t kind);
