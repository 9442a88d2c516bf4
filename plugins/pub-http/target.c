/* SPDX-License-Identifier: Apache-2.0 */
/*
 * target.c - the url. Its scheme, user and host are the configuration's; only path and query are a
 * template. What comes from a message is encoded, and leads to no other folder: a receiver, or a
 * proxy before it, may decode a path before it looks for dots.
 */
#include "http.h"

#define AUTHORITY_MAX 1024

static int read_origin(struct settings *set, const char *text, size_t n, struct outbox_err *err)
{
    static const struct outbox_url_scheme schemes[] = {{"http", 80}, {"https", 443}, {NULL, 0}};
    char authority[AUTHORITY_MAX];
    int r;
    if (n >= sizeof authority)
        return outbox_fail_option(err, "url", "url: what stands before its path is too long");
    memcpy(authority, text, n);
    authority[n] = '\0';
    if (strpbrk(authority, "{}"))
        r = outbox_fail_option(err, "url",
                               "url: only its path and query may have something of a message");
    else
        r = outbox_url_parse("url", authority, schemes, &set->url, err);
    explicit_bzero(authority, sizeof authority);
    if (r == OUTBOX_OK && set->url.n_hosts > 1)
        r = outbox_fail_option(err, "url", "url: it has more than one host");
    if (r == OUTBOX_OK)
        snprintf(set->origin, sizeof set->origin, "%s://%s", schemes[set->url.scheme].name,
                 set->url.hosts[0].peer);
    return r;
}

int target_check_private(const struct settings *set, const char *option, const char *host,
                         struct outbox_err *err)
{
    size_t n = strlen(host);
    int is_local = strcasecmp(host, "localhost") == 0 ||
                   (n > 10 && strcasecmp(host + n - 10, ".localhost") == 0);
    if (set->allow_private || (!is_local && !address_text_is_private(host)))
        return OUTBOX_OK;
    return outbox_fail_option(
        err, option, "%s: %s is an address of this machine or a private network; set allow_private",
        option, host);
}

/* Is there a `.` or `..` between slashes, also if they are encoded? */
static int has_dots(const char *path, size_t n)
{
    size_t dots = 0, others = 0;
    for (size_t i = 0; i <= n; i++) {
        char c = i < n ? path[i] : '/';
        if (c == '%' && i + 2 < n && outbox_url_hex(path[i + 1]) >= 0 &&
            outbox_url_hex(path[i + 2]) >= 0) {
            c = (char)(outbox_url_hex(path[i + 1]) * 16 + outbox_url_hex(path[i + 2]));
            i += 2;
        }
        if (c == '/' || c == '\\') {
            if (others == 0 && (dots == 1 || dots == 2))
                return 1;
            dots = others = 0;
        } else if (c == '.') {
            dots++;
        } else if (c != ';' || others > 0) {
            others++;
        }
    }
    return 0;
}

int target_read(const struct outbox_host *host, const struct outbox_cfg *cfg, struct settings *set,
                struct outbox_err *err)
{
    const char *text = host->option_text(cfg, "url").p, *begin = strstr(text, "://"), *rest;
    int r;
    begin = begin ? begin + 3 : text;
    rest = begin + strcspn(begin, "/?#");
    r = read_origin(set, text, (size_t)(rest - text), err);
    if (r == OUTBOX_OK)
        r = target_check_private(set, "url", set->url.hosts[0].name, err);
    if (r < 0)
        return r;
    for (const char *p = rest; *p; p++)
        if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7F || strchr("#\\\"<>^`|", *p))
            return outbox_fail_option(err, "url",
                                      "url: its path has a blank or a character that must be "
                                      "written as %%XX");
    r = outbox_template_parse("url", rest, &set->path, err);
    if (r == OUTBOX_OK && has_dots(rest, strcspn(rest, "?")))
        r = outbox_fail_option(err, "url", "url: its path has a `.` or `..` between slashes");
    set->restricted = host->option_count(cfg, "allow_paths") > 0;
    if (r == OUTBOX_OK && set->path.fixed && set->restricted &&
        !outbox_template_allows(host, cfg, "allow_paths", rest))
        r = outbox_fail_option(err, "url", "url: its path is not among allow_paths");
    return r;
}

static int add_value(const struct outbox_template_part *part, const struct outbox_message *msg,
                     int in_path, struct text *ret, struct outbox_err *err)
{
    struct outbox_str value = outbox_template_value(part, msg);
    int n = part->n < 80 ? (int)part->n : 80;
    if (!value.p)
        return outbox_fail(err, OUTBOX_E_CONFIG, "url needs the header `%.*s`, which it lacks", n,
                           part->text);
    if (in_path && value.n == 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the path of url needs its `%.*s`, which is empty",
                           n, part->text);
    text_add_encoded(ret, value.p, (size_t)value.n);
    return OUTBOX_OK;
}

int target_render(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  const struct settings *set, const struct outbox_message *msg, struct text *ret,
                  struct outbox_err *err)
{
    size_t from = strlen(set->origin);
    int in_path = 1, r = OUTBOX_OK;
    const char *path;
    ret->n = 0;
    text_adds(ret, set->origin);
    if (set->path.text[0] != '/')
        text_add(ret, "/", 1);
    for (uint32_t i = 0; i < set->path.n_parts && r == OUTBOX_OK; i++) {
        const struct outbox_template_part *part = &set->path.parts[i];
        if (part->kind != OUTBOX_TEMPLATE_LITERAL) {
            r = add_value(part, msg, in_path, ret, err);
            continue;
        }
        text_add(ret, part->text, part->n);
        if (memchr(part->text, '?', part->n))
            in_path = 0;
    }
    if (r < 0)
        return r;
    if (!text_end(ret))
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    path = ret->p + from;
    if (set->path.fixed)
        return OUTBOX_OK;
    if (ret->n > URL_MAX)
        return outbox_fail(err, OUTBOX_E_CONFIG, "the url is longer than %d bytes", URL_MAX);
    if (has_dots(path, strcspn(path, "?")))
        return outbox_fail(err, OUTBOX_E_CONFIG, "the path `%.80s` has a `.` or `..`", path);
    if (set->restricted && !outbox_template_allows(host, cfg, "allow_paths", path))
        return outbox_fail(err, OUTBOX_E_CONFIG, "`%.80s` is not among allow_paths", path);
    return OUTBOX_OK;
}
