/* SPDX-License-Identifier: Apache-2.0 */
/* What a file of a secret may hold, and that it is read again. */
#include "plugin/options.h"
#include "plugin/secret_file.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];

static void set_up(void)
{
    snprintf(path, sizeof path, "/tmp/outbox-unit-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void tear_down(void)
{
    unlink(path);
}

static void put(const char *text, mode_t mode)
{
    FILE *f = fopen(path, "we");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(text, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
}

static void refused(const char *text, const char *why)
{
    struct outbox_err err = {.size = sizeof err};
    struct file file;
    put(text, 0600);
    ck_assert_int_eq(secret_file_read(path, &file, &err), OUTBOX_E_CONFIG);
    ck_assert_msg(strstr(err.text, why) && strstr(err.text, path), "%s", err.text);
    ck_assert_ptr_null(file.text);
}

START_TEST(what_an_editor_added_is_told)
{
    refused("hush\r\n", "ends in a carriage return");
    refused("hush\r", "ends in a carriage return");
    refused("hush\n\n", "has more than one newline at its end");
    refused("hush \n", "begins or ends with a blank");
    refused("hush\t", "begins or ends with a blank");
    refused(" hush\n", "begins or ends with a blank");
    refused("\xEF\xBB\xBFhush\n", "begins with a byte order mark");
    refused("\n", "is empty");
}
END_TEST

START_TEST(what_is_inside_is_the_secrets)
{
    struct outbox_err err = {.size = sizeof err};
    struct file file;
    put("two words\r\nand lines\n", 0600);
    ck_assert_int_eq(secret_file_read(path, &file, &err), OUTBOX_OK);
    ck_assert_uint_eq(file.n, 20);
    file_forget(&file);
}
END_TEST

START_TEST(who_can_change_it_matters_too)
{
    struct outbox_err err = {.size = sizeof err};
    struct file file;
    if (geteuid() != 0)
        return; /* only root gives files away */
    put("hush\n", 0660);
    ck_assert_int_eq(chown(path, 0, 4000000), 0);
    ck_assert_int_eq(secret_file_read(path, &file, &err), OUTBOX_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "others can write it (mode 0660)"));
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(secret_file_read(path, &file, &err), OUTBOX_OK);
    file_forget(&file);
}
END_TEST

static const struct outbox_option options[] = {
    {"password", NULL, "Hush.", NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_SECRET},
    {"user", "me", "Who.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
};
static const struct plugin plugin = {
    .desc = {.options = options, .n_options = 2, .option_stride = sizeof options[0]}};

static void reads(const struct outbox_cfg *cfg, const char *name, const char *expected)
{
    struct outbox_err err = {.size = sizeof err};
    char buf[16];
    uint64_t n = 0;
    int r = options_read(cfg, name, buf, sizeof buf, &n, &err);
    ck_assert_msg(r == OUTBOX_OK, "%s", err.text);
    ck_assert_str_eq(buf, expected);
    ck_assert_uint_eq(n, strlen(expected));
}

START_TEST(a_changed_file_is_read_again)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_cfg *cfg = options_new(&plugin);
    put("old\n", 0600);
    ck_assert_int_eq(options_set_from_file(cfg, "password", path, &err), OUTBOX_OK);
    reads(cfg, "password", "old");
    put("newer\n", 0600);
    reads(cfg, "password", "newer");
    ck_assert_str_eq(options_text(cfg, "password").p, "old"); /* as it was at the start */
    reads(cfg, "user", "me");
    ck_assert_int_eq(options_set(cfg, "password", "direct", &err), OUTBOX_OK);
    reads(cfg, "password", "direct");
    options_free(cfg);
}
END_TEST

static void fails_later(const struct outbox_cfg *cfg, const char *text, mode_t mode,
                        const char *why)
{
    struct outbox_err err = {.size = sizeof err};
    char buf[4];
    uint64_t n;
    put(text, mode);
    ck_assert_int_eq(options_read(cfg, "password", buf, sizeof buf, &n, &err), OUTBOX_E_CONFIG);
    ck_assert_msg(strstr(err.text, why), "%s", err.text);
}

START_TEST(what_is_wrong_with_it_later_is_told)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_cfg *cfg = options_new(&plugin);
    fails_later(cfg, "old\n", 0600, "password is not set");
    ck_assert_int_eq(options_set_from_file(cfg, "password", path, &err), OUTBOX_OK);
    reads(cfg, "password", "old");
    fails_later(cfg, "long\n", 0600, "password is too long");
    fails_later(cfg, "new\r\n", 0600, "carriage return");
    fails_later(cfg, "new\n", 0604, "others can read it");
    put("new\n", 0600);
    reads(cfg, "password", "new");
    options_free(cfg);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("secret_file");
    TCase *tc = tcase_create("secret_file");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, what_an_editor_added_is_told);
    tcase_add_test(tc, what_is_inside_is_the_secrets);
    tcase_add_test(tc, who_can_change_it_matters_too);
    tcase_add_test(tc, a_changed_file_is_read_again);
    tcase_add_test(tc, what_is_wrong_with_it_later_is_told);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
