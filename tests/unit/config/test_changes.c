/* SPDX-License-Identifier: Apache-2.0 */
/* What differs between two configurations, and which instances may go on. */
#include "config_scratch.h"

#define TAIL "[router]\nfallback = a\n"
#define BASE PRELUDE "words = /bin/x y\nnames = p, q\nroom = 1M\n" TAIL
#define CHECKED                                                                               \
    "[relay]\nplugin_dir = @/plugins\ncheck_plugins = yes\n[store]\nplugin = sqlite\npath = " \
    "x.db\n"                                                                                  \
    "[publisher a]\nplugin = options\nurl = u\npassword_file = @/secret\nwords = /bin/x y\n"  \
    "names = p, q\nroom = 1M\n" TAIL

static const struct {
    const char *text;
    const char *told; /* of what has changed */
    bool keeps;       /* publisher a */
} cases[] = {
    {BASE, "", true},
    /* another way to write the same */
    {PRELUDE "room = 1024K\nnames = p,q\nwords = /bin/x \"y\"\n" TAIL, "", true},
    {PRELUDE "words = /bin/x z\nnames = p, q\nroom = 1M\n" TAIL,
     "publisher a: changed (words), reopened\n", false},
    {PRELUDE "words = /bin/x y\nnames = p\nroom = 2K\n" TAIL,
     "publisher a: changed (room, names), reopened\n", false},
    {PRELUDE "words = /bin/x y\nnames = p, q\nroom = 1M\nbatch_size = 7\nretry_max = 1h\n" TAIL,
     "publisher a: changed (batch_size, retry_max), keeps its connections\n", true},
    {PRELUDE "words = /bin/x y\nnames = p, q\nroom = 1M\nbatch_timeout = 16s\n" TAIL,
     "publisher a: changed (batch_timeout), reopened\n", false},
    {SECTION "password_file = @/other\nwords = /bin/x y\nnames = p, q\nroom = 1M\n" TAIL,
     "publisher a: changed (password), reopened\n", false},
    {SECTION "password = hush\nwords = /bin/x y\nnames = p, q\nroom = 1M\n" TAIL,
     "publisher a: changed (password), reopened\n", false},
    {"[relay]\nplugin_dir = @/plugins\nworkers = 9\nlease = 60s\n[store]\nplugin = sqlite\npath = "
     "y.db\n[publisher a]\nplugin = options\nurl = u\npassword_file = @/secret\nwords = /bin/x y\n"
     "names = p, q\nroom = 1M\n" TAIL,
     "[relay] workers: 2 -> 9\n[relay] lease: 30s -> 60s\nstore: changed (path)\n", true},
    {BASE "[publisher b]\nplugin = options\nurl = u\npassword = p\n[route r]\ntopic = x\n"
          "publisher = b\n[log]\nlevel = debug\n",
     "[log] level: info -> debug\npublisher b: added\nroute r: added\n", true},
    {CHECKED, "[relay] check_plugins: no -> yes\npublisher a: changed (check_plugins), reopened\n",
     false},
    /* of a group */
    {PRELUDE "words = /bin/x y\nnames = p, q\nroom = 1M\nplain.x = 1\n" TAIL,
     "publisher a: changed (plain), reopened\n", false},
    /* which a plugin can tell from the default */
    {PRELUDE "words = /bin/x y\nnames = p, q\nroom = 1M\ncount = 3\n" TAIL,
     "publisher a: changed (count), reopened\n", false},
    {PRELUDE "words = /bin/x y\nnames = p, q\nroom = 1M\n[router]\nunrouted = fail\n",
     "[router] unrouted: hold -> fail\n[router] fallback: a -> none\n", true},
};

struct told {
    char text[4096];
};

static void note(void *ctx, const char *text)
{
    struct told *told = ctx;
    size_t n = strlen(told->text);
    if (!strstr(text, ": unchanged"))
        snprintf(told->text + n, sizeof told->text - n, "%s\n", text);
}

static struct config *load_again(const char *text, const struct config *before)
{
    struct config *config = NULL;
    char *filled = fill(text);
    const char *path = write_bytes("outboxd.ini", filled, strlen(filled), 0600);
    reported = (struct reported){{0}, 0};
    ck_assert_msg(load_config_again(path, before, report, &reported, &config) == OUTBOX_OK, "%s",
                  reported.text);
    free(filled);
    return config;
}

static size_t lines(const char *text)
{
    size_t n = 0;
    while ((text = strchr(text, '\n')) && text++)
        n++;
    return n;
}

START_TEST(what_has_changed_is_told_and_the_rest_is_shared)
{
    write_bytes("other", "hush\n", 5, 0600);
    struct config *before = load_again(BASE, NULL);
    struct config *after = load_again(cases[_i].text, before);
    struct told told = {""}, back = {""};
    size_t n = config_compare(before, after, note, &told);
    ck_assert_str_eq(told.text, cases[_i].told);
    ck_assert_uint_eq(n, lines(told.text));
    ck_assert(config_kept_publisher(before, after, 0) == (cases[_i].keeps ? 0 : ROUTE_NONE));
    ck_assert_ptr_eq(before->plugins, after->plugins);
    config_share(after, before);
    ck_assert((before->publishers[0].options == after->publishers[0].options) == cases[_i].keeps);
    ck_assert((before->publishers[0].shared == after->publishers[0].shared) == cases[_i].keeps);
    ck_assert_uint_eq(config_compare(after, before, note, &back), n);
    config_free(before); /* what is shared outlives it */
    ck_assert_str_eq(options_text(after->publishers[0].options, "url").p, "u");
    config_free(after);
}
END_TEST

START_TEST(a_secret_that_its_file_changes_is_no_change)
{
    struct config *before = load_again(BASE, NULL);
    write_bytes("secret", "louder\n", 7, 0600);
    struct config *after = load_again(BASE, before);
    ck_assert_uint_eq(config_kept_publisher(before, after, 0), 0);
    config_free(after);
    config_free(before);
}
END_TEST

START_TEST(a_plugin_of_another_folder_is_another_plugin)
{
    char from[80], to[80];
    struct config *before = load_again(BASE, NULL);
    snprintf(from, sizeof from, "%s/plugins", dir);
    snprintf(to, sizeof to, "%s/PLUGINS", dir);
    ck_assert_int_eq(rename(from, to), 0);
    struct config *after = load_again(
        "[relay]\nplugin_dir = @/PLUGINS\n[store]\nplugin = sqlite\npath = x.db\n[publisher a]\n"
        "plugin = options\nurl = u\npassword_file = @/secret\n" TAIL,
        before);
    ck_assert(config_kept_publisher(before, after, 0) == ROUTE_NONE);
    ck_assert(!plugin_is_replaced(after->store_plugin));
    config_free(before);
    config_free(after);
}
END_TEST

START_TEST(a_file_that_was_replaced_is_noticed)
{
    struct config *before = load_again(_i == 0 ? BASE : CHECKED, NULL);
    ck_assert_int_eq(before->check_plugins, _i == 1);
    ck_assert(!plugin_is_replaced(before->publishers[0].plugin));
    char path[128];
    snprintf(path, sizeof path, "%s/plugins/pub-options.so", dir);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert(!plugin_is_replaced(before->publishers[0].plugin)); /* there is nothing to load */
    install("OUTBOX_TEST_BUILDDIR", "tests/fixtures/", "pub-options.so");
    ck_assert(plugin_is_replaced(before->publishers[0].plugin));
    ck_assert(!plugin_is_replaced(before->store_plugin));
    config_free(before);
}
END_TEST

/* Settings of a group have keys and values. */
START_TEST(a_group_is_the_same_if_all_its_settings_are)
{
    static const struct {
        const char *text;
        bool keeps;
    } groups[] = {{"plain.x = 1\nplain.y = 2\n", true},
                  {"plain.x = 1\nplain.y = 3\n", false},
                  {"plain.x = 1\nplain.z = 2\n", false},
                  {"plain.x = 1\n", false},
                  {"client.x = 1\nplain.y = 2\n", false}};
    char text[600];
    snprintf(text, sizeof text, PRELUDE "%s" TAIL, groups[0].text);
    struct config *before = load_again(text, NULL);
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        snprintf(text, sizeof text, PRELUDE "%s" TAIL, groups[i].text);
        struct config *after = load_again(text, before);
        ck_assert_msg((config_kept_publisher(before, after, 0) == 0) == groups[i].keeps, "%s",
                      groups[i].text);
        config_free(after);
    }
    config_free(before);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("changes");
    TCase *tc = tcase_create("changes");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, what_has_changed_is_told_and_the_rest_is_shared, 0,
                        sizeof cases / sizeof cases[0]);
    tcase_add_test(tc, a_secret_that_its_file_changes_is_no_change);
    tcase_add_test(tc, a_plugin_of_another_folder_is_another_plugin);
    tcase_add_loop_test(tc, a_file_that_was_replaced_is_noticed, 0, 2);
    tcase_add_test(tc, a_group_is_the_same_if_all_its_settings_are);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
