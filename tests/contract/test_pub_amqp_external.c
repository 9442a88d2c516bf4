/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: logins by the relay's certificate, with a RabbitMQ that takes them and one that does
 * not. */
#include "amqp_rig.h"
#include "conform/publisher_contract.h"
#include "fake_broker.h"
#include "tls_forwarder.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The common name of the client's certificate. */
#define USER "relay"

static const char *queue;
static char link_path[64];

static const char *file(const char *name)
{
    static char paths[8][512];
    static int i;
    i = (i + 1) % 8;
    snprintf(paths[i], sizeof paths[i], "%s/%s", getenv("OUTBOX_TEST_TLS"), name);
    return paths[i];
}

static const char *url(void)
{
    static char text[64];
    snprintf(text, sizeof text, "amqps://localhost:%s", getenv("OUTBOX_TEST_AMQPS_PORT"));
    return text;
}

static void set_up(void)
{
    rig_start();
    queue = rig_name("q");
    rig_queue(queue, NULL);
    snprintf(link_path, sizeof link_path, "/tmp/outbox-amqp-external-%d", getpid());
}

static void tear_down(void)
{
    free_made();
    unlink(link_path);
    rig_stop();
}

static void configure(struct outbox_cfg *cfg)
{
    struct outbox_err err = {.size = sizeof err};
    options_set(cfg, "url", url(), &err);
    options_set(cfg, "auth", "external", &err);
    options_set(cfg, "ca_file", file("ca.pem"), &err);
    options_set(cfg, "cert_file", file("client.pem"), &err);
    options_set(cfg, "key_file", file("client.key"), &err);
    options_set(cfg, "mode", "queue", &err);
    options_set(cfg, "queue", queue, &err);
}

static const struct publisher_kind kind = {.plugin = "amqp", .configure = configure};

static void assert_says(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "`%s` is not in: %s", part, text);
}

static void assert_refused(struct instance *instance, const char *why)
{
    struct batch *b = a_batch("m", 3, "x");
    publish(instance, b, 20000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    assert_says(reason(b, 0), why);
    ck_assert_uint_eq(b->outcomes[0].after_ms, 1000);
}

static void assert_passes(struct instance *instance)
{
    struct batch *b = a_batch("m", 30, "x");
    if (publish(instance, b, 20000, -1) < 0)
        ck_abort_msg("%s", b->err.text);
    assert_verdicts(b, OUTBOX_ACCEPTED);
}

static void add_user(void)
{
    /* Without its own password: only a certificate gets in. */
    rig_ctl("add_user", USER, "unused", NULL);
    rig_ctl("clear_password", USER, NULL);
    rig_ctl("set_permissions", USER, "", "^amq.default$", ".*", NULL);
}

START_TEST(the_certificate_names_the_user)
{
    add_user();
    struct instance *instance = a_publisher(NULL);
    assert_passes(instance);
    const char *list = rig_ctl_output("list_connections", "user", "auth_mechanism", NULL);
    close_publisher(instance);
    rig_ctl("delete_user", USER, NULL);
    assert_says(list, USER "\tEXTERNAL");
}
END_TEST

START_TEST(a_certificate_that_names_no_user_is_refused)
{
    struct outbox_call call = {sizeof call, 20000, -1, 200};
    struct outbox_err err = {.size = sizeof err};
    struct instance *instance = a_publisher(NULL);
    assert_refused(
        instance, "it refuses the login by the certificate of `relay` to the virtual host `/`: 403 "
                  "ACCESS_REFUSED");
    ck_assert_int_eq(instance->plugin->ops.publisher.check(instance->self, &call, &err),
                     OUTBOX_E_CONFIG);
    assert_says(err.text, "one of its users must have the name that the certificate has");
    close_publisher(instance);
}
END_TEST

static void link_to(const char *name)
{
    unlink(link_path);
    ck_assert_int_eq(symlink(file(name), link_path), 0);
}

/* Not repeated while nothing has changed, and at once when the file is another one. */
START_TEST(another_certificate_is_tried_at_once)
{
    char key[80];
    snprintf(key, sizeof key, "%s.key", link_path);
    ck_assert_int_eq(symlink(file("wrong-name.key"), key), 0);
    link_to("wrong-name.pem");
    add_user();
    struct instance *instance = a_publisher("cert_file", link_path, "key_file", key, NULL);
    assert_refused(instance, "403 ACCESS_REFUSED");
    link_to("client.pem");
    unlink(key);
    ck_assert_int_eq(symlink(file("client.key"), key), 0);
    assert_passes(instance);
    close_publisher(instance);
    unlink(key);
    rig_ctl("delete_user", USER, NULL);
}
END_TEST

START_TEST(a_broker_without_the_mechanism_is_recognised)
{
    char address[64];
    struct fake fake = {0};
    struct forwarder forwarder = {0};
    fake_start(&fake);
    forwarder_start(&forwarder, "server", fake.port);
    snprintf(address, sizeof address, "amqps://localhost:%d", forwarder.port);
    struct instance *instance = a_publisher("url", address, NULL);
    assert_refused(instance, "it does not offer the login mechanism EXTERNAL");
    close_publisher(instance);
    forwarder_stop(&forwarder);
    fake_stop(&fake);
}
END_TEST

static const struct {
    const char *options[4];
    const char *why;
} mistakes[] = {
    {{"url", "amqp://localhost"}, "auth: external is only for a `url` that begins with amqps://"},
    {{"cert_file", ""}, "auth: external needs cert_file"},
    {{"key_file", ""}, "auth: external needs key_file"},
    {{"password", "p"}, "password: not with auth = external"},
    {{"url", "amqps://u@localhost"}, "url: it names a user; with auth = external"},
    {{"url", "amqps://u:p@localhost"}, "url: it names a user; with auth = external"},
};

START_TEST(what_does_not_go_with_it_is_refused)
{
    const char *const *o = mistakes[_i].options;
    assert_says(a_mistake(o[0], o[1], o[2], o[3], NULL), mistakes[_i].why);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_AMQPS");
    signal(SIGPIPE, SIG_IGN); /* the forwarder's */
    rig_lock();
    publisher_use(&kind);
    Suite *suite = suite_create("amqp external");
    TCase *tc = tcase_create("external");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, the_certificate_names_the_user);
    tcase_add_test(tc, a_certificate_that_names_no_user_is_refused);
    tcase_add_test(tc, another_certificate_is_tried_at_once);
    tcase_add_test(tc, a_broker_without_the_mechanism_is_recognised);
    tcase_add_loop_test(tc, what_does_not_go_with_it_is_refused, 0,
                        sizeof mistakes / sizeof mistakes[0]);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
