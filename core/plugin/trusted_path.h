/* SPDX-License-Identifier: Apache-2.0 */
/* trusted_path.h - from a plugin's name to the one file that may be loaded for it. */
#ifndef CORE_PLUGIN_TRUSTED_PATH_H
#define CORE_PLUGIN_TRUSTED_PATH_H

#include <outbox/abi.h>

/*
 * The absolute path of DIR/FILE for free(). OUTBOX_E_CONFIG when a user other than root
 * and our own could have put it there: the file, its folder or a folder above is writable by
 * others (a sticky one above is accepted) or belongs to another user. OUTBOX_E_NOTSUP when
 * there is no such file.
 */
int trusted_path_find(const char *dir, const char *file, char **ret, struct outbox_err *err);

#endif
