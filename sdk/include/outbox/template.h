/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/template.h - names made of a message: text with {topic}, {key} and {header.NAME}. Whoever
 * may write messages chooses what these become: check the result against what the other side
 * takes, and against a list of allowed names (outbox_template_allows) where it could do harm.
 */
#ifndef OUTBOX_TEMPLATE_H
#define OUTBOX_TEMPLATE_H

#include <outbox/helpers.h>

#include <fnmatch.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OUTBOX_TEMPLATE_LITERAL 0u
#define OUTBOX_TEMPLATE_TOPIC 1u
#define OUTBOX_TEMPLATE_KEY 2u
#define OUTBOX_TEMPLATE_HEADER 3u
/** A template has at most so many parts. */
#define OUTBOX_TEMPLATE_PARTS 32

struct outbox_template_part {
    uint32_t kind;
    uint32_t n; /* of text: of a literal, or the name of a header */
    const char *text;
};

/** A parsed template: read-only from then on, so any thread may render it. */
struct outbox_template {
    const char *option; /* its name, for messages; borrowed */
    const char *text;   /* borrowed, as the option's value is until close */
    uint32_t n_parts;
    uint32_t fixed; /* 1: nothing of it comes from the message */
    struct outbox_template_part parts[OUTBOX_TEMPLATE_PARTS];
};

static inline int outbox_template_add(struct outbox_template *t, uint32_t kind, const char *text,
                                      size_t n, struct outbox_err *err)
{
    struct outbox_template_part *part;
    if (t->n_parts == OUTBOX_TEMPLATE_PARTS)
        return outbox_fail_option(err, t->option, "%s: it has more than %d parts", t->option,
                                  OUTBOX_TEMPLATE_PARTS);
    part = &t->parts[t->n_parts++];
    part->kind = kind;
    part->text = text;
    part->n = OUTBOX_CAST(uint32_t, n);
    if (kind != OUTBOX_TEMPLATE_LITERAL)
        t->fixed = 0;
    return OUTBOX_OK;
}

/* What stands between braces. */
static inline int outbox_template_add_field(struct outbox_template *t, const char *p, size_t n,
                                            struct outbox_err *err)
{
    if (n == 5 && memcmp(p, "topic", 5) == 0)
        return outbox_template_add(t, OUTBOX_TEMPLATE_TOPIC, p, n, err);
    if (n == 3 && memcmp(p, "key", 3) == 0)
        return outbox_template_add(t, OUTBOX_TEMPLATE_KEY, p, n, err);
    if (n > 7 && memcmp(p, "header.", 7) == 0)
        return outbox_template_add(t, OUTBOX_TEMPLATE_HEADER, p + 7, n - 7, err);
    return outbox_fail_option(err, t->option,
                              "%s: {%.*s} is unknown; there are {topic}, {key} and {header.NAME}",
                              t->option, n < 80 ? OUTBOX_CAST(int, n) : 80, p);
}

/**
 * Reads the value of the option. `option` and `text` are borrowed by *ret, which needs no freeing.
 * OUTBOX_E_CONFIG with a text that begins with the option's name.
 */
static inline int outbox_template_parse(const char *option, const char *text,
                                        struct outbox_template *ret, struct outbox_err *err)
{
    int r = OUTBOX_OK;
    memset(ret, 0, sizeof *ret);
    ret->option = option;
    ret->text = text;
    ret->fixed = 1;
    while (*text && r == OUTBOX_OK) {
        size_t n = strcspn(text, "{}");
        const char *end = text[n] == '{' ? strchr(text + n, '}') : OUTBOX_NULL;
        if (n > 0)
            r = outbox_template_add(ret, OUTBOX_TEMPLATE_LITERAL, text, n, err);
        text += n;
        if (r < 0 || !*text)
            return r;
        if (!end)
            return outbox_fail_option(err, option, "%s: a `%c` without its `%c`", option, *text,
                                      *text == '{' ? '}' : '{');
        r = outbox_template_add_field(ret, text + 1, OUTBOX_CAST(size_t, end - text) - 1, err);
        text = end + 1;
    }
    return r;
}

static inline struct outbox_str outbox_template_value(const struct outbox_template_part *part,
                                                      const struct outbox_message *msg)
{
    struct outbox_str text;
    text.p = part->text;
    text.n = part->n;
    if (part->kind == OUTBOX_TEMPLATE_TOPIC)
        return msg->topic;
    if (part->kind == OUTBOX_TEMPLATE_KEY)
        return msg->key;
    if (part->kind == OUTBOX_TEMPLATE_HEADER) {
        for (uint64_t i = 0; i < msg->n_headers; i++)
            if (outbox_str_eq(msg->headers[i].name, text))
                return msg->headers[i].value;
        return outbox_cstr(OUTBOX_NULL);
    }
    return text;
}

/**
 * Writes what the template becomes for a message to buf[cap], with a NUL behind it; *ret_n is its
 * length. OUTBOX_E_CONFIG with the reason if the message lacks a header, or for more than cap - 1
 * bytes: that message can never be published so.
 */
static inline int outbox_template_render(const struct outbox_template *t,
                                         const struct outbox_message *msg, char *buf, size_t cap,
                                         size_t *ret_n, struct outbox_err *err)
{
    size_t n = 0;
    for (uint32_t i = 0; i < t->n_parts; i++) {
        const struct outbox_template_part *part = &t->parts[i];
        struct outbox_str text = outbox_template_value(part, msg);
        if (part->kind == OUTBOX_TEMPLATE_HEADER && !text.p)
            return outbox_fail(err, OUTBOX_E_CONFIG,
                               "%s needs the header `%.*s`, which the message lacks", t->option,
                               part->n < 255 ? OUTBOX_CAST(int, part->n) : 255, part->text);
        if (text.n >= cap - n)
            return outbox_fail(err, OUTBOX_E_CONFIG, "%s is longer than %llu bytes", t->option,
                               OUTBOX_CAST(unsigned long long, cap - 1));
        if (text.n > 0)
            memcpy(buf + n, text.p, text.n);
        n += text.n;
    }
    buf[n] = '\0';
    *ret_n = n;
    return OUTBOX_OK;
}

/** 1 if an item of the LIST option `name` matches the text, as an fnmatch pattern without flags,
 * else 0. */
static inline int outbox_template_allows(const struct outbox_host *host,
                                         const struct outbox_cfg *cfg, const char *name,
                                         const char *text)
{
    for (uint64_t i = 0; i < host->option_count(cfg, name); i++)
        if (fnmatch(host->option_item(cfg, name, i).p, text, 0) == 0)
            return 1;
    return 0;
}

#ifdef __cplusplus
}
#endif
#endif
