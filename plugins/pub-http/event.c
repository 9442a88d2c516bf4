/* SPDX-License-Identifier: Apache-2.0 */
/* event.c - CloudEvents 1.0: the attributes of a message's event, as headers and as JSON. */
#include "http.h"

#include <ctype.h>
#include <strings.h>
#include <time.h>

#define ATTRIBUTE_MAX 8192

/* Where attributes go: to headers, or to a text. */
struct sink {
    struct curl_slist **list; /* NULL: JSON */
    struct text *json;
    struct outbox_err *err;
};

/* May an extension have this name? Others of a message leave as headers, if at all. */
int event_is_attribute(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");
    return n > 0 && name[n] == '\0';
}

static int is_defined(const char *name)
{
    static const char *const names[] = {"specversion", "id",      "source", "type",
                                        "time",        "subject", "data",   "datacontenttype"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return 1;
    return 0;
}

/* As the HTTP binding has it: a blank, `"`, `%` and all that is not printable ASCII. */
static int add_header(struct sink *to, const char *name, struct outbox_str value)
{
    struct text encoded = {0}, full = {0};
    int r;
    for (uint64_t i = 0; i < value.n; i++) {
        char c = value.p[i];
        if (c > 0x20 && c < 0x7F && c != '"' && c != '%')
            text_add(&encoded, &c, 1);
        else {
            char escape[8];
            snprintf(escape, sizeof escape, "%%%02X", (unsigned char)c);
            text_adds(&encoded, escape);
        }
    }
    text_adds(&full, "ce-");
    text_adds(&full, name);
    if (text_end(&full) && text_end(&encoded))
        r = headers_add(to->list, full.p, (struct outbox_str){encoded.p, encoded.n}, to->err);
    else
        r = outbox_fail(to->err, OUTBOX_E_RETRY, "out of memory");
    text_free(&encoded);
    text_free(&full);
    return r;
}

static int add(struct sink *to, const char *name, struct outbox_str value)
{
    if (value.n > ATTRIBUTE_MAX)
        return outbox_fail(to->err, OUTBOX_E_CONFIG, "the attribute %.80s has more than %d bytes",
                           name, ATTRIBUTE_MAX);
    for (uint64_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7F)
            return outbox_fail(to->err, OUTBOX_E_CONFIG,
                               "the attribute %.80s has a control character", name);
    if (!json_is_utf8(value))
        return outbox_fail(to->err, OUTBOX_E_CONFIG, "the attribute %.80s is no UTF-8", name);
    if (to->list)
        return strcmp(name, "datacontenttype") == 0 ? OUTBOX_OK : add_header(to, name, value);
    text_adds(to->json, strcmp(name, "specversion") == 0 ? "{" : ",");
    json_add_string(to->json, outbox_cstr(name));
    text_add(to->json, ":", 1);
    json_add_string(to->json, value);
    return OUTBOX_OK;
}

static int add_template(struct sink *to, const char *name, const struct outbox_template *t,
                        const struct outbox_message *msg, int required)
{
    char buf[ATTRIBUTE_MAX + 1];
    size_t n = 0;
    int r = outbox_template_render(t, msg, buf, sizeof buf, &n, to->err);
    if (r < 0)
        return r;
    if (n == 0 && required)
        return outbox_fail(to->err, OUTBOX_E_CONFIG, "%s is empty, which an event must have",
                           t->option);
    return n > 0 ? add(to, name, (struct outbox_str){buf, n}) : OUTBOX_OK;
}

static int add_time(struct sink *to, int64_t us)
{
    time_t s = (time_t)(us / 1000000);
    char day[40], text[64];
    struct tm tm;
    if (us <= 0 || !gmtime_r(&s, &tm) || strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &tm) == 0)
        return OUTBOX_OK;
    snprintf(text, sizeof text, "%s.%06dZ", day, (int)(us % 1000000));
    return add(to, "time", outbox_cstr(text));
}

struct outbox_str event_content_type(const struct client *c, const struct outbox_message *msg)
{
    struct outbox_str value = outbox_header_value(msg, "content-type");
    return value.n > 0 ? value : outbox_cstr(c->settings.content_type);
}

static int add_attributes(const struct client *c, const struct outbox_message *msg, struct sink *to)
{
    const struct settings *set = &c->settings;
    int r = add(to, "specversion", outbox_cstr("1.0"));
    if (r == OUTBOX_OK)
        r = add(to, "id", msg->id);
    if (r == OUTBOX_OK)
        r = add_template(to, "source", &set->ce_source, msg, 1);
    if (r == OUTBOX_OK)
        r = add_template(to, "type", &set->ce_type, msg, 1);
    if (r == OUTBOX_OK)
        r = add_template(to, "subject", &set->ce_subject, msg, 0);
    if (r == OUTBOX_OK)
        r = add_time(to, msg->created_us);
    if (r == OUTBOX_OK && msg->payload.p && event_content_type(c, msg).n > 0)
        r = add(to, "datacontenttype", event_content_type(c, msg));
    for (uint64_t i = 0; i < msg->n_headers && r == OUTBOX_OK; i++) {
        const struct outbox_header *h = &msg->headers[i];
        if (headers_leaves(c, h) && event_is_attribute(h->name.p) && !is_defined(h->name.p) &&
            h->value.n > 0)
            r = add(to, h->name.p, h->value);
    }
    return r;
}

int event_add_headers(const struct client *c, const struct outbox_message *msg,
                      struct curl_slist **list, struct outbox_err *err)
{
    struct sink to = {.list = list, .err = err};
    return add_attributes(c, msg, &to);
}

/* application/json, text/json, and what ends in +json. */
static int is_json_type(struct outbox_str type)
{
    uint64_t n = 0;
    while (n < type.n && type.p[n] != ';' && type.p[n] != ' ')
        n++;
    return (n > 5 && strncasecmp(type.p + n - 5, "/json", 5) == 0) ||
           (n > 5 && strncasecmp(type.p + n - 5, "+json", 5) == 0);
}

static void add_data(const struct client *c, const struct outbox_message *msg, struct text *t)
{
    struct outbox_str type = event_content_type(c, msg);
    if (!msg->payload.p)
        return;
    if ((type.n == 0 || is_json_type(type)) && json_is_valid(msg->payload)) {
        text_adds(t, ",\"data\":");
        text_add(t, msg->payload.p, (size_t)msg->payload.n);
        return;
    }
    if (type.n > 5 && strncasecmp(type.p, "text/", 5) == 0 && !is_json_type(type) &&
        json_is_utf8(msg->payload)) {
        text_adds(t, ",\"data\":");
        json_add_string(t, msg->payload);
        return;
    }
    text_adds(t, ",\"data_base64\":\"");
    text_add_base64(t, msg->payload.p, (size_t)msg->payload.n);
    text_add(t, "\"", 1);
}

int event_add_json(const struct client *c, const struct outbox_message *msg, struct text *t,
                   struct outbox_err *err)
{
    struct sink to = {.json = t, .err = err};
    int r = add_attributes(c, msg, &to);
    if (r < 0)
        return r;
    add_data(c, msg, t);
    text_add(t, "}", 1);
    return t->failed ? outbox_fail(err, OUTBOX_E_RETRY, "out of memory") : OUTBOX_OK;
}
