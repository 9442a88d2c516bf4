/* SPDX-License-Identifier: Apache-2.0 */
/* rules.h - level 3: each rule of the ABI that the layer of plugin/checked.h knows is a test by its
 * name, and fails for nothing else. */
#pragma once

#include "conform/kit.h"

/* Those after whose failure the others could not tell more; then all others. */
void rules_add_gates(const struct kit_sink *sink, uint32_t kind);
void rules_add(const struct kit_sink *sink, uint32_t kind);
