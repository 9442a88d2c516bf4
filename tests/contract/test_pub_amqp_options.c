/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: a section that cannot work is refused when it is read, with the name of the option.
 */
#include "conform/publisher_contract.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void configure(struct outbox_cfg *cfg)
{
    struct outbox_err err = {.size = sizeof err};
    options_set(cfg, "url", "amqp://localhost", &err);
}

static const struct publisher_kind kind = {.plugin = "amqp", .configure = configure};

static void tear_down(void)
{
    free_made();
}

/* Pairs of options, and the error. */
static const struct {
    const char *options[8];
    const char *why;
} mistakes[] = {
    {{NULL}, "exchange: mode = pubsub needs its name"},
    {{"exchange", ""}, "exchange: mode = pubsub needs its name"},
    {{"mode", "queue"}, "queue: mode = queue needs its name"},
    {{"mode", "queue", "queue", "q", "exchange", "x"}, "exchange: only with mode = pubsub"},
    {{"mode", "queue", "queue", "q", "routing_key", "x"}, "routing_key: only with mode = pubsub"},
    {{"mode", "queue", "queue", "q", "allow_exchanges", "x"},
     "allow_exchanges: only with mode = pubsub"},
    {{"exchange", "x", "queue", "q"}, "queue: only with mode = queue"},
    {{"exchange", "x", "allow_queues", "q"}, "allow_queues: only with mode = queue"},
    {{"exchange", "{tpoic}"}, "exchange: {tpoic} is unknown; there are {topic}"},
    {{"exchange", "x", "routing_key", "{key"}, "routing_key: a `{` without its `}`"},
    {{"exchange", "{topic}"}, "allow_exchanges: `exchange` takes something from the message"},
    {{"exchange", "x", "allow_exchanges", "x"},
     "allow_exchanges: only for an option `exchange` that takes something from the message"},
    {{"mode", "queue", "queue", "{key}"}, "allow_queues: `queue` takes something"},
    {{"exchange", "{topic}", "allow_exchanges", "x", "declare", "create"},
     "declare: not with an option `exchange` that takes something from the message"},
    {{"exchange", "x", "exchange_type", ""}, "exchange_type: it is empty"},
    {{"exchange", "x", "url", "amqp://relay@h"}, "password: `url` names a user, but there is no"},
    {{"exchange", "x", "url", "amqp://h:99999"}, "url: host 1 has a port that is not one of"},
    {{"exchange", "x", "json_headers", "a"}, "json_headers: only with header_types = json"},
    {{"mode", "queue", "queue", "q", "allow_routing_keys", "x"},
     "allow_routing_keys: only with mode = pubsub"},
    {{"exchange", "x", "properties.priority", "high"},
     "properties.priority: it is no number, 0 to 255"},
    {{"exchange", "x", "properties.prio", "{key}"}, "properties.prio: AMQP has no property `prio`"},
    {{"mode", "queue", "queue", "q", "stream_max_age", "1d"},
     "stream_max_age: only with mode = queue, declare = create and queue_type = stream"},
    {{"exchange", "x", "declare", "create", "stream_max_bytes", "1G"},
     "stream_max_bytes: only with mode = queue"},
    {{"exchange", "x", "cert_file", "/x"}, "cert_file: only with a `url` that begins with amqps"},
};

START_TEST(mistakes_name_their_option)
{
    const char *const *o = mistakes[_i].options;
    const char *why = a_mistake(o[0], o[1], o[2], o[3], o[4], o[5], o[6], NULL);
    ck_assert_msg(strstr(why, mistakes[_i].why) != NULL, "%s", why);
}
END_TEST

START_TEST(a_pipe_is_no_certificate)
{
    char path[64], want[128];
    snprintf(path, sizeof path, "/tmp/outbox-amqp-pipe-%d", getpid());
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    const char *why =
        a_mistake("exchange", "x", "url", "amqps://u:p@h", _i ? "cert_file" : "ca_file", path,
                  _i ? "key_file" : NULL, path, NULL);
    unlink(path);
    snprintf(want, sizeof want, "%s is not a regular file", path);
    ck_assert_msg(strstr(why, want) != NULL, "%s", why);
}
END_TEST

START_TEST(the_least_that_works_opens_without_a_broker)
{
    close_publisher(a_publisher("exchange", "x", NULL));
    close_publisher(a_publisher("mode", "queue", "queue", "q", NULL));
    close_publisher(
        a_publisher("mode", "queue", "queue", "q", "allow_queues", "copy-*", NULL)); /* CC */
    close_publisher(a_publisher("exchange", "{header.tenant}", "allow_exchanges", "t-*", NULL));
    close_publisher(a_publisher("exchange", "x", "window", "65535", "heartbeat", "0", NULL));
    close_publisher(
        a_publisher("exchange", "x", "url", "amqp://u@a,b:1,[::1]/v", "password", "p", NULL));
}
END_TEST

int main(void)
{
    publisher_use(&kind);
    Suite *suite = suite_create("amqp options");
    TCase *tc = tcase_create("options");
    tcase_add_checked_fixture(tc, NULL, tear_down);
    tcase_add_loop_test(tc, mistakes_name_their_option, 0, sizeof mistakes / sizeof mistakes[0]);
    tcase_add_loop_test(tc, a_pipe_is_no_certificate, 0, 2);
    tcase_add_test(tc, the_least_that_works_opens_without_a_broker);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
