/* SPDX-License-Identifier: Apache-2.0 */
/* form.h - level 1: what the plugin says of itself, and its options. */
#pragma once

#include "conform/kit.h"

void form_add(const struct kit_sink *sink);
