/* SPDX-License-Identifier: Apache-2.0 */
/* Mistakes of the configuration, and secrets in it. */
#include "config_scratch.h"

/* ---- what is wrong ---- */

static const struct {
    const char *text;
    const char *reported;
} mistakes[] = {
    {"count = 11\n", "10: count: `11` is out of range; it must be 1 to 10\n"},
    {"count = x\n", "10: count: `x` is not a whole number\n"},
    {"count =\n", "10: count: `` is not a whole number\n"},
    {"flag = maybe\n", "10: flag: `maybe` is neither yes nor no\n"},
    {"room = 2M\n", "10: room: `2M` is out of range; it must be 1K to 1M\n"},
    {"mode = Queue\n", "10: mode: `Queue` is none of queue | pubsub; did you mean `queue`?\n"},
    {"patience = 3\n", "10: patience: `3` has no unit; write 3s or 3m (units: ms s m h d)\n"},
    {"patience = 15s\n", "10: patience (15s) must be shorter than batch_timeout (15s), or no batch "
                         "could be settled in time\n"},
    {"patience = never\n", "10: patience (never) must be shorter than batch_timeout (15s), or no "
                           "batch could be settled in time\n"},
    {"batch_timeout = 1s\n", "10: patience (2s) must be shorter than batch_timeout (1s), or no "
                             "batch could be settled in time\n"},
    /* one mistake, not two */
    {"batch_timeout = 1s\npatience = x\n",
     "11: patience: `x` cannot be read; write it like 250ms, 10s, 5m, 2h, 1d, 0 or never\n"},
    {"words = /bin/x \"y\n", "10: words: a double quote is not closed\n"},
    {"names = a,,b\n", "10: names: there is nothing between two commas\n"},
    {"Count = 1\n", "10: unknown key `Count` in [publisher a]; neither outboxd nor pub-options "
                    "knows it; did you mean `count`?\n"},
    {"retry_min = 10m\n", "10: retry_min (10m) is more than retry_max (5m)\n"},
    {"password = x\n", "9: password_file and password (line 10) are both set; keep one\n"},
    {"count_file = x\n", "10: unknown key `count_file` in [publisher a]; neither outboxd nor "
                         "pub-options knows it\n"},
    {"relay.shape = round\n", "10: keys that begin with `relay.` are reserved, and `relay.shape` "
                              "is not known to this version\n"},
    {"[publisher b]\nplugin = options\npassword_file = @/secret\n",
     "10: [publisher b] lacks `url`: Where.\n"},
    {"[publisher b]\nplugin = options\nurl = x\n",
     "10: [publisher b] lacks `password`: By which right.\n"},
    {"[publisher b]\nplugin = options\nurl =\npassword_file = @/secret\n",
     "12: url is empty: Where.\n"},
    {"[route r]\nplugin = options\nmode = x\nmodus = y\nheader. = z\n",
     "12: mode: `x` is none of queue | pubsub\n"
     "13: unknown key `modus` in [route r]; neither outboxd nor rule-options knows it; did you "
     "mean `mode`?\n14: unknown key `header.` in [route r]; did you mean `header`?\n"},
    {"spare = b\n", "10: spare: there is no [publisher b]\n"},
    {"spare = mial\n[publisher mail]\nplugin = options\nurl = x\npassword_file = @/secret\n",
     "10: spare: there is no [publisher mial]; did you mean `mail`?\n"},
    {"[route r]\nplugin = options\nmode = pubsub\nspare = b\n",
     "13: spare: there is no [publisher b]\n"},
    {"client = x\n",
     "10: client: is a group of settings; write `client.NAME = VALUE` for each of them\n"},
    {"client. = x\nclient.a b = x\n",
     "10: client.: the name behind the prefix has only letters, digits, `.`, `_` and `-`\n"
     "11: client.a b: the name behind the prefix has only letters, digits, `.`, `_` and `-`\n"},
    {"client.a = x\nclient.A = y\nclient.a = z\n", "12: `client.a` is set already, on line 10\n"},
    {"client.a = ${OUTBOX_NOT_SET}\n",
     "10: client.a: the environment variable OUTBOX_NOT_SET is not set\n"},
    {"client.api.token = x${OUTBOX_NOT_SET}\n",
     "10: client.api.token: a `${` in it does not begin a set environment variable; write `$${` "
     "for a literal `${`\n"},
    {"cleint.a = x\n",
     "10: unknown key `cleint.a` in [publisher a]; neither outboxd nor pub-options knows it\n"},
    {"hosts_file = x\n", "10: unknown key `hosts_file` in [publisher a]; neither outboxd nor "
                         "pub-options knows it\n"},
    {"[route r]\nplugin = options\npublisher = a\n",
     "10: [route r] names publishers in several ways; keep one of publisher, header and plugin\n"},
    {"[route r]\nheader = h\nto.a=b = a\n",
     "12: there is no [publisher b = a]; a header's value that contains `=` is routed by a [route] "
     "of its own: `header.NAME = VALUE` and `publisher = NAME`\n"},
    {"[route r]\nheader = h\nto. = a\nto = a\n",
     "12: no value of a header follows `to.`; an empty one is routed by a [route] of its own: "
     "`header.NAME = VALUE` and `publisher = NAME`\n"},
    {"[route r]\nheader = h\nto.a = a\nto = a\n",
     "13: the header's value `a` is mapped twice, also on line 12\n"},
    {"[route r]\nheader = h\nto.x = b, a\n",
     "12: there is no [publisher b]\n"
     "12: to.x: several publishers for one message are not supported yet\n"},
    {"[relay x]\n[Store]\n[publiser mail]\n[publisher]\n[route]\n[Route r]\n[other]\n",
     "10: unknown section [relay x]; did you mean `relay`?\n"
     "11: [Store] is there already, on line 3; join the two\n"
     "11: unknown section [Store]; did you mean `store`?\n"
     "12: unknown section [publiser mail]; did you mean `publisher mail`?\n"
     "13: [publisher] needs a name: [publisher NAME]\n"
     "14: [route] needs a name: [route NAME]\n"
     "15: unknown section [Route r]; did you mean `route r`?\n"
     "16: unknown section [other]\n"},
    {"url = \xc3\xbc\n", "10: `url` is set already, on line 8\n"},
    {"[log]\nlevel = \"info\nformat = json ; fine\n",
     "11: level: `\"info` is none of error | warning | info | debug; did you mean `info`?\n"},
};

START_TEST(a_mistake_is_told_with_its_line_and_what_fits)
{
    char text[4096];
    snprintf(text, sizeof text, "%s%s", PRELUDE, mistakes[_i].text);
    refused(text, mistakes[_i].reported);
}
END_TEST

START_TEST(a_bad_name_of_the_only_publisher_is_one_mistake)
{
    refused("[relay]\nplugin_dir = @/plugins\n[store]\nplugin = sqlite\npath = x\n"
            "[publisher Mail]\nplugin = options\n",
            "6: `Mail` cannot be a publisher's name; names match [a-z0-9-]{1,63}\n");
}
END_TEST

START_TEST(a_name_must_be_printable_and_short)
{
    char text[1024], name[102];
    memset(name, 'n', 101);
    name[101] = '\0';
    snprintf(text, sizeof text, "[relay]\nname = %s\n", name);
    config_free(load(text));
    ck_assert_ptr_nonnull(
        strstr(reported.text, "2: name: is too long; it must have 1 to 100 bytes\n"));
    config_free(load("[relay]\nname = a\033[2Jb\n"));
    ck_assert_ptr_nonnull(
        strstr(reported.text, "2: name: holds a character that cannot be printed\n"));
    setenv("OUTBOX_UNIT", "two\nlines", 1);
    config_free(load("[relay]\nname = ${OUTBOX_UNIT}\n"));
    ck_assert_ptr_nonnull(
        strstr(reported.text, "2: name: holds a character that cannot be printed\n"));
    setenv("OUTBOX_UNIT", "\xff", 1);
    config_free(load("[relay]\nname = ${OUTBOX_UNIT}\n"));
    ck_assert_ptr_nonnull(strstr(
        reported.text, "2: name: the environment variable OUTBOX_UNIT is not valid UTF-8\n"));
}
END_TEST

START_TEST(a_flood_of_mistakes_is_cut_and_counted)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    fputs(PRELUDE, f);
    for (int i = 0; i < 1234; i++)
        fprintf(f, "x%d = 1\n", i);
    fclose(f);
    config_free(load(text));
    ck_assert_ptr_nonnull(strstr(reported.text, "0: and 234 more mistakes\n"));
    free(text);
}
END_TEST

START_TEST(a_file_that_cannot_be_read_says_why)
{
    struct config *config = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/none.ini", dir);
    reported = (struct reported){{0}, 0};
    ck_assert_int_eq(load_config(path, report, &reported, &config), OUTBOX_E_CONFIG);
    ck_assert_str_eq(reported.text,
                     "0: cannot be read: No such file or directory; write it, or name "
                     "another one with -c\n");
    reported = (struct reported){{0}, 0};
    ck_assert_int_eq(load_config(dir, report, &reported, &config), OUTBOX_E_CONFIG);
    ck_assert_str_eq(reported.text, "0: is not a regular file\n");
}
END_TEST

/* ---- secrets ---- */

static void has_password(const struct config *config, const char *password)
{
    struct outbox_str text = options_text(config->publishers[0].options, "password");
    ck_assert_uint_eq(text.n, strlen(password));
    ck_assert_str_eq(text.p, password);
}

START_TEST(a_secret_comes_from_a_file_less_one_newline)
{
    struct config *config = load_mode(SECTION "password_file = @/secret\n", 0644);
    ck_assert_str_eq(reported.text, ""); /* the configuration itself holds none */
    has_password(config, "hush");
    config_free(config);
    write_bytes("secret", "${HOME} ; \"x\"\n", 13, 0640);
    config = taken(SECTION "password_file = @/secret\n");
    has_password(config, "${HOME} ; \"x\"");
    config_free(config);
}
END_TEST

START_TEST(a_file_of_a_secret_is_guarded)
{
    static const char text[] = SECTION "password_file = @/secret\n";
    write_bytes("secret", "hush", 4, 0604);
    refused(text, "9: password_file: @/secret holds a secret, but others can read it (mode 0604); "
                  "chmod o-rwx it\n");
    write_bytes("secret", "\n", 1, 0600);
    refused(text, "9: password_file: @/secret is empty or holds a NUL byte\n");
    write_bytes("secret", "", 0, 0600);
    refused(text, "9: password_file: @/secret is empty or holds a NUL byte\n");
    write_bytes("secret", "a\0b", 3, 0600);
    refused(text, "9: password_file: @/secret is empty or holds a NUL byte\n");
    refused(SECTION "password_file = @\n", "9: password_file: @ is not a regular file\n");
    refused(SECTION "password_file = @/none\n",
            "9: password_file: @/none cannot be read: No such file or directory\n");
}
END_TEST

START_TEST(a_configuration_with_a_secret_is_guarded)
{
    static const mode_t open_modes[] = {0644, 0604, 0602, 0601};
    for (size_t i = 0; i < sizeof open_modes / sizeof open_modes[0]; i++) {
        config_free(load_mode(SECTION "password = hush\n", open_modes[i]));
        ck_assert_ptr_nonnull(
            strstr(reported.text, "9: password is a secret, but others can read"));
        ck_assert_ptr_null(strstr(reported.text, "hush"));
    }
    struct config *config = load_mode(SECTION "password = \"hu;sh\"\n", 0640);
    ck_assert_str_eq(reported.text, "");
    has_password(config, "hu;sh");
    config_free(config);
    setenv("OUTBOX_UNIT", "from ${HOME}", 1);
    config = load_mode(SECTION "password = ${OUTBOX_UNIT}\n", 0644);
    ck_assert_str_eq(reported.text, "");
    has_password(config, "from ${HOME}");
    config_free(config);
}
END_TEST

START_TEST(secrets_in_lists_and_groups_are_guarded)
{
    static const struct {
        const char *line, *text; /* "": others may read the file */
    } lines[] = {
        {"hosts = a, password=p", "hosts holds a password"},
        {"hosts = a, password=${PATH}", ""},
        {"hosts = a, b", ""},
        {"client.sasl.password = p", "client.sasl.password is a secret"},
        {"client.sasl.password = ${PATH}", ""},
        {"client.API-Token = p", "client.API-Token is a secret"},
        {"client.server = password=p", "client.server holds a password"},
        {"client.server = p", ""},
        {"plain.secret = p", "plain.secret is a secret"},
        {"plain.server = password=p", ""},
        {"plain.a = p", ""},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char text[512], expected[512] = "";
        snprintf(text, sizeof text, "%s%s\n", PRELUDE, lines[i].line);
        if (*lines[i].text)
            snprintf(expected, sizeof expected,
                     "10: %s, but others can read this file (mode 0644); chmod o-rwx it, or name "
                     "an environment variable here, ${NAME}\n",
                     lines[i].text);
        config_free(load_mode(text, 0644));
        ck_assert_str_eq(reported.text, expected);
        config_free(taken(text));
    }
}
END_TEST

START_TEST(a_file_that_others_can_write_is_refused)
{
    config_free(load_mode(SECTION "password_file = @/secret\n", 0606));
    ck_assert_str_eq(reported.text, "0: can be written by others (mode 0606), who could name "
                                    "programs to run; take that away (chmod go-w)\n");
    char *none = NULL;
    char path[128];
    snprintf(path, sizeof path, "%s/outboxd.ini", dir);
    ck_assert_int_eq(load_plugin_dir(path, report, &reported, &none), OUTBOX_E_CONFIG);
    ck_assert_ptr_null(none);
}
END_TEST

/* ---- the store alone ---- */

static struct config *load_store_of(const char *text)
{
    struct config *config = NULL;
    char *filled = fill(text);
    const char *path = write_bytes("outboxd.ini", filled, strlen(filled), 0600);
    reported = (struct reported){{0}, 0};
    int r = load_store(path, report, &reported, &config);
    ck_assert_int_eq(r, reported.n > 0 ? OUTBOX_E_CONFIG : OUTBOX_OK);
    ck_assert((config != NULL) == (r == 0));
    free(filled);
    return config;
}

#define STORE "plugin_dir = @/plugins\n[store]\nplugin = sqlite\npath = x.db\n"

START_TEST(the_store_is_read_whatever_else_is_wrong)
{
    static const char *const texts[] = {
        "[relay]\n" STORE,
        "[relay]\n" STORE "[publisher a]\nplugin = none\n[publisher b]\npassword_file = /none\n"
        "[router]\nfallback = c\n",
        "nonsense\n[relay]\n" STORE "[route r]\nto.x = y\n[other]\n[log]\nlevel = 9\n"
        "level = 8\nnonsense\n[route r]\n[x",
        "[relay]\nworkers = many\nworkers = more\n" STORE,
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct config *config = load_store_of(texts[i]);
        ck_assert_str_eq(reported.text, "");
        ck_assert_str_eq(options_text(config->store_options, "path").p, "x.db");
        ck_assert_uint_eq(config->n_publishers, i == 1 ? 2 : 0);
        config_free(config);
    }
}
END_TEST

START_TEST(mistakes_of_the_store_itself_are_told)
{
    config_free(load_store_of("[relay]\n" STORE "path = y.db\npth = z\nnonsense\n[log]\nx\n"));
    ck_assert_ptr_nonnull(strstr(reported.text, "6: `path` is set already, on line 5\n"));
    ck_assert_ptr_nonnull(strstr(reported.text, "7: unknown key `pth` in [store]"));
    ck_assert_ptr_nonnull(strstr(reported.text, "8: no `=` in this line"));
    ck_assert_ptr_null(strstr(reported.text, "10:"));
    config_free(load_store_of("[relay]\nplugin_dir = @/plugins\n"));
    ck_assert_str_eq(reported.text,
                     "1: there is no [store] section; it says where the messages are\n");
}
END_TEST

START_TEST(no_part_of_a_secret_is_told)
{
    static const char *const secrets[] = {"ab${HUSH}cd", "ab${hu sh}cd", "ab${hush", "${hush}${x}"};
    unsetenv("HUSH");
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "%spassword = %s\n", SECTION, secrets[i]);
        refused(text, "9: password: a `${` in it does not begin a set environment variable; write "
                      "`$${` for a literal `${`\n");
    }
    refused(SECTION "password = ${HUSH}\n",
            "9: password: the environment variable HUSH is not set\n");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config");
    TCase *tc = tcase_create("config");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_loop_test(tc, a_mistake_is_told_with_its_line_and_what_fits, 0,
                        sizeof mistakes / sizeof mistakes[0]);
    tcase_add_test(tc, a_bad_name_of_the_only_publisher_is_one_mistake);
    tcase_add_test(tc, a_name_must_be_printable_and_short);
    tcase_add_test(tc, a_flood_of_mistakes_is_cut_and_counted);
    tcase_add_test(tc, a_file_that_cannot_be_read_says_why);
    tcase_add_test(tc, a_secret_comes_from_a_file_less_one_newline);
    tcase_add_test(tc, a_file_of_a_secret_is_guarded);
    tcase_add_test(tc, a_configuration_with_a_secret_is_guarded);
    tcase_add_test(tc, secrets_in_lists_and_groups_are_guarded);
    tcase_add_test(tc, a_file_that_others_can_write_is_refused);
    tcase_add_test(tc, the_store_is_read_whatever_else_is_wrong);
    tcase_add_test(tc, mistakes_of_the_store_itself_are_told);
    tcase_add_test(tc, no_part_of_a_secret_is_told);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
