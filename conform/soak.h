/* SPDX-License-Identifier: Apache-2.0 */
/* soak.h - level 5: under load for a time, while nothing may grow. */
#pragma once

#include "conform/kit.h"

void soak_begin(void);
void soak_add(const struct kit_sink *sink);
