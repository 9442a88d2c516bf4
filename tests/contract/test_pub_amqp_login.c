/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: secrets that change while the relay runs, and a broker without room for one more. */
#include "amqp_rig.h"
#include "conform/publisher_contract.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *queue;
static const char *port; /* of the broker */
static char secret[64];  /* a file */

static void set_up(void)
{
    rig_start();
    queue = rig_name("q");
    port = getenv("OUTBOX_TEST_AMQP_PORT");
    rig_queue(queue, NULL);
    snprintf(secret, sizeof secret, "/tmp/outbox-amqp-secret-%d", getpid());
}

static void tear_down(void)
{
    free_made();
    unlink(secret);
    rig_stop();
}

static void configure(struct outbox_cfg *cfg)
{
    struct outbox_err err = {.size = sizeof err};
    options_set(cfg, "url", getenv("OUTBOX_TEST_AMQP"), &err);
    options_set(cfg, "mode", "queue", &err);
    options_set(cfg, "queue", queue, &err);
}

static const struct publisher_kind kind = {.plugin = "amqp", .configure = configure};

static void write_secret(const char *text)
{
    FILE *f = fopen(secret, "we");
    ck_assert_ptr_nonnull(f);
    fchmod(fileno(f), 0600);
    fprintf(f, "%s\n", text);
    fclose(f);
}

static void read_from_file(struct outbox_cfg *section, const char *option)
{
    struct outbox_err err = {.size = sizeof err};
    if (options_set_from_file(section, option, secret, &err) < 0)
        ck_abort_msg("%s", err.text);
}

static void assert_says(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "`%s` is not in: %s", part, text);
}

static int check(struct instance *instance, struct outbox_err *err)
{
    struct outbox_call call = {sizeof call, 20000, -1, 200};
    *err = (struct outbox_err){.size = sizeof *err};
    return instance->plugin->ops.publisher.check(instance->self, &call, err);
}

/* ---- secrets ---- */

START_TEST(a_password_is_read_for_each_login)
{
    char url[64];
    rig_ctl("add_user", "relay", "first", NULL);
    rig_ctl("set_permissions", "relay", "", ".*", ".*", NULL);
    snprintf(url, sizeof url, "amqp://relay@127.0.0.1:%s", port);
    write_secret("wrong");
    struct outbox_cfg *section = a_section("url", url, NULL);
    read_from_file(section, "password");
    struct instance *instance = another_publisher(section);
    struct batch *b = a_batch("m", 5, "x");
    publish(instance, b, 20000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    assert_says(reason(b, 0), "403 ACCESS_REFUSED");
    /* The host asks again soon, and the broker is not bothered with the same login. */
    ck_assert_uint_eq(b->outcomes[0].after_ms, 1000);
    rig_ctl("change_password", "relay", "wrong", NULL);
    publish(instance, b, 20000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    assert_says(reason(b, 0), "403 ACCESS_REFUSED");
    rig_ctl("change_password", "relay", "second", NULL);
    write_secret("second");
    int r = publish(instance, b, 20000, -1);
    rig_ctl("delete_user", "relay", NULL);
    ck_assert_msg(r == OUTBOX_OK, "%s", b->err.text);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

START_TEST(a_url_is_read_for_each_login)
{
    write_secret("amqp://outbox:outbox@127.0.0.1:1,127.0.0.1:2");
    struct outbox_cfg *section = a_section(NULL);
    read_from_file(section, "url");
    struct instance *instance = another_publisher(section);
    struct batch *b = a_batch("m", 5, "x");
    struct outbox_err err;
    publish(instance, b, 20000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    unlink(secret);
    ck_assert_int_eq(check(instance, &err), OUTBOX_E_CONFIG);
    assert_says(err.text, secret);
    write_secret(getenv("OUTBOX_TEST_AMQP"));
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    close_publisher(instance);
}
END_TEST

/* ---- no room ---- */

/* How the broker is told to take one connection, or one channel, and no more. */
static const struct {
    const char *set[6], *clear[5];
} limits[] = {
    {{"set_vhost_limits", "-p", "relay", "{\"max-connections\": 1}", NULL},
     {"clear_vhost_limits", "-p", "relay", NULL}},
    {{"set_user_limits", "relay", "{\"max-channels\": 1}", NULL},
     {"clear_user_limits", "relay", "all", NULL}},
};

static void ctl(const char *const *words)
{
    rig_ctl(words[0], words[1], words[2], words[3], words[3] ? words[4] : NULL, NULL);
}

static void assert_untouched(const struct batch *b)
{
    for (uint64_t i = 0; i < b->n; i++)
        ck_assert_uint_eq(b->outcomes[i].verdict, OUTBOX_UNSET);
}

START_TEST(an_instance_without_room_says_so_while_others_have_some)
{
    char url[80];
    struct outbox_err err;
    rig_ctl("add_vhost", "relay", NULL);
    rig_ctl("add_user", "relay", "relay", NULL);
    rig_ctl("set_permissions", "-p", "relay", "relay", ".*", ".*", ".*", NULL);
    ctl(limits[_i].set);
    snprintf(url, sizeof url, "amqp://relay:relay@127.0.0.1:%s/relay", port);
    struct outbox_cfg *section = a_section("url", url, "declare", "create", NULL);
    struct instance *first = another_publisher(section), *second = another_publisher(section);
    struct batch *b = a_batch("m", 5, "x");
    int r = publish(first, b, 20000, -1);
    ck_assert_msg(r == OUTBOX_OK, "%s", b->err.text);
    ck_assert_int_eq(publish(second, b, 20000, -1), OUTBOX_E_FULL);
    assert_untouched(b);
    assert_says(b->err.text, "lower `workers`");
    assert_says(b->err.text, "530 NOT_ALLOWED");
    ck_assert_int_eq(check(second, &err), OUTBOX_E_FULL);
    ck_assert_int_eq(publish(first, b, 20000, -1), OUTBOX_OK);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    /* The broker counts a connection that has ended for a while. */
    close_publisher(first);
    for (int64_t until = now_ms() + 20000; publish(second, b, 20000, -1) < 0; poll(NULL, 0, 50))
        ck_assert_msg(now_ms() < until, "%s", b->err.text);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    /* Without anybody who has room the publisher as a whole is unavailable. */
    struct outbox_cfg *other = a_section("url", url, "declare", "create", NULL);
    struct instance *third = another_publisher(other);
    publish(third, b, 20000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    close_publisher(third);
    close_publisher(second);
    ctl(limits[_i].clear);
    rig_ctl("delete_vhost", "relay", NULL);
    rig_ctl("delete_user", "relay", NULL);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_AMQP");
    rig_lock();
    publisher_use(&kind);
    Suite *suite = suite_create("amqp login");
    TCase *tc = tcase_create("login");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_password_is_read_for_each_login);
    tcase_add_test(tc, a_url_is_read_for_each_login);
    tcase_add_loop_test(tc, an_instance_without_room_says_so_while_others_have_some, 0, 2);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
