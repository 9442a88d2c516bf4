/* SPDX-License-Identifier: Apache-2.0 */
/* Which descriptors the host accepts, and what it says of the others. */
#include "plugin/delivery.h"
#include "plugin/descriptor.h"
#include "plugin/option_value.h"
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
    const struct outbox_plugin desc = {OUTBOX_PLUGIN_INIT(OUTBOX_KIND_RULE, 0),
                                       "r",
                                       "1",
                                       "A rule.",
                                       NULL,
                                       &ops,
                                       options,
                                       n,
                                       NULL,
                                       NULL,
                                       NULL};
    err = (struct outbox_err){.size = sizeof err};
    int r = descriptor_negotiate(&desc, OUTBOX_KIND_RULE, "r", &plugin, &err);
    ck_assert_int_eq(r, err.text[0] ? OUTBOX_E_CONFIG : OUTBOX_OK);
    return err.text;
}

static const char *const choices[] = {"one", "two", NULL};
static const char *const none[] = {NULL};
#define TEN(x) x, x, x, x, x, x, x, x, x, x
static const char *const endless[] = {TEN(TEN("x")), "x", NULL};

static const struct {
    struct outbox_option option;
    const char *text;
} options[] = {
    {{"a", "5", "H.", NULL, 1, 9, OUTBOX_OPT_INT, 0}, ""},
    {{"a", "two", "H.", choices, 0, 0, OUTBOX_OPT_CHOICE, 0}, ""},
    {{"a", NULL, "H.", NULL, 0, 0, 99, 0},
     "declares the option `a` of a type (99) that this outboxd does not know"},
    {{"a", NULL, "H.", NULL, 0, 0, OPTION_VALUE_LINE, 0},
     "declares the option `a` of a type (2147483649) that this outboxd does not know"},
    {{"a", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0x8000},
     "declares the option `a` with flags (0x8000) that this outboxd does not know and may not "
     "ignore"},
    {{"a", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0xFFFF0000}, ""},
    {{"a", "x", "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_REQUIRED},
     "declares the option `a`, which is required, yet has a default"},
    {{"a_file", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_SECRET},
     "declares the option `a_file`, which is a secret, yet ends in _file: the host reads NAME_file "
     "for a secret NAME itself"},
    {{"a_file", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0}, ""},
    {{"a", "x", "H.", NULL, 0, 0, OUTBOX_OPT_PREFIX, 0},
     "declares the option `a`, which is a prefix, yet has a default"},
    {{"a", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_PREFIX, OUTBOX_OPT_MAY_BE_SECRET}, ""},
    {{"a", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_LIST, OUTBOX_OPT_MAY_BE_SECRET}, ""},
    {{"a", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_PUBLISHER, 0}, ""},
    {{"relay", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_PREFIX, 0},
     "declares the option `relay`, a name that is reserved (the core)"},
    {{"topic", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
     "declares the option `topic`, a name that is reserved (the core, for a [route])"},
    {{"header", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_PREFIX, 0},
     "declares the option `header`, a name that is reserved (the core, for a [route])"},
    {{"a", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_BOOL, OUTBOX_OPT_MAY_BE_SECRET},
     "declares the option `a`, which may be secret, but is neither text nor a list nor a prefix"},
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
    {{"a", NULL, "H.", endless, 0, 0, OUTBOX_OPT_CHOICE, 0},
     "declares the option `a`, which has too many choices; NULL ends them"},
    {{"A", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_INT, 0},
     "declares the option `A` (number 1), whose name does not begin with a letter from a to z"},
    {{"a.b", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_INT, 0},
     "declares the option `a.b` (number 1), whose name has a character other than a-z, 0-9 and _"},
    {{"", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_INT, 0},
     "declares the option `` (number 1), whose name is empty"},
    {{"a123456789a123456789a123456789a123456789a123456789a123456789a123", NULL, "H.", NULL, 0, 0,
      OUTBOX_OPT_INT, 0},
     "declares the option `a123456789a123456789a123456789a123456789a123456789a123456789a123` "
     "(number 1), whose name is longer than 63 bytes"},
    {{NULL, NULL, "H.", NULL, 0, 0, OUTBOX_OPT_INT, 0},
     "declares an option (number 1 of 1) without a name (NULL)"},
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
        {"token", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, OUTBOX_OPT_SECRET},
        {"token_file", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    };
    ck_assert_str_eq(answer(two, 2),
                     "declares the option `token_file`, a name that is reserved (token)");
    two[0].flags = 0;
    ck_assert_str_eq(answer(two, 2), "");
    two[1].name = "token";
    ck_assert_str_eq(answer(two, 2), "declares the option `token` twice");
}
END_TEST

/* The numbers are told before anything is read by them: the options are none. */
START_TEST(numbers_have_bounds_and_are_told)
{
    static const struct outbox_option option = {"a", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0};
    static const struct {
        uint32_t size, stride;
        uint64_t n;
        const struct outbox_option *options;
        const char *text;
    } cases[] = {
        {8, 56, 0, NULL,
         "its descriptor says size = 8, less than the 72 bytes of ABI 1.0; it is broken"},
        {0, 56, 1000000, (const void *)8,
         "its descriptor says n_options = 1000000, and a plugin has at most 1000; it is broken"},
        {0, 0, 1, &option,
         "its descriptor says option_stride = 0, which is not the size of an option (56 to 4096 "
         "bytes, a multiple of 8); it is broken"},
        {0, 48, 1, &option,
         "its descriptor says option_stride = 48, which is not the size of an option (56 to 4096 "
         "bytes, a multiple of 8); it is broken"},
        {0, 60, 1, &option,
         "its descriptor says option_stride = 60, which is not the size of an option (56 to 4096 "
         "bytes, a multiple of 8); it is broken"},
        {0, 4104, 1, &option,
         "its descriptor says option_stride = 4104, which is not the size of an option (56 to 4096 "
         "bytes, a multiple of 8); it is broken"},
        {0, 56, 3, NULL, "its descriptor says n_options = 3, but options = NULL; it is broken"},
        {0, 4096, 1, &option, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct outbox_err err = {.size = sizeof err};
        struct plugin plugin;
        const struct outbox_plugin desc = {
            .size = cases[i].size ? cases[i].size : sizeof desc,
            .kind = OUTBOX_KIND_RULE,
            .option_stride = cases[i].stride,
            .name = "r",
            .version = "1",
            .summary = "A rule.",
            .ops = &ops,
            .options = cases[i].options,
            .n_options = cases[i].n,
        };
        int r = descriptor_negotiate(&desc, 0, NULL, &plugin, &err);
        ck_assert_str_eq(err.text, cases[i].text);
        ck_assert_int_eq(r, cases[i].text[0] ? OUTBOX_E_CONFIG : OUTBOX_OK);
    }
}
END_TEST

static int open_shared(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                       struct outbox_err *err)
{
    return open_rule(host, cfg, ret, err);
}

START_TEST(shared_state_is_opened_and_closed)
{
    struct outbox_err err = {.size = sizeof err};
    struct plugin plugin;
    struct outbox_plugin desc = {OUTBOX_PLUGIN_INIT(OUTBOX_KIND_RULE, 0),
                                 "r",
                                 "1",
                                 "S.",
                                 NULL,
                                 &ops,
                                 NULL,
                                 0,
                                 NULL,
                                 open_shared,
                                 NULL};
    ck_assert_int_eq(descriptor_negotiate(&desc, 0, NULL, &plugin, &err), OUTBOX_E_CONFIG);
    ck_assert_str_eq(err.text, "has only one of `shared_open` and `shared_close`");
    desc.shared_close = close_rule;
    ck_assert_int_eq(descriptor_negotiate(&desc, 0, NULL, &plugin, &err), OUTBOX_OK);
}
END_TEST

START_TEST(the_keys_of_a_prefix_are_found)
{
    static const struct outbox_option two[] = {
        {"client", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_PREFIX, 0},
        {"name", NULL, "H.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
    };
    const struct plugin plugin = {
        .desc = {.options = two, .n_options = 2, .option_stride = sizeof two[0]}};
    ck_assert_ptr_eq(descriptor_find_option(&plugin, "client.a.b", 10), &two[0]);
    ck_assert_ptr_eq(descriptor_find_option(&plugin, "client", 6), &two[0]);
    ck_assert_ptr_eq(descriptor_find_option(&plugin, "name", 4), &two[1]);
    ck_assert_ptr_null(descriptor_find_option(&plugin, "name.a", 6));
    ck_assert_ptr_null(descriptor_find_option(&plugin, "clients", 7));
    ck_assert_ptr_null(descriptor_find_option(&plugin, "clien", 5));
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
        [OUTBOX_KIND_RULE] = {&rule,
                              "has a table of operations whose `size` is 24: it ends before "
                              "`route`, which every rule has; set .size = sizeof of the table"},
    };
    for (uint32_t kind = OUTBOX_KIND_STORE; kind <= OUTBOX_KIND_RULE; kind++) {
        struct outbox_err err = {.size = sizeof err};
        struct plugin plugin;
        const struct outbox_plugin desc = {OUTBOX_PLUGIN_INIT(kind, 0),
                                           "r",
                                           "1",
                                           "S.",
                                           NULL,
                                           kinds[kind].ops,
                                           NULL,
                                           0,
                                           NULL,
                                           NULL,
                                           NULL};
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
    tcase_add_test(tc, numbers_have_bounds_and_are_told);
    tcase_add_test(tc, shared_state_is_opened_and_closed);
    tcase_add_test(tc, the_keys_of_a_prefix_are_found);
    tcase_add_test(tc, every_kind_needs_its_first_operations);
    suite_add_tcase(suite, tc);
    return unit_main(suite);
}
