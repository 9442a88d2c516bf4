/* SPDX-License-Identifier: Apache-2.0 */
/* writable.h - who besides its owner may write to a file or a folder? */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

/* Somebody may, by its mode. The group of its owner's own name, without other members, is nobody
 * else: that is what distributions give to each user, with a umask of 002. */
bool writable_by_others(const struct stat *st);
