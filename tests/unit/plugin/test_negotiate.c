/* SPDX-License-Identifier: Apache-2.0 */
/* Which descriptors the host accepts, and what it says of the others. */
#include "plugin/delivery.h"
#include "plugin/descriptor.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <string.h>

static int open_rule(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    (void)host;
    (void)cfg;
    (void)ret;
    (void)err;
    return OUTBOX_OK;
}

static void close_rule(void *instance)
{
    (void)instance;
}

static int route(void *instance, const struct outbox_message *msg, struct outbox_decision *ret,
                 struct outbox_err *err)
{
    (void)instance;
    (void)msg;
    (void)ret;
    (void)err;
    return OUTBOX_OK;
}

static const struct outbox_rule_ops ops = {
    .size = sizeof ops, .open = open_rule, .close = close_rule, .route = route};

/* A rule with these options; "" when the host accepts it. */
static const char *answer(const struct outbox_option *options, uint64_t n)
{
    static struct outbox_err err;
    struct plugin plugin;
    const struct outbox_plugin desc = {
        OUTBOX_PLUGIN_INIT(OUTBOX_KIND_RULE, 0), "r", "1", "A rule.", NULL, &ops, options, n, NULL, NULL, NULL};
    err = (struct outbox_err){.size = sizeof err};
    int r = descriptor_negotiate(&desc, OUTBOX_KIND_RULE, "r", &plugin, &err);
    ck_assert_int_eq(r, err.text[0] ? OUTBOX_E_CONFIG : OUTBOX_OK);
    return err.text;
}

static const char *const choices[] = {"one", "two", NULL};
static const char *const none[] = {NULL};

static const struct {
    struct outbox_option option;
    const char *text;
} options[] = {
    {{"a", "5", "H.", NULL, 1, 9, OUTBOX_OPT_INT, 0}, ""},
    {{"a", "two", "H.", choices, 0, 0, OUTBOX_OPT_CHOICE, 0}, ""},
    {{"a", NULL, "H.", NULL, 0, 0, 99, 0},
     "declares the option `a`, which has a type that this host does not know"},
    {{"a", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_INT, OUTBOX_OPT_SECRET},
     "declares the option `a`, which is secret, but not text"},
    {{"a", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_INT, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
     "declares the option `a`, which is to be below batch_timeout, but is not a duration"},
    {{"a", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_CHOICE, 0},
     "declares the option `a`, which has no choices"},
    {{"a", NULL, "H.", none, 0, 0, OUTBOX_OPT_CHOICE, 0},
     "declares the option `a`, which has no choices"},
    {{"a", NULL, "H.", NULL, 2, 1, OUTBOX_OPT_INT, 0},
     "declares the option `a`, which has a minimum above its maximum"},
    {{"a", NULL, NULL, NULL, 0, 0, OUTBOX_OPT_INT, 0},
     "declares the option `a`, which has no help text"},
    {{"A", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_INT, 0},
     "declares an option with a bad name; they match [a-z][a-z0-9_]*"},
    {{NULL, NULL, "H.", NULL, 0, 0, OUTBOX_OPT_INT, 0},
     "declares an option with a bad name; they match [a-z][a-z0-9_]*"},
    {{"a", "0", "H.", NULL, 1, 9, OUTBOX_OPT_INT, 0},
     "declares the option `a` with a bad default: `0` is out of range; it must be 1 to 9"},
    {{"a", "three", "H.", choices, 0, 0, OUTBOX_OPT_CHOICE, 0},
     "declares the option `a` with a bad default: `three` is none of one | two"},
};

START_TEST(an_option_has_to_be_declared_well)
{
    ck_assert_str_eq(answer(&options[_i].option, 1), options[_i].text);
}
END_TEST

START_TEST(the_keys_of_the_core_cannot_be_declared)
{
    char text[128];
    struct outbox_option option = {"plugin", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0};
    ck_assert_str_eq(answer(&option, 1),
                     "declares the option `plugin`, a name that is reserved (the core)");
    ck_assert_uint_ge(delivery_publisher.desc.n_options, 7);
    for (size_t i = 0; i < delivery_publisher.desc.n_options; i++) {
        option.name = descriptor_option(&delivery_publisher, i)->name;
        snprintf(text, sizeof text, "declares the option `%s`, a name that is reserved (the core)",
                 option.name);
        ck_assert_str_eq(answer(&option, 1), text);
    }
}
END_TEST

START_TEST(a_name_is_declared_once_and_not_as_the_file_of_a_secret)
{
    struct outbox_option two[] = {
        {"key", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_SECRET},
        {"key_file", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    };
    ck_assert_str_eq(answer(two, 2),
                     "declares the option `key_file`, a name that is reserved (key)");
    two[0].flags = 0;
    ck_assert_str_eq(answer(two, 2), "");
    two[1].name = "key";
    ck_assert_str_eq(answer(two, 2), "declares the option `key` twice");
}
END_TEST

START_TEST(every_kind_needs_its_first_operations)
{
    static const struct outbox_store_ops store = {.size = sizeof store};
    static const struct outbox_publisher_ops publisher = {.size = sizeof publisher};
    static const struct outbox_rule_ops rule = {
        .size = offsetof(struct outbox_rule_ops, route), .open = open_rule, .close = close_rule};
    static const struct {
        const void *ops;
        const char *text;
    } kinds[] = {
        [OUTBOX_KIND_STORE] = {&store, "lacks the operation `open`, which every store has"},
        [OUTBOX_KIND_PUBLISHER] = {&publisher,
                                   "lacks the operation `open`, which every publisher has"},
        [OUTBOX_KIND_RULE] = {&rule, "lacks the operation `route`, which every rule has"},
    };
    for (uint32_t kind = OUTBOX_KIND_STORE; kind <= OUTBOX_KIND_RULE; kind++) {
        struct outbox_err err = {.size = sizeof err};
        struct plugin plugin;
        const struct outbox_plugin desc = {
            OUTBOX_PLUGIN_INIT(kind, 0), "r", "1", "S.", NULL, kinds[kind].ops, NULL, 0, NULL, NULL, NULL};
        ck_assert_int_eq(descriptor_negotiate(&desc, 0, NULL, &plugin, &err), OUTBOX_E_CONFIG);
        ck_assert_str_eq(err.text, kinds[kind].text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("negotiate");
    TCase *tc = tcase_create("negotiate");
    tcase_add_loop_test(tc, an_option_has_to_be_declared_well, 0,
                        sizeof options / sizeof options[0]);
    tcase_add_test(tc, the_keys_of_the_core_cannot_be_declared);
    tcase_add_test(tc, a_name_is_declared_once_and_not_as_the_file_of_a_secret);
    tcase_add_test(tc, every_kind_needs_its_first_operations);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
