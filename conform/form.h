/* SPDX-License-Identifier: Apache-2.0 */
/* form.h - level 1: what the plugin says of itself, and its options. */
#pragma once

#include "conform/kit.h"

/* What needs no instance, and what opens some. */
void form_add(const struct kit_sink *sink);
void form_add_opens(const struct kit_sink *sink);
