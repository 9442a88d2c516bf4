/* SPDX-License-Identifier: Apache-2.0 */
#include "publish/template.h"

#include "common/utf8.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- names ---- */

/* Is this byte sequence all of printable ASCII? Nearly every name is. */
static bool is_plain(const char *p, size_t n)
{
    const uint64_t ones = 0x0101010101010101;
    /* Eight at a time: a byte's highest bit tells that it is below 0x20, or above 0x7E. */
    for (; n >= sizeof ones; p += sizeof ones, n -= sizeof ones) {
        uint64_t eight;
        memcpy(&eight, p, sizeof eight);
        if (((eight - ones * 0x20) | (eight + ones) | eight) & ones * 0x80)
            return false;
    }
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)(p[i] - 0x20) >= 0x7F - 0x20)
            return false;
    return true;
}

const char *short_text_fault(const char *p, size_t n)
{
    if (n > SHORT_MAX)
        return "is longer than 255 bytes";
    if (is_plain(p, n))
        return NULL;
    if (n > 0 && memchr(p, '\0', n))
        return "holds a NUL";
    return utf8_is_clean(p, n) ? NULL : "is not valid UTF-8";
}

const char *short_fault(const char *p, size_t n)
{
    if (n <= SHORT_MAX && is_plain(p, n))
        return NULL;
    const char *fault = short_text_fault(p, n);
    if (fault)
        return fault;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)p[i], next = i + 1 < n ? (unsigned char)p[i + 1] : 0;
        if (c < 0x20 || c == 0x7F || (c == 0xC2 && next < 0xA0))
            return "holds a control character";
    }
    return NULL;
}

/* ---- templates ---- */

int template_parse(const char *option, const char *text, struct outbox_template *ret,
                   struct outbox_err *err)
{
    size_t literals = 0;
    int r = outbox_template_parse(option, text, ret, err);
    for (uint32_t i = 0; r == 0 && i < ret->n_parts; i++) {
        const struct outbox_template_part *part = &ret->parts[i];
        if (part->kind != OUTBOX_TEMPLATE_LITERAL)
            continue;
        literals += part->n;
        const char *fault =
            literals > SHORT_MAX ? "is longer than 255 bytes" : short_fault(part->text, part->n);
        if (fault)
            r = outbox_fail_option(err, option, "%s: it %s", option, fault);
    }
    return r;
}

int template_render(const struct outbox_template *t, const struct outbox_message *msg,
                    char out[SHORT_MAX + 1], size_t *ret_n, struct outbox_err *err)
{
    int r = outbox_template_render(t, msg, out, SHORT_MAX + 1, ret_n, err);
    const char *fault = r == 0 && !t->fixed ? short_fault(out, *ret_n) : NULL;
    return fault ? outbox_fail(err, OUTBOX_E_CONFIG, "%s %s", t->option, fault) : r;
}
