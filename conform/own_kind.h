/* SPDX-License-Identifier: Apache-2.0 */
/* own_kind.h - the author's plugin as the contracts want it: by its ABI, and what the commands of
 * the INI add. */
#pragma once

#include "conform/publisher_contract.h"
#include "conform/store_contract.h"

struct setup;

const struct publisher_kind *own_publisher(const struct setup *s);
const struct store_kind *own_store(const struct setup *s);
