/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: which brokers it trusts, its own certificate, and messages through TLS. */
#include "amqp_rig.h"
#include "conform/publisher_contract.h"
#include "fake_broker.h"
#include "tls_forwarder.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *queue;
static struct fake fake;
static struct forwarder forwarder;

static void set_up(void)
{
    rig_start();
    queue = rig_name("q");
    rig_queue(queue, NULL);
    fake = (struct fake){0};
    forwarder = (struct forwarder){0};
}

static void tear_down(void)
{
    free_made();
    if (forwarder.port)
        forwarder_stop(&forwarder);
    if (fake.port)
        fake_stop(&fake);
    rig_stop();
}

static const char *file(const char *name)
{
    static char paths[8][512];
    static int i;
    i = (i + 1) % 8;
    snprintf(paths[i], sizeof paths[i], "%s/%s", getenv("OUTBOX_TEST_TLS"), name);
    return paths[i];
}

static void configure(struct outbox_cfg *cfg)
{
    struct outbox_err err = {.size = sizeof err};
    options_set(cfg, "url", getenv("OUTBOX_TEST_AMQPS"), &err);
    options_set(cfg, "ca_file", file("ca.pem"), &err);
    options_set(cfg, "mode", "queue", &err);
    options_set(cfg, "queue", queue, &err);
}

static const struct publisher_kind kind = {.plugin = "amqp", .configure = configure};

static const char *url_of(const char *instance, int port)
{
    static char url[128];
    snprintf(url, sizeof url, "amqps://outbox:outbox@%s:%d", instance, port);
    return url;
}

static int broker_port(const char *variable)
{
    return (int)strtol(getenv(variable), NULL, 10);
}

static void assert_refused(struct instance *instance, const char *why)
{
    struct batch *b = a_batch("m", 3, "x");
    publish(instance, b, 10000, -1);
    assert_verdicts(b, OUTBOX_UNAVAILABLE);
    ck_assert_msg(strstr(reason(b, 0), why) != NULL, "%s", reason(b, 0));
    ck_assert_int_eq(rig_depth(queue), 0);
    close_publisher(instance);
}

static void assert_passes(struct instance *instance)
{
    struct batch *b = a_batch("m", 300, "x");
    if (publish(instance, b, 20000, -1) < 0)
        ck_abort_msg("%s", b->err.text);
    assert_verdicts(b, OUTBOX_ACCEPTED);
    ck_assert_int_eq(rig_depth(queue), 300);
    close_publisher(instance);
}

/* ---- trust ---- */

START_TEST(a_certificate_of_the_right_name_and_authority_is_trusted)
{
    assert_passes(a_publisher(NULL));
}
END_TEST

START_TEST(an_address_in_the_certificate_counts_as_well)
{
    assert_passes(
        a_publisher("url", url_of("127.0.0.1", broker_port("OUTBOX_TEST_AMQPS_PORT")), NULL));
}
END_TEST

START_TEST(an_unknown_authority_is_refused)
{
    assert_refused(a_publisher("ca_file", file("other-ca.pem"), NULL),
                   "its certificate is refused: ");
}
END_TEST

START_TEST(the_systems_authorities_do_not_know_ours)
{
    assert_refused(a_publisher("ca_file", "", NULL), "its certificate is refused: ");
}
END_TEST

static const struct {
    const char *certificate, *instance, *why;
} untrusted[] = {
    {"expired", "localhost", "its certificate is refused: certificate has expired"},
    {"wrong-name", "localhost", "its certificate is refused: hostname mismatch"},
    {"wrong-name", "127.0.0.1", "its certificate is refused: IP address mismatch"},
};

START_TEST(an_expired_certificate_or_another_name_is_refused)
{
    struct outbox_call call = {sizeof call, 10000, -1, 200};
    struct outbox_err err = {.size = sizeof err};
    forwarder_start(&forwarder, untrusted[_i].certificate,
                    (uint16_t)broker_port("OUTBOX_TEST_AMQP_PORT"));
    struct instance *instance =
        a_publisher("url", url_of(untrusted[_i].instance, forwarder.port), NULL);
    ck_assert_int_eq(instance->plugin->ops.publisher.check(instance->self, &call, &err),
                     OUTBOX_E_CONFIG);
    assert_refused(instance, untrusted[_i].why);
    ck_assert_int_eq(forwarder.handshakes, 0);
}
END_TEST

START_TEST(without_verification_all_of_that_passes)
{
    forwarder_start(&forwarder, "expired", (uint16_t)broker_port("OUTBOX_TEST_AMQP_PORT"));
    assert_passes(
        a_publisher("url", url_of("localhost", forwarder.port), "tls_verify", "no", NULL));
}
END_TEST

START_TEST(the_client_shows_its_certificate)
{
    struct instance *instance =
        a_publisher("cert_file", file("client.pem"), "key_file", file("client.key"), NULL);
    struct batch *b = a_batch("m", 3, "x");
    ck_assert_int_eq(publish(instance, b, 20000, -1), OUTBOX_OK);
    const char *list = rig_ctl_output("list_connections", "ssl", "peer_cert_subject", NULL);
    ck_assert_msg(strstr(list, "true\tCN=relay"), "%s", list);
    close_publisher(instance);
}
END_TEST

START_TEST(a_port_of_the_other_kind_is_recognised)
{
    char url[128];
    assert_refused(a_publisher("url", url_of("localhost", broker_port("OUTBOX_TEST_AMQP_PORT")),
                               "connect_timeout", "2s", NULL),
                   "TLS: ");
    snprintf(url, sizeof url, "amqp://outbox:outbox@localhost:%d",
             broker_port("OUTBOX_TEST_AMQPS_PORT"));
    assert_refused(a_publisher("url", url, "ca_file", "", NULL), "is it a port for amqps?");
}
END_TEST

/* ---- what passes ---- */

START_TEST(large_messages_pass)
{
    static const size_t sizes[] = {131064, 300000, 15 << 20};
    struct instance *instance = a_publisher(NULL);
    for (size_t i = 0; i < 3; i++) {
        char *payload = mine(malloc(sizes[i] + 1), free);
        struct rig_message got;
        memset(payload, 'x', sizes[i]);
        payload[sizes[i]] = '\0';
        struct batch *b = a_batch("m", 1, payload);
        ck_assert_int_eq(publish(instance, b, 60000, -1), OUTBOX_OK);
        assert_verdicts(b, OUTBOX_ACCEPTED);
        ck_assert(rig_get(queue, &got));
        ck_assert_uint_eq(got.body_n, sizes[i]);
    }
    close_publisher(instance);
}
END_TEST

/* ---- deadlines ---- */

START_TEST(a_handshake_that_does_not_go_on_ends_after_connect_timeout)
{
    fake.silence = FAKE_SILENT_AT_ONCE;
    fake_start(&fake);
    int64_t began = now_ms();
    assert_refused(
        a_publisher("url", url_of("localhost", fake.port), "connect_timeout", "300ms", NULL),
        "no answer within");
    ck_assert_int_lt(now_ms() - began, 300 + LATE_MS); /* not its default, 5 s */
}
END_TEST

START_TEST(a_deaf_peer_behind_tls_does_not_hold_a_call)
{
    fake_start(&fake);
    forwarder_start(&forwarder, "server", fake.port);
    struct instance *instance =
        a_publisher("url", url_of("localhost", forwarder.port), "confirm_timeout", "60s", NULL);
    char *payload = mine(calloc(1, (64 << 20) + 1), free);
    memset(payload, 'x', 64 << 20);
    ck_assert_int_eq(publish(instance, a_batch("m", 3, "x"), 10000, -1), OUTBOX_OK);
    forwarder.deaf = true;
    struct batch *b = a_batch("large", 1, payload);
    int64_t began = now_ms();
    ck_assert_int_lt(publish(instance, b, 1000, -1), 0);
    ck_assert_int_le(now_ms() - began, 1000 + LATE_MS);
    assert_verdicts(b, OUTBOX_UNSET);
    close_publisher(instance);
    ck_assert_int_le(now_ms() - began, 2000 + LATE_MS);
}
END_TEST

/* ---- options ---- */

START_TEST(files_that_do_not_fit_are_found_at_once)
{
    static const struct {
        const char *ca, *cert, *key, *why;
    } mistakes[] = {
        {"nowhere.pem", "client.pem", "client.key", "ca_file: cannot read"},
        {"ca.key", "client.pem", "client.key", "ca_file: not usable"},
        {"ca.pem", "nowhere.pem", "client.key", "cert_file: cannot read"},
        {"ca.pem", "client.key", "client.key", "cert_file: not usable"},
        {"ca.pem", "client.pem", "nowhere.key", "key_file: cannot read"},
        {"ca.pem", "client.pem", "wrong-name.key", "key_file: not usable: key values mismatch"},
        {"ca.pem", "client.pem", "server.key", "is a private key, but others can read it"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        const char *why =
            a_mistake("ca_file", file(mistakes[i].ca), "cert_file", file(mistakes[i].cert),
                      "key_file", file(mistakes[i].key), NULL);
        ck_assert_msg(strstr(why, mistakes[i].why) != NULL, "%s", why);
    }
    const char *why = a_mistake("cert_file", file("client.pem"), NULL);
    ck_assert_msg(strstr(why, "cert_file: needs key_file, too") != NULL, "%s", why);
    why = a_mistake("key_file", file("client.key"), NULL);
    ck_assert_msg(strstr(why, "key_file: needs cert_file, too") != NULL, "%s", why);
    why = a_mistake("url", "amqp://u:p@h", NULL);
    ck_assert_msg(strstr(why, "ca_file: only with a `url` that begins with amqps") != NULL, "%s",
                  why);
}
END_TEST

START_TEST(a_key_with_a_password_is_refused_without_a_prompt)
{
    char path[] = "/tmp/outbox-amqp-key-XXXXXX";
    int fd = mkstemp(path);
    FILE *from = fopen(file("client.key"), "re"), *to = fdopen(fd, "w");
    EVP_PKEY *key = PEM_read_PrivateKey(from, NULL, NULL, NULL);
    ck_assert_int_eq(PEM_write_PrivateKey(to, key, EVP_aes_128_cbc(), NULL, 0, NULL,
                                          (void *)(uintptr_t) "password"),
                     1);
    EVP_PKEY_free(key);
    fclose(from);
    fclose(to);
    const char *why = a_mistake("cert_file", file("client.pem"), "key_file", path, NULL);
    unlink(path);
    ck_assert_msg(strstr(why, "key_file: not usable") != NULL, "%s", why);
    ck_assert_msg(strstr(why, "without a password") != NULL, "%s", why);
}
END_TEST

int main(void)
{
    unit_needs("OUTBOX_TEST_AMQPS");
    signal(SIGPIPE, SIG_IGN); /* the forwarder's */
    rig_lock();
    publisher_use(&kind);
    Suite *suite = suite_create("amqp tls");
    TCase *tc = tcase_create("tls");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, a_certificate_of_the_right_name_and_authority_is_trusted);
    tcase_add_test(tc, an_address_in_the_certificate_counts_as_well);
    tcase_add_test(tc, an_unknown_authority_is_refused);
    tcase_add_test(tc, the_systems_authorities_do_not_know_ours);
    tcase_add_loop_test(tc, an_expired_certificate_or_another_name_is_refused, 0, 3);
    tcase_add_test(tc, without_verification_all_of_that_passes);
    tcase_add_test(tc, the_client_shows_its_certificate);
    tcase_add_test(tc, a_port_of_the_other_kind_is_recognised);
    tcase_add_test(tc, large_messages_pass);
    tcase_add_test(tc, a_handshake_that_does_not_go_on_ends_after_connect_timeout);
    tcase_add_test(tc, a_deaf_peer_behind_tls_does_not_hold_a_call);
    tcase_add_test(tc, files_that_do_not_fit_are_found_at_once);
    tcase_add_test(tc, a_key_with_a_password_is_refused_without_a_prompt);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
