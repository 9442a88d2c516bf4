/* SPDX-License-Identifier: Apache-2.0 */
/* trusted_path.c - from a plugin's name to the one file that may be loaded for it. */
#include "base/writable.h"
#include "plugin/plugin.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* `above`: a folder over the one that holds the file, where a sticky bit protects what is ours. */
static int check_one(const char *path, bool above, struct outbox_err *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: %m", path);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s belongs to user %u, who could replace plugins; it must belong to "
                           "root or to the user that runs outboxd (chown)",
                           path, (unsigned)st.st_uid);
    if (writable_by_others(&st) && !(above && (st.st_mode & S_ISVTX)))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s can be written by others, who could replace plugins; take that "
                           "away (chmod go-w)",
                           path);
    return OUTBOX_OK;
}

/* A path and every folder above it, up to the root. The first `n_own` of them hold what is loaded.
 */
static int check_upwards(const char *path, int n_own, struct outbox_err *err)
{
    char *rest = strdup(path), *slash = rest;
    int r = rest ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (; r == 0 && slash; n_own--) {
        r = check_one(rest[0] ? rest : "/", n_own <= 0, err);
        if ((slash = strrchr(rest, '/')))
            *slash = '\0';
    }
    free(rest);
    return r;
}

static char *join(const char *folder, const char *file)
{
    char *path;
    return asprintf(&path, "%s/%s", folder, file) < 0 ? NULL : path;
}

/* Every link is followed: it is judged by where it leads. */
int trusted_path_find(const char *dir, const char *file, char **ret, struct outbox_err *err)
{
    struct stat st;
    int r = OUTBOX_OK;
    char *path = NULL, *real = NULL, *folder = realpath(dir, NULL);
    if (!folder)
        r = outbox_fail(err, errno == ENOENT ? OUTBOX_E_NOTSUP : OUTBOX_E_CONFIG,
                        "plugin folder %s: %m", dir);
    else if (!(path = join(folder, file)))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    else if (!(real = realpath(path, NULL)) || stat(real, &st) < 0)
        r = outbox_fail(err, errno == ENOENT ? OUTBOX_E_NOTSUP : OUTBOX_E_CONFIG, "%s: %m", path);
    else if (!S_ISREG(st.st_mode))
        r = outbox_fail(err, OUTBOX_E_CONFIG, "%s is not a regular file", real);
    else if ((r = check_upwards(folder, 1, err)) == 0)
        r = check_upwards(real, 2, err); /* a link may have led out of the folder */
    free(folder);
    free(path);
    if (r < 0)
        free(real);
    else
        *ret = real;
    return r;
}
