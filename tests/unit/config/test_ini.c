/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a file as sections, keys and values with their lines. */
#include "config/ini.h"
#include "unit.h"

#include <outbox/abi.h>

#include <stdio.h>
#include <string.h>

struct reported {
    char text[4096];
    size_t n;
};

static void report(void *ctx, const char *file, int line, const char *text)
{
    (void)file;
    struct reported *reported = ctx;
    int n = snprintf(reported->text + reported->n, sizeof reported->text - reported->n, "%d: %s\n",
                     line, text);
    if (n > 0 && reported->n + (size_t)n < sizeof reported->text)
        reported->n += (size_t)n;
}

static struct ini *read_text(const char *text, size_t n, struct reported *reported)
{
    struct ini *ini = NULL;
    *reported = (struct reported){{0}, 0};
    struct diagnostics diag = {0};
    ck_assert_int_eq(ini_read(text, n, &diag, &ini), 0);
    diag_report(&diag, "test", report, reported);
    diag_clear(&diag);
    return ini;
}

START_TEST(sections_and_keys_keep_their_order_and_lines)
{
    static const char text[] = "; a comment\n\n[relay]\nb = 1\na = 2 ; two\n  [store] ; here\n"
                               "# x = y\n  ; z = 1\npath=/tmp/x\n[publisher  mail]\r\nk =\r\n";
    struct reported reported;
    struct ini *ini = read_text(text, sizeof text - 1, &reported);
    ck_assert_str_eq(reported.text, "");
    ck_assert_uint_eq(ini->n_sections, 3);
    ck_assert_str_eq(ini->sections[0].name, "relay");
    ck_assert_int_eq(ini->sections[0].line, 3);
    ck_assert_str_eq(ini->sections[0].entries[0].key, "b");
    ck_assert_str_eq(ini->sections[0].entries[1].key, "a");
    ck_assert_str_eq(ini->sections[0].entries[1].value, " 2 ; two");
    ck_assert_int_eq(ini->sections[0].entries[1].line, 5);
    ck_assert_str_eq(ini->sections[1].name, "store");
    ck_assert_uint_eq(ini->sections[1].n_entries, 1);
    ck_assert_str_eq(ini->sections[2].name, "publisher mail");
    ck_assert_str_eq(ini->sections[2].entries[0].value, "");
    ini_free(ini);
}
END_TEST

START_TEST(every_mistake_of_form_is_told_with_its_line)
{
    static const char text[] = "orphan = 1\n[relay]\nname = a\nNAME = b\nno equal sign\n= x\n"
                               "[open\nin = open\n[RELAY]\nworkers = 1\n[]\n[a] b\nlast = 1\n";
    struct reported reported;
    struct ini *ini = read_text(text, sizeof text - 1, &reported);
    ck_assert_ptr_nonnull(strstr(reported.text, "1: this stands before the first section"));
    ck_assert_ptr_nonnull(strstr(reported.text, "4: `NAME` is set already, on line 3"));
    ck_assert_ptr_nonnull(strstr(reported.text, "5: no `=` in this line"));
    ck_assert_ptr_nonnull(strstr(reported.text, "6: nothing stands before the `=`"));
    ck_assert_ptr_nonnull(strstr(reported.text, "7: this section's header has no `]`"));
    ck_assert_ptr_nonnull(strstr(reported.text, "9: [RELAY] is there already, on line 2"));
    ck_assert_ptr_nonnull(strstr(reported.text, "11: this section has no name"));
    ck_assert_ptr_nonnull(strstr(reported.text, "12: there is something behind the `]`"));
    /* and what is right is still read */
    ck_assert_str_eq(ini->sections[0].entries[0].value, " a");
    ck_assert_str_eq(ini->sections[2].entries[0].key, "workers");
    ini_free(ini);
}
END_TEST

START_TEST(junk_is_told_and_not_taken_for_lines)
{
    static const char text[] = "[relay]\nname = a\0b = c\n\xff\xfe = 1\nk = ok\n";
    struct reported reported;
    struct ini *ini = read_text(text, sizeof text - 1, &reported);
    ck_assert_ptr_nonnull(strstr(reported.text, "2: this line holds a NUL byte"));
    ck_assert_ptr_nonnull(strstr(reported.text, "3: this line is not valid UTF-8"));
    ck_assert_uint_eq(ini->sections[0].n_entries, 1);
    ck_assert_str_eq(ini->sections[0].entries[0].key, "k");
    ini_free(ini);
}
END_TEST

START_TEST(a_long_line_is_one_line)
{
    static char text[30000] = "[relay]\nname = ";
    struct reported reported;
    size_t n = strlen(text);
    memset(text + n, 'x', 20000);
    memcpy(text + n + 20000, "\nkey = 1\n", 9);
    struct ini *ini = read_text(text, n + 20009, &reported);
    ck_assert_str_eq(reported.text, "");
    ck_assert_uint_eq(strlen(ini->sections[0].entries[0].value), 20001);
    ck_assert_int_eq(ini->sections[0].entries[1].line, 3);
    ini_free(ini);
}
END_TEST

START_TEST(a_key_may_hold_any_character_but_the_equal_sign)
{
    static const char text[] = "[route a]\nto.hey! = 1\nto.gr\xc3\xb6\xc3\x9f"
                               "e = 2\nto.a b%21%% = 3\nto.\x01 = 4\n/* = 5\n'x' = 6\n";
    static const char *const keys[] = {"to.hey!",
                                       ("to.gr\xc3\xb6\xc3\x9f"
                                        "e"),
                                       "to.a b%21%%",
                                       "to.\x01",
                                       "/*",
                                       "'x'"};
    struct reported reported;
    struct ini *ini = read_text(text, sizeof text - 1, &reported);
    ck_assert_str_eq(reported.text, "");
    ck_assert_uint_eq(ini->sections[0].n_entries, 6);
    for (int i = 0; i < 6; i++) {
        ck_assert_str_eq(ini->sections[0].entries[i].key, keys[i]);
        ck_assert_int_eq(ini->sections[0].entries[i].value[1], '1' + i);
        ck_assert_int_eq(ini->sections[0].entries[i].line, 2 + i);
    }
    ini_free(ini);
}
END_TEST

START_TEST(a_value_is_kept_as_it_stands)
{
    static const char text[] = "[a]\na = \"x\" ; y\nb = 'q' \\\nc == = \\\"\nd=\t[x]\n e = !%41\n"
                               "f=#x\ng=  ;x\n";
    struct reported reported;
    struct ini *ini = read_text(text, sizeof text - 1, &reported);
    ck_assert_str_eq(reported.text, "");
    ck_assert_uint_eq(ini->sections[0].n_entries, 7);
    ck_assert_str_eq(ini->sections[0].entries[0].value, " \"x\" ; y");
    ck_assert_str_eq(ini->sections[0].entries[1].value, " 'q' \\");
    ck_assert_str_eq(ini->sections[0].entries[2].value, "= = \\\"");
    ck_assert_str_eq(ini->sections[0].entries[3].value, "\t[x]");
    ck_assert_str_eq(ini->sections[0].entries[4].value, " !%41");
    /* blanks before it report whether a comment begins here */
    ck_assert_str_eq(ini->sections[0].entries[5].value, "#x");
    ck_assert_str_eq(ini->sections[0].entries[6].value, "  ;x");
    ini_free(ini);
}
END_TEST

/* The library's time and its list of errors do not stand this. */
START_TEST(thousands_of_lines_are_read_at_once)
{
    enum { LINES = 20000 };
    struct reported reported;
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    fputs("[a]\n", f);
    for (int i = 0; i < LINES; i++)
        fprintf(f, "key-%d = %d\n", i, i);
    for (int i = 0; i < LINES; i++)
        fprintf(f, "KEY-7 = x\n[section %d]\nk = 1\n", i);
    fclose(f);
    struct ini *ini = read_text(text, n, &reported);
    ck_assert_uint_eq(ini->n_sections, LINES + 1);
    /* the first of the others stands in [a], where it is a duplicate */
    ck_assert_uint_eq(ini->sections[0].n_entries, LINES);
    ck_assert_str_eq(reported.text, "20002: `KEY-7` is set already, on line 9\n");
    for (int i = 0; i < LINES; i++)
        ck_assert_int_eq(ini->sections[0].entries[i].line, i + 2);
    ck_assert_uint_eq(ini->sections[LINES / 2].n_entries, 2);
    ini_free(ini);
    free(text);
}
END_TEST

START_TEST(every_duplicate_is_told)
{
    static const char text[] = "[a]\nk = 1\nk = 2\nK = 3\nk = 4\n[b]\nk = 5\n[a]\n[A]\n";
    struct reported reported;
    struct ini *ini = read_text(text, sizeof text - 1, &reported);
    ck_assert_str_eq(reported.text, "3: `k` is set already, on line 2\n"
                                    "4: `K` is set already, on line 2\n"
                                    "5: `k` is set already, on line 2\n"
                                    "8: [a] is there already, on line 1; join the two\n"
                                    "9: [A] is there already, on line 1; join the two\n");
    ck_assert_uint_eq(ini->sections[0].n_entries, 1);
    ck_assert_str_eq(ini->sections[1].entries[0].value, " 5");
    ini_free(ini);
}
END_TEST

START_TEST(nothing_and_a_byte_order_mark_are_read)
{
    struct reported reported;
    struct ini *ini = read_text("", 0, &reported);
    ck_assert_uint_eq(ini->n_sections, 0);
    ini_free(ini);
    ini = read_text("\xef\xbb\xbf[a]\nk = 1", 12, &reported);
    ck_assert_str_eq(reported.text, "");
    ck_assert_str_eq(ini->sections[0].name, "a");
    ck_assert_str_eq(ini->sections[0].entries[0].value, " 1");
    ini_free(ini);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ini");
    TCase *tc = tcase_create("ini");
    tcase_add_test(tc, sections_and_keys_keep_their_order_and_lines);
    tcase_add_test(tc, every_mistake_of_form_is_told_with_its_line);
    tcase_add_test(tc, junk_is_told_and_not_taken_for_lines);
    tcase_add_test(tc, a_long_line_is_one_line);
    tcase_add_test(tc, a_key_may_hold_any_character_but_the_equal_sign);
    tcase_add_test(tc, a_value_is_kept_as_it_stands);
    tcase_add_test(tc, thousands_of_lines_are_read_at_once);
    tcase_add_test(tc, every_duplicate_is_told);
    tcase_add_test(tc, nothing_and_a_byte_order_mark_are_read);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
