/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/trusted_path.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool path_name_is_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n <= 63 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

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
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !(above && (st.st_mode & S_ISVTX)))
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s can be written by others, who could replace plugins; take that "
                           "away (chmod go-w)",
                           path);
    return OUTBOX_OK;
}

/* The folder itself, then every one above it, up to the root. */
static int check_folders(const char *dir, struct outbox_err *err)
{
    int r = check_one(dir, false, err);
    char *path = strdup(dir);
    if (!path)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    for (char *slash; r == 0 && (slash = strrchr(path, '/'));) {
        *slash = '\0';
        r = check_one(path[0] ? path : "/", true, err);
    }
    free(path);
    return r;
}

/* The file itself, and the folders above it where a link led out of ours. */
static int check_target(char *path, const char *folder, struct outbox_err *err)
{
    char *slash = strrchr(path, '/');
    *slash = '\0';
    int r = strcmp(path, folder) == 0 ? OUTBOX_OK : check_folders(path[0] ? path : "/", err);
    *slash = '/';
    return r < 0 ? r : check_one(path, false, err);
}

int trusted_path_find(const char *dir, const char *file, char **ret, struct outbox_err *err)
{
    int r;
    char *path = NULL;
    struct stat st;
    char *folder = realpath(dir, NULL);
    if (!folder)
        return outbox_fail(err, errno == ENOENT ? OUTBOX_E_NOTSUP : OUTBOX_E_CONFIG,
                           "plugin folder %s: %m", dir);
    if (asprintf(&path, "%s/%s", folder, file) < 0) {
        path = NULL;
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
        goto out;
    }
    if (stat(path, &st) < 0) {
        r = outbox_fail(err, errno == ENOENT ? OUTBOX_E_NOTSUP : OUTBOX_E_CONFIG, "%s: %m", path);
        goto out;
    }
    /* A link is judged by where it leads. */
    char *target = realpath(path, NULL);
    free(path);
    path = target;
    if (!path) {
        r = outbox_fail(err, OUTBOX_E_CONFIG, "%s/%s: %m", folder, file);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        r = outbox_fail(err, OUTBOX_E_CONFIG, "%s is not a regular file", path);
        goto out;
    }
    r = check_folders(folder, err);
    if (r == 0)
        r = check_target(path, folder, err);
out:
    free(folder);
    if (r < 0)
        free(path);
    else
        *ret = path;
    return r;
}
