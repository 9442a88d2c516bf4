/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failpoint.h - places where a test may let the process die: OUTBOX_CRASH_AT=NAME or NAME:N, at the
 * N-th time that it comes there. Only in builds with --enable-crash-points; else they are nothing.
 */
#pragma once

#ifdef OUTBOX_CRASH_POINTS
void failpoint(const char *name);
#else
#define failpoint(name) ((void)0)
#endif
