/* SPDX-License-Identifier: Apache-2.0 */
#include "base/writable.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>

#define NAMES_SIZE 16384 /* of an entry; a group with more members is nobody's own */

static bool is_owners_own_group(uid_t uid, gid_t gid)
{
    char user_names[NAMES_SIZE], group_names[NAMES_SIZE];
    struct passwd user, *u = NULL;
    struct group group, *g = NULL;
    if (getpwuid_r(uid, &user, user_names, sizeof user_names, &u) != 0 || !u || u->pw_gid != gid ||
        getgrgid_r(gid, &group, group_names, sizeof group_names, &g) != 0 || !g)
        return false;
    for (char **member = g->gr_mem; *member; member++)
        if (strcmp(*member, u->pw_name) != 0)
            return false;
    return strcmp(g->gr_name, u->pw_name) == 0;
}

bool writable_by_others(const struct stat *st)
{
    if (st->st_mode & S_IWOTH)
        return true;
    return (st->st_mode & S_IWGRP) && !is_owners_own_group(st->st_uid, st->st_gid);
}
