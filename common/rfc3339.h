/* SPDX-License-Identifier: Apache-2.0 */
/* rfc3339.h - times as people and programs read them. */
#pragma once

#include <stdint.h>

#define RFC3339_SIZE 32

/* 2026-11-23T19:47:00.123456Z; returns out. Years outside 0 to 9999 are clamped. */
const char *rfc3339_format(int64_t us, char out[RFC3339_SIZE]);
