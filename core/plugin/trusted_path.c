/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/trusted_path.h"

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

/* DIR/FILE with every link followed: a link is judged by where it leads. */
static int resolve(const char *folder, const char *file, char **ret, struct outbox_err *err)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, file) < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    struct stat st;
    int r = OUTBOX_OK;
    *ret = realpath(path, NULL);
    if (!*ret || stat(*ret, &st) < 0)
        r = outbox_fail(err, errno == ENOENT ? OUTBOX_E_NOTSUP : OUTBOX_E_CONFIG, "%s: %m", path);
    else if (!S_ISREG(st.st_mode))
        r = outbox_fail(err, OUTBOX_E_CONFIG, "%s is not a regular file", *ret);
    free(path);
    return r;
}

int trusted_path_find(const char *dir, const char *file, char **ret, struct outbox_err *err)
{
    char *path = NULL;
    char *folder = realpath(dir, NULL);
    if (!folder)
        return outbox_fail(err, errno == ENOENT ? OUTBOX_E_NOTSUP : OUTBOX_E_CONFIG,
                           "plugin folder %s: %m", dir);
    int r = resolve(folder, file, &path, err);
    if (r == 0)
        r = check_folders(folder, err);
    if (r == 0)
        r = check_target(path, folder, err);
    free(folder);
    if (r < 0)
        free(path);
    else
        *ret = path;
    return r;
}
