/* SPDX-License-Identifier: Apache-2.0 */
/* store_contract_budget.c - how much a batch may have, and a message; and a page of a list. */
#include "conform/store_contract.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T "outbox_messages"
#define TEXT_MAX 65536

/* ---- rows ---- */

static char *letters(size_t n)
{
    char *text = malloc(n + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, 'x', n);
    text[n] = '\0';
    return text;
}

/* `text`: for free(). */
static void insert_text(const char *column, char *text)
{
    if (strcmp(column, "topic") == 0)
        execute("INSERT INTO " T " (topic) VALUES ('%s')", text);
    else
        execute("INSERT INTO " T " (topic, %s) VALUES ('t', '%s')", column, text);
    free(text);
}

/* {"h0": "xxx", "h1": "xxx" ...}, as PostgreSQL writes it: so many bytes in all, for free(). */
static char *headers_of(size_t n, size_t bytes)
{
    char *json = letters(bytes), *p = json;
    size_t each = (bytes - 2) / n;
    for (size_t i = 0; i < n; i++) {
        char *end = i == n - 1 ? json + bytes : p + each;
        char begin[40];
        int k = snprintf(begin, sizeof begin, "%s\"h%zu\": \"", i == 0 ? "{" : ", ", i);
        ck_assert_int_gt(end - p, k + 2);
        memcpy(p, begin, (size_t)k);
        end[i == n - 1 ? -2 : -1] = '"';
        p = end;
    }
    json[bytes - 1] = '}';
    return json;
}

/* ---- claims ---- */

static struct outbox_claim what(uint32_t limit)
{
    return (struct outbox_claim){.size = sizeof(struct outbox_claim),
                                 .limit = limit,
                                 .lease_ms = LEASE_MS,
                                 .max_bytes = 16 << 20,
                                 .max_message = 64 << 20,
                                 .max_headers = 1000,
                                 .max_header_bytes = 256 << 10};
}

static struct outbox_batch *claim_what(struct outbox_claim what)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_batch *batch;
    assert_class(store_claim(the_store(), &what, CALL, &batch, &err), OUTBOX_OK, &err);
    return batch;
}

static uint64_t bytes_of(const struct outbox_message *m)
{
    uint64_t n = m->topic.n + m->key.n + m->payload.n;
    for (uint64_t i = 0; i < m->n_headers; i++)
        n += m->headers[i].name.n + m->headers[i].value.n;
    return n;
}

static const char *const columns[] = {"topic", "key", "payload", "headers"};

/* Whatever they are in. */
START_TEST(the_bytes_of_all_columns_bound_a_batch)
{
    uint32_t seen = 0;
    execute("BEGIN");
    for (int i = 0; i < 40; i++) {
        const char *column = columns[i % 4];
        insert_text(column, i % 4 == 3 ? headers_of(10, 60000) : letters(60000));
    }
    execute("COMMIT");
    while (seen < 40) {
        struct outbox_claim few = what(100);
        uint64_t bytes = 0;
        few.max_bytes = 300000;
        struct outbox_batch *batch = claim_what(few);
        ck_assert_uint_gt(batch->n, 0);
        for (uint32_t i = 0; i < batch->n; i++) {
            ck_assert_ptr_null(batch->messages[i]->defect.p);
            ck_assert_uint_gt(bytes_of(batch->messages[i]), 59800);
            bytes += bytes_of(batch->messages[i]);
        }
        ck_assert_uint_le(bytes, 300000);
        seen += batch->n;
        ck_assert(seen == 40 || batch->more != 0);
        settle_all(the_store(), batch, (struct outbox_settle){.action = OUTBOX_SETTLE_DONE});
        release(the_store(), batch);
    }
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'processed'"), 40);
}
END_TEST

static const struct {
    const char *column;
    size_t bytes;
    size_t n_headers;
    const char *reason; /* names what is too large, and the setting */
} over[] = {{"topic", TEXT_MAX + 1, 0, "the topic has 65537 bytes, more than "},
            {"topic", 2 << 20, 0, "the topic has 2097152 bytes, more than "},
            {"key", TEXT_MAX + 1, 0, "the key has 65537 bytes, more than "},
            {"key", 2 << 20, 0, "the key has 2097152 bytes, more than "},
            {"payload", (1 << 20) + 1, 0, "the payload has 1048577 bytes, more than max_message"},
            {"headers", (256 << 10) + 1, 10, "more than max_header_bytes (262144)"},
            {"headers", 400000, 10, "more than max_header_bytes (262144)"},
            {"headers", 8 << 20, 300000, "more than max_header_bytes (262144)"},
            {"headers", 20020, 1001, "more of them than max_headers (1000)"},
            {"headers", 100000, 5000, "more of them than max_headers (1000)"}};

START_TEST(a_row_over_a_limit_has_a_defect_and_is_not_loaded)
{
    struct outbox_claim little = what(10);
    little.max_message = 1 << 20;
    produce(1);
    insert_text(over[_i].column, over[_i].n_headers ? headers_of(over[_i].n_headers, over[_i].bytes)
                                                    : letters(over[_i].bytes));
    produce(1);
    struct outbox_batch *batch = claim_what(little);
    ck_assert_uint_eq(batch->n, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct outbox_message *m = batch->messages[i];
        ck_assert_int_eq(m->defect.p != NULL, i == 1);
        if (i == 1)
            ck_assert_msg(strstr(m->defect.p, over[_i].reason), "%s", m->defect.p);
        ck_assert_uint_le(bytes_of(m), 2000);
    }
    settle_all(the_store(), batch,
               (struct outbox_settle){.action = OUTBOX_SETTLE_FAILED,
                                      .flags = OUTBOX_SETTLE_CHARGE | OUTBOX_SETTLE_REASON,
                                      .reason = batch->messages[1]->defect});
    release(the_store(), batch);
    ck_assert_int_eq(number("SELECT count(*) FROM " T " WHERE status = 'failed'"), 3);
}
END_TEST

static const struct {
    const char *column;
    size_t bytes;
    size_t n_headers;
} just[] = {{"topic", TEXT_MAX, 0},    {"key", TEXT_MAX, 0},         {"payload", 1 << 20, 0},
            {"headers", 256 << 10, 7}, {"headers", 256 << 10, 1000}, {"headers", 8192, 10},
            {"headers", 8193, 10},     {"topic", 2000, 0},           {"key", 2001, 0}};

START_TEST(what_just_fits_arrives_whole)
{
    struct outbox_claim little = what(10);
    little.max_message = 1 << 20;
    insert_text(just[_i].column, just[_i].n_headers ? headers_of(just[_i].n_headers, just[_i].bytes)
                                                    : letters(just[_i].bytes));
    struct outbox_batch *batch = claim_what(little);
    ck_assert_uint_eq(batch->n, 1);
    const struct outbox_message *m = batch->messages[0];
    ck_assert_msg(!m->defect.p, "%s", m->defect.p);
    ck_assert_uint_eq(m->n_headers, just[_i].n_headers);
    if (!just[_i].n_headers)
        ck_assert_uint_ge(bytes_of(m), just[_i].bytes);
    for (size_t i = 0; i < just[_i].n_headers; i++)
        ck_assert_uint_gt(m->headers[i].value.n, 0);
    release(the_store(), batch);
}
END_TEST

START_TEST(many_rows_over_a_limit_do_not_fill_a_batch)
{
    execute("BEGIN");
    for (int i = 0; i < 30; i++) {
        insert_text("topic", letters(100000));
        insert_text("key", letters(100000));
        insert_text("headers", headers_of(100, 2000000)); /* more in all than may be */
    }
    insert_text("topic", letters(5));
    execute("COMMIT");
    struct outbox_batch *batch = claim_what(what(100));
    ck_assert_uint_eq(batch->n, 91);
    for (uint32_t i = 0; i < 90; i++)
        ck_assert_ptr_nonnull(batch->messages[i]->defect.p);
    ck_assert_ptr_null(batch->messages[90]->defect.p);
    release(the_store(), batch);
}
END_TEST

/* Its struct ends before these limits, or they are 0. */
START_TEST(a_host_without_limits_for_headers_has_none)
{
    insert_text("headers", headers_of(2000, 300000));
    for (int i = 0; i < 2; i++) {
        struct outbox_claim old = what(10);
        if (i == 0) {
            old.size = offsetof(struct outbox_claim, max_headers);
        } else {
            old.max_headers = 0;
            old.max_header_bytes = 0;
        }
        struct outbox_batch *batch = claim_what(old);
        ck_assert_uint_eq(batch->n, 1);
        ck_assert_ptr_null(batch->messages[0]->defect.p);
        ck_assert_uint_eq(batch->messages[0]->n_headers, 2000);
        release(the_store(), batch);
    }
}
END_TEST

START_TEST(an_empty_list_is_no_headers)
{
    execute("INSERT INTO " T " (topic, headers) VALUES ('t', '[]')");
    struct outbox_batch *batch = claim_what(what(10));
    ck_assert_uint_eq(batch->n, 1);
    ck_assert_ptr_null(batch->messages[0]->defect.p);
    ck_assert_uint_eq(batch->messages[0]->n_headers, 0);
    release(the_store(), batch);
}
END_TEST

/* ---- lists ---- */

START_TEST(a_page_is_bounded_in_bytes_whatever_they_are_in)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter all = {.size = sizeof all};
    struct outbox_page *page;
    int64_t after = 0;
    uint32_t seen = 0;
    execute("BEGIN");
    for (int i = 0; i < 400; i++)
        insert_text(columns[i % 2], letters(i % 8 == 0 ? 200000 : 65000));
    for (int i = 0; i < 80; i++)
        insert_text("headers", headers_of(1000, 250000));
    execute("COMMIT");
    do {
        uint64_t bytes = 0;
        assert_class(store_list(the_store(), &all, after, 1000, CALL, &page, &err), OUTBOX_OK,
                     &err);
        for (uint32_t i = 0; i < page->n; i++)
            bytes += bytes_of(page->rows[i]->message);
        ck_assert_uint_le(bytes, 17 << 20);
        seen += page->n;
        after = page->n ? page->rows[page->n - 1]->message->seq : after;
    } while (page->n > 0);
    ck_assert_uint_eq(seen, 480);
}
END_TEST

START_TEST(large_headers_are_not_listed_and_the_row_says_so)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_filter all = {.size = sizeof all};
    struct outbox_page *page;
    insert_text("headers", headers_of(5, 256 << 10));
    insert_text("headers", headers_of(5, (256 << 10) + 1));
    insert_text("headers", headers_of(200000, 6000000));
    assert_class(store_list(the_store(), &all, 0, 10, CALL, &page, &err), OUTBOX_OK, &err);
    ck_assert_uint_eq(page->n, 3);
    ck_assert_ptr_null(page->rows[0]->message->defect.p);
    ck_assert_uint_eq(page->rows[0]->message->n_headers, 5);
    for (int i = 1; i < 3; i++) {
        assert_str(page->rows[i]->message->defect,
                   "the headers have more than 256 KiB, and are not shown");
        ck_assert_uint_eq(page->rows[i]->message->n_headers, 0);
    }
}
END_TEST

void store_contract_budget(const struct kit_sink *sink)
{
    store_test(sink, the_bytes_of_all_columns_bound_a_batch, 0, 1);
    store_test(sink, a_row_over_a_limit_has_a_defect_and_is_not_loaded, 0,
               sizeof over / sizeof over[0]);
    store_test(sink, what_just_fits_arrives_whole, 0, sizeof just / sizeof just[0]);
    store_test(sink, many_rows_over_a_limit_do_not_fill_a_batch, 0, 1);
    store_test(sink, a_host_without_limits_for_headers_has_none, 0, 1);
    store_test(sink, an_empty_list_is_no_headers, 0, 1);
    store_test(sink, a_page_is_bounded_in_bytes_whatever_they_are_in, 0, 1);
    store_test(sink, large_headers_are_not_listed_and_the_row_says_so, 0, 1);
}
