/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile bytes become clean text. */
#include "common/utf8.h"
#include "unit.h"

#include <string.h>

START_TEST(clean_text_is_told_from_junk)
{
    ck_assert(utf8_is_clean("gr\xc3\xbc\xc3\x9f", 6));
    ck_assert(!utf8_is_clean("a\0b", 3));
    ck_assert(!utf8_is_clean("\xff", 1));
    ck_assert(!utf8_is_clean("\xc0\x80", 2));         /* overlong NUL */
    ck_assert(!utf8_is_clean("\xed\xa0\x80", 3));     /* a surrogate */
    ck_assert(!utf8_is_clean("\xf4\x90\x80\x80", 4)); /* beyond U+10FFFF */
    ck_assert(!utf8_is_clean("\xe2\x82", 2));         /* cut short */
}
END_TEST

START_TEST(cleaning_replaces_and_cuts_at_a_character)
{
    char out[8];
    ck_assert_uint_eq(utf8_clean("a\xff"
                                 "b",
                                 3, out, sizeof out),
                      5);
    ck_assert_str_eq(out, "a\xef\xbf\xbd"
                          "b");
    ck_assert_uint_eq(utf8_clean("12345\xc3\xbc\xc3\xbc", 9, out, sizeof out), 7);
    ck_assert_str_eq(out, "12345\xc3\xbc");
    ck_assert_uint_eq(utf8_clean("", 0, out, sizeof out), 0);
    ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(a_terminal_is_not_driven_by_a_message)
{
    char out[64];
    utf8_printable("a\x1b[2Jb\n\tc", 9, out, sizeof out);
    ck_assert_ptr_null(strchr(out, '\x1b'));
    ck_assert_ptr_null(strchr(out, '\n'));
    ck_assert_ptr_nonnull(strstr(out, "\\x1B"));
    utf8_printable("\xc2\x9b|\x7f|\xe2\x80\xae|\xe2\x80\xa8|\xe2\x81\xa6|\xd8\x9c", 19, out,
                   sizeof out);
    ck_assert_str_eq(out, "\\x9B|\\x7F|\\u202E|\\u2028|\\u2066|\\u061C");
    utf8_printable("\xc2\xa0\xe2\x80\x93\xf0\x9f\x93\xa6", 9, out, sizeof out);
    ck_assert_str_eq(out, "\xc2\xa0\xe2\x80\x93\xf0\x9f\x93\xa6");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    TCase *tc = tcase_create("text");
    tcase_add_test(tc, clean_text_is_told_from_junk);
    tcase_add_test(tc, cleaning_replaces_and_cuts_at_a_character);
    tcase_add_test(tc, a_terminal_is_not_driven_by_a_message);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
