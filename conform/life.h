/* SPDX-License-Identifier: Apache-2.0 */
/* life.h - level 2: what stores and rules have in common with publishers, and rules of their own.
 */
#pragma once

#include "conform/kit.h"

void life_add(const struct kit_sink *sink, uint32_t kind);
