/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz.h - what every target has: libFuzzer's entry, which replay.c calls, too. */
#pragma once

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
