/* SPDX-License-Identifier: Apache-2.0 */
/* What pub-http decides by itself: what is JSON, which addresses are private, what is signed. */
#include "http.h"
#include "unit.h"

#include <netinet/in.h>

static struct outbox_str str(const char *s)
{
    return outbox_cstr(s);
}

START_TEST(json_is_what_the_rfc_says)
{
    static const char *const good[] = {"0",
                                       "-0.5e+7",
                                       "1E9",
                                       "\"\"",
                                       "\"\\u00e9\\n\"",
                                       "[]",
                                       " [ 1 , [ ] ] ",
                                       "{}",
                                       "{\"a\":{}}",
                                       "null",
                                       "[{\"a\":[]}]",
                                       "\"\xC3\xA9\"",
                                       "true",
                                       "\t{ \"a\" : 1 }\n",
                                       "\"\x7F\"",
                                       "[1,\"]\",{}]",
                                       "1234567890123456789012345678901234567890"};
    static const char *const bad[] = {"",
                                      " ",
                                      "01",
                                      "+1",
                                      ".5",
                                      "1.",
                                      "1e",
                                      "NaN",
                                      "nul",
                                      "True",
                                      "'a'",
                                      "\"",
                                      "\"\n\"",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "[",
                                      "[1,]",
                                      "[,1]",
                                      "{\"a\"}",
                                      "{a:1}",
                                      "{\"a\":1,}",
                                      "[1 2]",
                                      "1 2",
                                      "[}",
                                      "{]",
                                      "[1]]",
                                      "/**/1",
                                      "\"\xC0\xAF\"",
                                      "\"\xED\xA0\x80\"",
                                      "\"\xFF\"",
                                      "-",
                                      "{,}"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(json_is_valid(str(good[i])), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!json_is_valid(str(bad[i])), "%s", bad[i]);
    ck_assert(!json_is_valid((struct outbox_str){"1\0", 2}));
    ck_assert(!json_is_valid((struct outbox_str){NULL, 0}));
}
END_TEST

START_TEST(json_has_a_depth)
{
    char deep[2000];
    memset(deep, '[', 500);
    memset(deep + 500, ']', 500);
    ck_assert(json_is_valid((struct outbox_str){deep, 1000}));
    memset(deep, '[', 1000);
    memset(deep + 1000, ']', 1000);
    ck_assert(!json_is_valid((struct outbox_str){deep, 2000}));
}
END_TEST

START_TEST(a_string_of_json_is_escaped)
{
    struct text t = {0};
    json_add_string(&t, str("a\"\\\x01\n\xC3\xA9"));
    ck_assert_str_eq(text_end(&t), "\"a\\\"\\\\\\u0001\\u000a\xC3\xA9\"");
    text_free(&t);
}
END_TEST

START_TEST(private_addresses_are_known)
{
    static const char *const yes[] = {"127.0.0.1",
                                      "127.255.255.254",
                                      "0.0.0.0",
                                      "10.1.2.3",
                                      "172.16.0.1",
                                      "172.31.255.255",
                                      "192.168.1.1",
                                      "169.254.169.254",
                                      "100.64.0.1",
                                      "100.100.100.200",
                                      "224.0.0.1",
                                      "255.255.255.255",
                                      "192.0.0.192",
                                      "198.19.0.1",
                                      "127.1",
                                      "0x7f000001",
                                      "2130706433",
                                      "017700000001",
                                      "::",
                                      "::1",
                                      "fe80::1",
                                      "fc00::1",
                                      "fd00:ec2::254",
                                      "ff02::1",
                                      "::ffff:10.0.0.1",
                                      "::ffff:7f00:1",
                                      "64:ff9b::127.0.0.1",
                                      "2002:7f00:1::",
                                      "2001::1",
                                      "2001:db8::1",
                                      "::127.0.0.1",
                                      "fec0::1"};
    static const char *const no[] = {"8.8.8.8",          "172.32.0.1",
                                     "172.15.0.1",       "100.128.0.1",
                                     "11.0.0.1",         "169.253.0.1",
                                     "193.0.0.1",        "2606:4700::1111",
                                     "2a00::1",          "::ffff:8.8.8.8",
                                     "64:ff9b::8.8.8.8", "example.com",
                                     "10.example.com",   ""};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        ck_assert_msg(address_text_is_private(yes[i]), "%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        ck_assert_msg(!address_text_is_private(no[i]), "%s", no[i]);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808)};
    ck_assert(!address_is_private((struct sockaddr *)&v4));
    v4.sin_family = AF_UNIX;
    ck_assert(address_is_private((struct sockaddr *)&v4));
}
END_TEST

/* The example of the specification. */
START_TEST(a_signature_is_that_of_the_specification)
{
    struct outbox_err err = {.size = sizeof err};
    struct text body = {0}, got = {0};
    text_adds(&body, "{\"event_type\":\"ping\",\"data\":{\"success\":true}}");
    ck_assert_int_eq(signature_add("whsec_plJ3nmyCDGBKInavdOK15jsl", "msg_loFOjxBNrRLzqYUf",
                                   "1731705121", &body, &got, &err),
                     OUTBOX_OK);
    ck_assert_str_eq(text_end(&got), "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
    text_free(&body);
    text_free(&got);
}
END_TEST

START_TEST(a_secret_has_16_to_64_bytes)
{
    struct outbox_err err = {.size = sizeof err};
    ck_assert_int_eq(
        signature_check(
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSwAA==", &err),
        OUTBOX_OK);
    ck_assert_int_lt(signature_check("whsec_MfKQ9r8GKYqrTwjUPD8L", &err), 0);
    ck_assert_int_lt(signature_check("whsec_!!!!9r8GKYqrTwjUPD8ILPZIo2LaLwSw", &err), 0);
    ck_assert_int_lt(signature_check(" ", &err), 0);
    char largest[95];
    memset(largest, 'A', sizeof largest);
    largest[86] = '\0'; /* 64 bytes */
    ck_assert_int_eq(signature_check(largest, &err), OUTBOX_OK);
    largest[86] = 'A';
    largest[87] = '\0'; /* 65 */
    ck_assert_int_lt(signature_check(largest, &err), 0);
}
END_TEST

START_TEST(what_stands_in_an_url_is_encoded)
{
    struct text t = {0};
    text_add_encoded(&t, "a/ ?&\xC3\xA9~.-_%", 12);
    ck_assert_str_eq(text_end(&t), "a%2F%20%3F%26%C3%A9~.-_%25");
    text_free(&t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pub-http");
    TCase *tc = tcase_create("parts");
    tcase_add_test(tc, json_is_what_the_rfc_says);
    tcase_add_test(tc, json_has_a_depth);
    tcase_add_test(tc, a_string_of_json_is_escaped);
    tcase_add_test(tc, private_addresses_are_known);
    tcase_add_test(tc, a_signature_is_that_of_the_specification);
    tcase_add_test(tc, a_secret_has_16_to_64_bytes);
    tcase_add_test(tc, what_stands_in_an_url_is_encoded);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
