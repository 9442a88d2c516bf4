/* SPDX-License-Identifier: Apache-2.0 */
/* Who may write to a file. */
#include "base/writable.h"
#include "unit.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#define NOBODYS 4000000 /* in no list */

static bool by_others(mode_t mode, uid_t uid, gid_t gid)
{
    const struct stat st = {.st_mode = S_IFREG | mode, .st_uid = uid, .st_gid = gid};
    return writable_by_others(&st);
}

START_TEST(the_world_and_a_group_are_others)
{
    ck_assert(by_others(0602, 0, 0));
    ck_assert(by_others(0666, 0, 0));
    ck_assert(by_others(0620, geteuid(), NOBODYS));
    ck_assert(!by_others(0644, geteuid(), NOBODYS));
    ck_assert(!by_others(0755, geteuid(), NOBODYS));
}
END_TEST

/* root's group has root's name, and nobody else is in it. */
START_TEST(the_group_of_the_owners_own_name_is_nobody_else)
{
    const struct group *root = getgrgid(0);
    if (!root || strcmp(root->gr_name, "root") != 0 || root->gr_mem[0])
        return;
    ck_assert(!by_others(0664, 0, 0));
    ck_assert(!by_others(0775, 0, 0));
    ck_assert(by_others(0664, NOBODYS, 0)); /* the owner is another one, of no name */
}
END_TEST

START_TEST(a_group_with_another_name_is_others)
{
    const struct passwd *owner = getpwnam("daemon");
    const struct group *other = getgrnam("games");
    if (!owner || !other || other->gr_gid == owner->pw_gid)
        return;
    ck_assert(by_others(0664, owner->pw_uid, other->gr_gid));
    ck_assert(!by_others(0644, owner->pw_uid, other->gr_gid));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("writable");
    TCase *tc = tcase_create("writable");
    tcase_add_test(tc, the_world_and_a_group_are_others);
    tcase_add_test(tc, the_group_of_the_owners_own_name_is_nobody_else);
    tcase_add_test(tc, a_group_with_another_name_is_others);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
