/* SPDX-License-Identifier: Apache-2.0 */
/* What comes of a configuration that is right, and of junk. */
#include "config_scratch.h"

/* ---- what is right ---- */

START_TEST(what_is_not_set_has_its_default)
{
    struct config *config = taken(PRELUDE);
    struct outbox_cfg *options = config->publishers[0].options;
    ck_assert_uint_gt(strlen(config->name), 0);
    ck_assert_uint_eq(config->workers, 2);
    ck_assert_uint_eq(config->delivery.batch_size, 500);
    ck_assert_int_eq(config->delivery.batch_timeout_ms, 15000);
    ck_assert_uint_eq(config->delivery.max_retries, 5);
    ck_assert_int_eq(config->delivery.retry_min_ms, 1000);
    ck_assert_int_eq(config->delivery.retry_max_ms, 300000);
    ck_assert_uint_eq(config->batch_bytes, 16u << 20);
    ck_assert_uint_eq(config->max_message, 64u << 20);
    ck_assert_int_eq(config->lease_ms, 30000);
    ck_assert_int_eq(config->poll_interval_ms, 1000);
    ck_assert_int_eq(config->retention_ms, 86400000);
    ck_assert(config->retention_failed_ms == OUTBOX_NEVER);
    ck_assert_int_eq(config->shutdown_timeout_ms, 30000);
    ck_assert_int_eq(config->unrouted_fail, 0);
    ck_assert_ptr_null(config->routes.fallback);
    ck_assert_int_eq(config->log_level, OUTBOX_LOG_INFO);
    ck_assert_int_eq(options_int(options, "count"), 3);
    ck_assert_int_eq(options_int(options, "patience"), 2000);
    ck_assert_int_eq(options_int(options, "room"), 65536);
    ck_assert_uint_eq(options_count(options, "names"), 2);
    ck_assert_uint_eq(options_count(options, "words"), 0);
    config_free(config);
}
END_TEST

START_TEST(a_publisher_inherits_what_it_does_not_set)
{
    /* [relay] counts wherever it stands */
    struct config *config = taken(
        "[publisher a]\nplugin = options\nurl = u\npassword_file = @/secret\nmax_retries = 9\n"
        "batch_timeout = 20s\npatience = 18s\n[publisher b]\nplugin = options\nurl = v\n"
        "password_file = @/secret\n[store]\nplugin = sqlite\npath = x.db\n[relay]\nplugin_dir = "
        "@/plugins\nbatch_size = 7\nretry_min = 2s\nordering = none\non_failed = skip\n"
        "retention = 0\nretention_failed = 30d\n");
    ck_assert_uint_eq(config->n_publishers, 2);
    const struct delivery *a = &config->publishers[0].delivery;
    const struct delivery *b = &config->publishers[1].delivery;
    ck_assert_uint_eq(a->batch_size, 7);
    ck_assert_uint_eq(a->max_retries, 9);
    ck_assert_int_eq(a->batch_timeout_ms, 20000);
    ck_assert_int_eq(a->retry_min_ms, 2000);
    ck_assert_uint_eq(b->max_retries, 5);
    ck_assert_int_eq(b->batch_timeout_ms, 15000);
    ck_assert_int_eq(config->retention_ms, 0);
    ck_assert_int_eq(config->retention_failed_ms, INT64_C(30) * 86400000);
    config_free(config);
}
END_TEST

START_TEST(values_are_unquoted_split_and_replaced_in_that_order)
{
    setenv("OUTBOX_UNIT", "two words ; \"q\" # ${HOME}", 1);
    setenv("OUTBOX_COUNT", "7", 1);
    struct config *config =
        taken(PRELUDE "words = /bin/x ${OUTBOX_UNIT} \"a b\" $${X} ; comment\n"
                      "names = a, ${OUTBOX_UNIT} # comment\nflag = On\ncount = ${OUTBOX_COUNT}\n"
                      "[publisher b]\nplugin = options\nurl = \" ${OUTBOX_UNIT} \\\" ; \"\n"
                      "password_file = @/secret\nwords = \"/bin/y a\"\n");
    const struct outbox_cfg *a = config->publishers[0].options;
    const struct outbox_cfg *b = config->publishers[1].options;
    ck_assert_uint_eq(options_count(a, "words"), 4);
    ck_assert_str_eq(options_item(a, "words", 1).p, "two words ; \"q\" # ${HOME}");
    ck_assert_str_eq(options_item(a, "words", 2).p, "a b");
    ck_assert_str_eq(options_item(a, "words", 3).p, "${X}");
    ck_assert_uint_eq(options_count(a, "names"), 2);
    ck_assert_str_eq(options_item(a, "names", 1).p, "two words ; \"q\" # ${HOME}");
    ck_assert_int_eq(options_int(a, "flag"), 1);
    ck_assert_int_eq(options_int(a, "count"), 7);
    ck_assert_str_eq(options_text(b, "url").p, " two words ; \"q\" # ${HOME} \" ; ");
    /* quoted as a whole: the quotes are the file's, and the words are what was inside */
    ck_assert_uint_eq(options_count(b, "words"), 2);
    config_free(config);
}
END_TEST

START_TEST(settings_of_a_group_are_found_by_their_place)
{
    setenv("OUTBOX_UNIT", "y", 1);
    struct config *config =
        taken(PRELUDE "client.b.c = \"x ; z\"\nspare = a\nclient.a = ${OUTBOX_UNIT}\n"
                      "plain.B-1 =\n");
    const struct outbox_cfg *options = config->publishers[0].options;
    ck_assert_uint_eq(options_count(options, "client"), 2);
    ck_assert_str_eq(options_key(options, "client", 0).p, "b.c");
    ck_assert_str_eq(options_item(options, "client", 0).p, "x ; z");
    ck_assert_str_eq(options_key(options, "client", 1).p, "a");
    ck_assert_str_eq(options_item(options, "client", 1).p, "y");
    ck_assert_uint_eq(options_item(options, "client", 1).n, 1);
    ck_assert_ptr_null(options_key(options, "client", 2).p);
    ck_assert_ptr_null(options_item(options, "client", 2).p);
    ck_assert_uint_eq(options_count(options, "plain"), 1);
    ck_assert_str_eq(options_key(options, "plain", 0).p, "B-1");
    ck_assert_str_eq(options_item(options, "plain", 0).p, "");
    ck_assert_str_eq(options_text(options, "spare").p, "a");
    config_free(config);
}
END_TEST

START_TEST(what_the_file_sets_differs_from_a_default)
{
    struct config *config = taken(PRELUDE "count = 3\nclient.a = x\n");
    const struct outbox_cfg *options = config->publishers[0].options;
    static const char *const set[] = {"url", "password", "count", "client"};
    static const char *const other[] = {"mode", "flag", "words", "names", "plain", "nobody's"};
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        ck_assert_int_eq(options_is_set(options, set[i]), 1);
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        ck_assert_int_eq(options_is_set(options, other[i]), 0);
    config_free(config);
}
END_TEST

/* What open says, with the line of what it blames. */
static void open_says(const char *text, const char *expected)
{
    char *filled = fill(expected);
    struct outbox_err err = {.size = sizeof err};
    struct publisher publisher = {0};
    struct config *config = taken(text);
    ck_assert_int_eq(config_open_publisher(&config->publishers[0], &publisher, NULL, &err),
                     OUTBOX_E_CONFIG);
    ck_assert_str_eq(err.text, filled);
    publisher_close(&publisher);
    config_free(config);
    free(filled);
}

START_TEST(what_a_plugin_refuses_is_told_with_its_line)
{
    open_says(PRELUDE "count = 3\nmode = queue\n",
              "@/outboxd.ini:11: publisher a: mode: queue need not be said");
    open_says(PRELUDE "client.a = x\n\nclient.refused = y\n",
              "@/outboxd.ini:12: publisher a: client.refused: not `y`");
    struct config *config = taken(PRELUDE "client.a = x\n\nclient.b = x\n");
    const struct outbox_cfg *options = config->publishers[0].options;
    ck_assert_int_eq(options_line(options, "password"), 9); /* by password_file */
    ck_assert_int_eq(options_line(options, "client"), 10);
    ck_assert_int_eq(options_line(options, "client.b"), 12);
    ck_assert_int_eq(options_line(options, "client.c"), 10);
    ck_assert_int_eq(options_line(options, "mode"), 6); /* a default: the section's */
    ck_assert_int_eq(options_line(options, "nobody's"), 6);
    ck_assert_int_eq(options_line(options, ""), 6);
    config_free(config);
}
END_TEST

START_TEST(routes_are_taken_in_the_order_of_the_file)
{
    struct config *config = taken(
        PRELUDE "[route z]\nheader = destination\nto.Some Name! = a\nto.gr\xc3\xbc\xc3\x9f = a\n"
                "to.some name! = a\nto = a\n[route b]\nplugin = options\ntopic = "
                "x\n[router]\nfallback = a\n"
                "unrouted = fail\n[route a]\ntopic = [\nheader.X-Y = \nkey = \"a ; b\"\n"
                "publisher = a\n[route c]\ntopic = \"\"\nheader.d = a=b\npublisher = a\n");
    const struct route *routes = config->routes.routes;
    ck_assert_uint_eq(config->routes.n_routes, 4);
    ck_assert_str_eq(routes[0].name, "z");
    ck_assert_uint_eq(routes[0].n_targets, 4);
    ck_assert_str_eq(routes[0].targets[0].value, "Some Name!");
    ck_assert_str_eq(routes[0].targets[1].value, "gr\xc3\xbc\xc3\x9f");
    ck_assert_str_eq(routes[0].targets[2].value, "some name!");
    ck_assert_str_eq(routes[0].targets[3].value, "a");
    ck_assert_str_eq(routes[1].name, "b");
    ck_assert_ptr_nonnull(routes[1].rule);
    ck_assert_str_eq(routes[2].name, "a");
    ck_assert_uint_eq(routes[2].n_matches, 3);
    ck_assert_str_eq(routes[2].matches[0].pattern, "[");
    ck_assert_str_eq(routes[2].matches[1].name, "X-Y");
    ck_assert_str_eq(routes[2].matches[2].pattern, "a ; b");
    ck_assert_str_eq(routes[3].matches[0].pattern, "");
    ck_assert_str_eq(routes[3].matches[1].pattern, "a=b");
    ck_assert_str_eq(config->routes.fallback, "a");
    ck_assert_int_eq(config->unrouted_fail, 1);
    config_free(config);
}
END_TEST

/* ---- the hash ---- */

static void hash_of(const char *text, char hash[17])
{
    struct config *config = taken(text);
    snprintf(hash, 17, "%s", config->hash);
    config_free(config);
}

#define ROUTED PRELUDE "[publisher b]\nplugin = options\nurl = u\npassword_file = @/secret\n"

START_TEST(the_hash_tells_where_messages_go_and_nothing_else)
{
    static const char *const different[] = {
        PRELUDE,
        ROUTED,
        ROUTED "[router]\nfallback = a\n",
        ROUTED "[router]\nfallback = b\n",
        ROUTED "[router]\nfallback = a\nunrouted = fail\n",
        ROUTED "[route r]\ntopic = x\npublisher = a\n",
        ROUTED "[route r]\ntopic = x\npublisher = b\n",
        ROUTED "[route r]\nkey = x\npublisher = a\n",
        ROUTED "[route r]\nheader.x = x\npublisher = a\n",
        ROUTED "[route r]\nheader = x\nto.v = a\n",
        ROUTED "[route r]\nheader = x\nto.v = b\n",
        ROUTED "[route r]\nplugin = options\n",
        ROUTED "[route r]\nplugin = options\nmode = pubsub\n",
        ROUTED "[route r]\nplugin = options\nspare = a\n",
        ROUTED "[route r]\nplugin = options\nclient.a = x\n",
        ROUTED "[route r]\nplugin = options\nclient.a = y\n",
        ROUTED "[route r]\nplugin = options\nclient.b = x\n",
        ROUTED "[route r]\nplugin = options\nclient.password = x\n",
        ROUTED "[route r]\ntopic = x\npublisher = a\n[route s]\ntopic = y\npublisher = b\n",
        ROUTED "[route s]\ntopic = y\npublisher = b\n[route r]\ntopic = x\npublisher = a\n",
    };
    enum { N = sizeof different / sizeof different[0], SECRET = 17 };
    char hashes[N][17], other[17];
    for (size_t i = 0; i < N; i++) {
        hash_of(different[i], hashes[i]);
        ck_assert_uint_eq(strlen(hashes[i]), 16);
        for (size_t j = 0; j < i; j++)
            ck_assert_str_ne(hashes[i], hashes[j]);
    }
    hash_of(different[5], other);
    ck_assert_str_eq(other, hashes[5]);
    hash_of(ROUTED "[route r]\nplugin = options\nclient.password = y\n", other);
    ck_assert_str_eq(other, hashes[SECRET]);
    /* neither how fast nor with which right, nor the order of the publishers */
    hash_of("[publisher b]\nplugin = options\nurl = other\npassword = x\n[route other]\n"
            "topic = x ; comment\npublisher = \"a\"\n" PRELUDE "batch_size = 3\n",
            other);
    ck_assert_str_eq(other, hashes[5]);
}
END_TEST

/* ---- junk ---- */

static void ignore(void *ctx, const char *file, int line, const char *text)
{
    size_t *n = ctx;
    (void)file;
    ck_assert_int_ge(line, 0);
    *n += strlen(text) > 0;
}

/* Cuts, doubles and changes bytes of a good file; always the same ones. */
START_TEST(no_bytes_harm_the_reader)
{
    static const char alphabet[] = "[]=;#\"\\$${}\n\r\t \0\xff\xc3!%,.ax0";
    char *good = fill(ROUTED "[route r]\nheader = x\nto.v = a\n[route s]\nplugin = options\n"
                             "[router]\nfallback = b\n[log]\nlevel = info\n");
    size_t n = strlen(good), loaded = 0, refusals = 0;
    unsigned random = 1;
    for (int round = 0; round < 1500; round++) {
        char *text = malloc(n);
        memcpy(text, good, n);
        for (int change = round % 5; change >= 0; change--) {
            random = random * 1103515245u + 12345u;
            text[(random >> 8) % n] = alphabet[(random >> 3) % (sizeof alphabet - 1)];
        }
        struct config *config = NULL;
        size_t mistakes_told = 0;
        const char *path = write_bytes("outboxd.ini", text, round % 7 ? n : random % n, 0600);
        int r = load_config(path, ignore, &mistakes_told, &config);
        ck_assert((r == 0) == (mistakes_told == 0));
        ck_assert((r == 0) == (config != NULL));
        loaded += r == 0;
        refusals += r != 0;
        config_free(config);
        free(text);
    }
    ck_assert_uint_gt(loaded, 0);
    ck_assert_uint_gt(refusals, 0);
    free(good);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_values");
    TCase *tc = tcase_create("config_values");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, what_is_not_set_has_its_default);
    tcase_add_test(tc, a_publisher_inherits_what_it_does_not_set);
    tcase_add_test(tc, values_are_unquoted_split_and_replaced_in_that_order);
    tcase_add_test(tc, settings_of_a_group_are_found_by_their_place);
    tcase_add_test(tc, what_the_file_sets_differs_from_a_default);
    tcase_add_test(tc, what_a_plugin_refuses_is_told_with_its_line);
    tcase_add_test(tc, routes_are_taken_in_the_order_of_the_file);
    tcase_add_test(tc, the_hash_tells_where_messages_go_and_nothing_else);
    tcase_add_test(tc, no_bytes_harm_the_reader);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
