/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp's url: what it means, and mistakes that show nothing of a password. */
#include "connection/url.h"
#include "unit.h"

#include <string.h>

static struct url parsed(const char *text)
{
    struct outbox_err err = {.size = sizeof err};
    struct url url;
    if (url_parse(text, &url, &err) < 0)
        ck_abort_msg("%s: %s", text, err.text);
    return url;
}

START_TEST(what_is_left_out_takes_its_default)
{
    struct url url = parsed("amqp://localhost");
    ck_assert(!url.tls);
    ck_assert(!url.parts.has_user);
    ck_assert(!url.parts.has_password);
    ck_assert_str_eq(url.vhost, "/");
    ck_assert_uint_eq(url.parts.n_hosts, 1);
    ck_assert_str_eq(url.parts.hosts[0].name, "localhost");
    ck_assert_uint_eq(url.parts.hosts[0].port, 5672);
    url_clear(&url);
    url = parsed("AMQPS://relay@mq.example/shop");
    ck_assert(url.tls);
    ck_assert_str_eq(url.parts.user, "relay");
    ck_assert(!url.parts.has_password);
    ck_assert_str_eq(url.vhost, "shop");
    ck_assert_uint_eq(url.parts.hosts[0].port, 5671);
    url_clear(&url);
}
END_TEST

static const struct {
    const char *url, *vhost;
} vhosts[] = {
    {"amqp://h", "/"},         {"amqp://h/", "/"},        {"amqp://h/%2F", "/"},
    {"amqp://h/%2f", "/"},     {"amqp://h/shop", "shop"}, {"amqp://h/a%2Fb%20c", "a/b c"},
    {"amqp://h/a%25b", "a%b"}, {"amqp://h:1/a:b", "a:b"}, {"amqp://h/caf%C3%A9", "caf\xc3\xa9"},
};

START_TEST(virtual_hosts)
{
    struct url url = parsed(vhosts[_i].url);
    ck_assert_str_eq(url.vhost, vhosts[_i].vhost);
    url_clear(&url);
}
END_TEST

START_TEST(percent_signs_are_decoded_in_user_and_password)
{
    struct url url = parsed("amqp://us%40er:p%3A%2f%40%23%25w:d@h");
    ck_assert_str_eq(url.parts.user, "us@er");
    ck_assert_str_eq(url.parts.password, "p:/@#%w:d");
    url_clear(&url);
    url = parsed("amqp://user:@h");
    ck_assert_str_eq(url.parts.password, "");
    url_clear(&url);
}
END_TEST

START_TEST(several_hosts)
{
    struct url url = parsed("amqp://u:p@a:1,b.example.com,[::1]:65535,[fe80::1],192.0.2.7:5673/v");
    ck_assert_uint_eq(url.parts.n_hosts, 5);
    ck_assert_str_eq(url.parts.hosts[0].name, "a");
    ck_assert_uint_eq(url.parts.hosts[0].port, 1);
    ck_assert_str_eq(url.parts.hosts[1].name, "b.example.com");
    ck_assert_uint_eq(url.parts.hosts[1].port, 5672);
    ck_assert_str_eq(url.parts.hosts[2].name, "::1");
    ck_assert_uint_eq(url.parts.hosts[2].port, 65535);
    ck_assert_str_eq(url.parts.hosts[3].name, "fe80::1");
    ck_assert_str_eq(url.parts.hosts[3].peer, "[fe80::1]:5672");
    ck_assert_uint_eq(url.parts.hosts[3].port, 5672);
    ck_assert_str_eq(url.parts.hosts[4].name, "192.0.2.7");
    ck_assert_str_eq(url.parts.hosts[4].peer, "192.0.2.7:5673");
    ck_assert_str_eq(url.vhost, "v");
    url_clear(&url);
}
END_TEST

/* Whatever could be a part of a password here is SECRET. */
static const struct {
    const char *url, *why;
} mistakes[] = {
    {"", "must begin with amqp://"},
    {"mq.example", "must begin with amqp://"},
    {"http://h", "must begin with amqp://"},
    {"amqp:/h", "must begin with amqp://"},
    {"amqp://", "host 1 has no name"},
    {"amqp:///v", "host 1 has no name"},
    {"amqp://u:SECRET@", "host 1 has no name"},
    {"amqp://a,,b", "host 2 has no name"},
    {"amqp://a,", "host 2 has no name"},
    {"amqp://h:", "port that is not one of 1 to 65535"},
    {"amqp://h:0", "port that is not one of 1 to 65535"},
    {"amqp://h:65536", "port that is not one of 1 to 65535"},
    {"amqp://h:99999999999999999999", "port that is not one of 1 to 65535"},
    {"amqp://h:-1", "port that is not a number"},
    {"amqp://h:SECRET", "port that is not a number"},
    {"amqp://a:1,b:x1", "host 2 has a port that is not a number"},
    {"amqp://::1", "host 1 has no name"},
    {"amqp://fe80::1:5672", "an IPv6 address stands in brackets"},
    {"amqp://[::1", "no IPv6 address in brackets"},
    {"amqp://[h]", "no IPv6 address in brackets"},
    {"amqp://[]", "no IPv6 address in brackets"},
    {"amqp://[::1]5672", "something else than a port"},
    {"amqp://h h", "neither a name nor an address"},
    {"amqp://h%41", "neither a name nor an address"},
    {"amqp://u:SE@CRET@h", "more than one `@`"},
    {"amqp://u:SE/CRET@h", "write %2F for a `/` inside a password"},
    {"amqp://u:SE?CRET@h", "write %3F"},
    {"amqp://u:SE#CRET@h", "write %3F or %23"},
    {"amqp://h/v?heartbeat=10", "options belong into the section"},
    {"amqp://u:SECRET%@h", "its password has a `%` that no two"},
    {"amqp://u:SECRET%4@h", "its password has a `%` that no two"},
    {"amqp://u:SECRET%zz@h", "its password has a `%` that no two"},
    {"amqp://u:SECRET%00@h", "its password holds a NUL"},
    {"amqp://u%0a:SECRET@h", "its user holds a NUL"},
    {"amqp://u:SECRET%ff@h", "its password is not valid UTF-8"},
    {"amqp://:SECRET@h", "no user before the `@`"},
    {"amqp://@h", "no user before the `@`"},
    {"amqp://h/a/b", "write %2F"},
    {"amqp://h/a%", "its virtual host has a `%`"},
};

START_TEST(mistakes_are_reported_without_secrets)
{
    struct outbox_err err = {.size = sizeof err};
    struct url url;
    ck_assert_int_eq(url_parse(mistakes[_i].url, &url, &err), OUTBOX_E_CONFIG);
    ck_assert_msg(strstr(err.text, mistakes[_i].why), "%s: %s", mistakes[_i].url, err.text);
    ck_assert_int_eq(strncmp(err.text, "url: ", 5), 0);
    ck_assert_ptr_null(strstr(err.text, "SE"));
    ck_assert_uint_eq(url.parts.n_hosts, 0);
}
END_TEST

START_TEST(too_much_is_refused)
{
    struct outbox_err err = {.size = sizeof err};
    struct url url;
    char text[2000] = "amqp://h";
    for (int i = 0; i < 40; i++)
        strncat(text, ",h", sizeof text - strlen(text) - 1);
    ck_assert_int_eq(url_parse(text, &url, &err), OUTBOX_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "more than 32 hosts"));
    memset(text, 'x', 1000);
    memcpy(text, "amqp://h/", 9);
    text[1000] = '\0';
    ck_assert_int_eq(url_parse(text, &url, &err), OUTBOX_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "virtual host is longer than 255 bytes"));
    memcpy(text, "amqp://xx", 9);
    ck_assert_int_eq(url_parse(text, &url, &err), OUTBOX_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.text, "neither a name nor an address"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("amqp url");
    TCase *tc = tcase_create("amqp url");
    tcase_add_test(tc, what_is_left_out_takes_its_default);
    tcase_add_loop_test(tc, virtual_hosts, 0, sizeof vhosts / sizeof vhosts[0]);
    tcase_add_test(tc, percent_signs_are_decoded_in_user_and_password);
    tcase_add_test(tc, several_hosts);
    tcase_add_loop_test(tc, mistakes_are_reported_without_secrets, 0,
                        sizeof mistakes / sizeof mistakes[0]);
    tcase_add_test(tc, too_much_is_refused);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
