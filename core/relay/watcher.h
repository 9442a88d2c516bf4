/* SPDX-License-Identifier: Apache-2.0 */
/* watcher.h - the thread that waits for the store's news, and wakes one idle worker. */
#ifndef CORE_RELAY_WATCHER_H
#define CORE_RELAY_WATCHER_H

void *watcher_main(void *relay);

#endif
