/* SPDX-License-Identifier: Apache-2.0 */
#include "connection/url.h"

#include "common/utf8.h"

static const struct outbox_url_scheme schemes[] = {{"amqp", 5672}, {"amqps", 5671}, {NULL, 0}};

/* A lone slash names the empty virtual host, which nobody means. */
static int parse_vhost(struct url *url, struct outbox_err *err)
{
    const char *path = url->parts.path && *url->parts.path ? url->parts.path : "%2F";
    if (strchr(path, '/'))
        return outbox_fail_option(err, "url",
                                  "url: its virtual host holds a `/`; write %%2F for it");
    url->parts.path = NULL; /* the text may go away */
    return outbox_url_decode("url", "virtual host", path, strlen(path), url->vhost, err);
}

static int check_text(const struct url *url, struct outbox_err *err)
{
    const struct {
        const char *name, *text;
    } parts[] = {
        {"user", url->parts.user}, {"password", url->parts.password}, {"virtual host", url->vhost}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (!utf8_is_clean(parts[i].text, strlen(parts[i].text)))
            return outbox_fail_option(err, "url", "url: its %s is not valid UTF-8", parts[i].name);
    return OUTBOX_OK;
}

int url_parse(const char *text, struct url *ret, struct outbox_err *err)
{
    *ret = (struct url){0};
    int r = outbox_url_parse("url", text, schemes, &ret->parts, err);
    ret->tls = ret->parts.scheme == 1;
    if (r == 0)
        r = parse_vhost(ret, err);
    if (r == 0)
        r = check_text(ret, err);
    if (r < 0)
        url_clear(ret);
    return r;
}

void url_clear(struct url *url)
{
    outbox_url_clear(&url->parts);
    *url = (struct url){0};
}
