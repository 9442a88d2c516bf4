/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include "cli/command.h"
#include "common/message_json.h"
#include "common/rfc3339.h"
#include "common/utf8.h"

#include <outbox/helpers.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define ELLIPSIS "\xE2\x80\xA6"
/* What one column of a message takes at most on a terminal; --json has all of it. */
#define TEXT_CHARS 4000

const char *output_status(uint32_t status)
{
    static const char *const names[] = {"pending", "processing", "processed", "failed"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (status == UINT32_C(1) << i)
            return names[i];
    return "unknown";
}

/* JSON allows some characters as they are that would control a terminal, and people read --json on
 * terminals. So these are escaped, too; they occur in strings only. */
static void put_json(const char *text)
{
    const char *from = text;
    const char *end = text + strlen(text);
    while (text < end) {
        size_t n = utf8_char(text, (size_t)(end - text));
        unsigned c = utf8_control(text, n);
        n = n ? n : 1;
        if (c != UTF8_NO_CONTROL) {
            fwrite(from, 1, (size_t)(text - from), stdout);
            printf("\\u%04x", c);
            from = text + n;
        }
        text += n;
    }
    puts(from);
}

int output_json(struct json_object *object)
{
    const char *text = object ? json_object_to_json_string_ext(
                                    object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)
                              : NULL;
    if (text)
        put_json(text);
    else
        report_failure("out of memory");
    json_object_put(object);
    return text && !ferror(stdout) ? EXIT_DONE : EXIT_FAILED;
}

struct json_object *output_complete(struct json_object *object, int r)
{
    if (r == 0)
        return object;
    json_object_put(object);
    return NULL;
}

int output_add_bool(struct json_object *object, const char *name, bool value)
{
    return json_object_object_add(object, name, json_object_new_boolean(value));
}

/* As PostgreSQL writes what is no time at all; NULL: it is one. */
static const char *endless(int64_t us)
{
    return us == INT64_MAX ? "infinity" : us == INT64_MIN ? "-infinity" : NULL;
}

static int add_time(struct json_object *object, const char *name, int64_t us)
{
    return endless(us) ? json_add_text(object, name, outbox_cstr(endless(us)))
                       : json_add_time(object, name, us);
}

/* lane_seq begins at 1: 0 is NULL. */
static int add_lane_seq(struct json_object *object, int64_t lane_seq)
{
    return lane_seq ? json_add_int(object, "lane_seq", lane_seq)
                    : json_object_object_add(object, "lane_seq", NULL);
}

struct json_object *output_row_json(const struct outbox_row *row)
{
    const struct outbox_message *m = row->message;
    struct json_object *o = json_object_new_object();
    if (!o)
        return NULL;
    int r =
        json_add_int(o, "seq", m->seq) | json_add_text(o, "id", m->row_id) |
        json_add_text(o, "topic", m->topic) | json_add_text(o, "key", m->key) |
        json_add_payload(o, m->payload) | json_add_headers(o, m) |
        json_add_text(o, "status", outbox_cstr(output_status(row->status))) |
        json_add_int(o, "retries", m->retries) | json_add_text(o, "last_error", row->last_error) |
        add_time(o, "created_at", m->created_us) | add_time(o, "processed_at", row->processed_us) |
        add_time(o, "available_at", row->available_us) | json_add_text(o, "lane", row->lane) |
        add_lane_seq(o, row->lane_seq) | json_add_text(o, "origin_id", row->origin_id);
    if (m->defect.p)
        r |= json_add_text(o, "defect", m->defect);
    return output_complete(o, r);
}

size_t output_text(struct outbox_str text, size_t cap)
{
    size_t width = 0;
    for (size_t i = 0; text.p && i < text.n;) {
        char shown[16];
        size_t n = utf8_char(text.p + i, (size_t)text.n - i);
        n = n ? n : 1;
        size_t bytes = utf8_printable(text.p + i, n, shown, sizeof shown), chars = 0;
        for (size_t k = 0; k < bytes; k++)
            chars += (shown[k] & 0xC0) != 0x80;
        bool last = i + n == text.n;
        if (width + chars > (last ? cap : cap - 1)) {
            fputs(ELLIPSIS, stdout);
            return width + 1;
        }
        fwrite(shown, 1, bytes, stdout);
        width += chars;
        i += n;
    }
    return width;
}

static void cell(struct outbox_str text, size_t width)
{
    size_t n = output_text(text, width);
    printf("%*s", (int)(width - n + 2), "");
}

void output_row_header(void)
{
    printf("%8s  %-36s  %-10s  %7s  %-27s  %-24s  %-16s  %s\n", "SEQ", "ID", "STATUS", "RETRIES",
           "CREATED", "TOPIC", "KEY", "LAST ERROR");
}

void output_row_line(const struct outbox_row *row)
{
    const struct outbox_message *m = row->message;
    char created[RFC3339_SIZE];
    printf("%8" PRId64 "  ", m->seq);
    cell(m->row_id, 36);
    printf("%-10s  %7" PRIu32 "  %-27s  ", output_status(row->status), m->retries,
           endless(m->created_us) ? endless(m->created_us)
                                  : rfc3339_format(m->created_us, created));
    cell(m->topic, 24);
    cell(m->key, 16);
    output_text(row->last_error, 120);
    putchar('\n');
}

static void line(const char *name, const char *text)
{
    printf("%-13s %s\n", name, text);
}

static void line_text(const char *name, struct outbox_str text)
{
    printf("%-13s ", name);
    output_text(text.p ? text : outbox_cstr("NULL"), TEXT_CHARS);
    putchar('\n');
}

static void line_int(const char *name, int64_t n)
{
    printf("%-13s %" PRId64 "\n", name, n);
}

static void line_time(const char *name, int64_t us)
{
    char text[RFC3339_SIZE];
    line(name, endless(us) ? endless(us) : us ? rfc3339_format(us, text) : "NULL");
}

static void line_header(const struct outbox_header *header)
{
    fputs("header        ", stdout);
    output_text(header->name, 200);
    fputs(": ", stdout);
    output_text(header->value, 2000);
    putchar('\n');
}

void output_row_full(const struct outbox_row *row)
{
    const struct outbox_message *m = row->message;
    line_int("seq", m->seq);
    line_text("id", m->row_id);
    line_text("topic", m->topic);
    line_text("key", m->key);
    line("status", output_status(row->status));
    line_int("retries", m->retries);
    line_text("last_error", row->last_error);
    line_time("created_at", m->created_us);
    line_time("processed_at", row->processed_us);
    line_time("available_at", row->available_us);
    line_text("lane", row->lane);
    if (row->lane_seq)
        line_int("lane_seq", row->lane_seq);
    else
        line("lane_seq", "NULL");
    line_text("origin_id", row->origin_id);
    for (uint64_t i = 0; i < m->n_headers; i++)
        line_header(&m->headers[i]);
    if (m->defect.p)
        line_text("defect", m->defect);
    else if (m->n_headers == 0)
        line("header", "none");
    if (m->payload.p)
        printf("%-13s %" PRIu64 " bytes: ", "payload", m->payload.n);
    else
        printf("%-13s NULL", "payload");
    output_text(m->payload, TEXT_CHARS);
    putchar('\n');
}

const char *output_age(int64_t us, struct output_age *buffer)
{
    int64_t s = us > 0 ? us / 1000000 : 0;
    if (s < 120)
        snprintf(buffer->text, sizeof buffer->text, "%" PRId64 " s", s);
    else if (s < 7200)
        snprintf(buffer->text, sizeof buffer->text, "%" PRId64 " min", s / 60);
    else if (s < 172800)
        snprintf(buffer->text, sizeof buffer->text, "%" PRId64 " h %" PRId64 " min", s / 3600,
                 s / 60 % 60);
    else
        snprintf(buffer->text, sizeof buffer->text, "%" PRId64 " d %" PRId64 " h", s / 86400,
                 s / 3600 % 24);
    return buffer->text;
}
