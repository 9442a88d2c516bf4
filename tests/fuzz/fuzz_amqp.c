/* SPDX-License-Identifier: Apache-2.0 */
/* pub-amqp: a url, a template with a message, or confirms; the first byte says which. */
#include "connection/url.h"
#include "fuzz.h"
#include "publish/template.h"
#include "publish/window.h"

#include <outbox/helpers.h>

#include <stdlib.h>
#include <string.h>

static void fuzz_url(const char *text)
{
    struct outbox_err err = {.size = sizeof err};
    struct url url;
    if (url_parse(text, &url, &err) == OUTBOX_OK && (!url.vhost[0] || url.parts.n_hosts == 0))
        abort();
    url_clear(&url);
}

/* The first line is the template, the rest the topic. */
static void fuzz_template(char *text)
{
    struct outbox_err err = {.size = sizeof err};
    struct outbox_template t;
    char *topic = strchr(text, '\n');
    char out[SHORT_MAX + 1];
    size_t n;
    if (topic)
        *topic++ = '\0';
    struct outbox_header header = {outbox_cstr("region"), outbox_cstr("eu")};
    struct outbox_message msg = {.size = sizeof msg,
                                 .topic = outbox_cstr(topic ? topic : ""),
                                 .key = outbox_cstr("k"),
                                 .headers = &header,
                                 .n_headers = 1};
    if (template_parse("queue", text, &t, &err) < 0)
        return;
    if (template_render(&t, &msg, out, &n, &err) == 0 && (n > SHORT_MAX || short_fault(out, n)))
        abort();
}

static void count(void *ctx, const struct sent *sent, bool ack)
{
    (void)sent;
    (void)ack;
    ++*(uint32_t *)ctx;
}

/* Each byte sends a message, or confirms one. */
static void fuzz_window(const uint8_t *data, size_t n)
{
    struct window w;
    uint32_t sent = 0, settled = 0;
    if (window_init(&w, 16) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        if (data[i] & 1 && window_has_room(&w, 16) && !window_find(&w, data[i] & 0xF0))
            window_add(&w, sent++, data[i] & 0xF0, 0);
        else if (data[i] & 1)
            window_forget(&w);
        else
            window_confirm(&w, data[i] >> 3, data[i] & 2, data[i] & 4, count, &settled);
        if (w.live > w.unconfirmed || settled + w.live > sent)
            abort();
    }
    window_free(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = n > 0 ? strndup((const char *)data + 1, n - 1) : NULL;
    if (!text)
        return 0;
    switch (data[0]) {
    case 'u':
        fuzz_url(text);
        break;
    case 't':
        fuzz_template(text);
        break;
    default:
        fuzz_window(data + 1, n - 1);
    }
    free(text);
    return 0;
}
