/* SPDX-License-Identifier: Apache-2.0 */
#include "common/utf8.h"

#include <stdio.h>
#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

size_t utf8_char(const char *p, size_t n)
{
    const unsigned char *s = (const unsigned char *)p;
    if (n == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    size_t len = s[0] >= 0xC2 && s[0] <= 0xDF   ? 2
                 : s[0] >= 0xE0 && s[0] <= 0xEF ? 3
                 : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4
                                                : 0;
    if (len == 0 || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    /* Overlong forms, surrogates, and beyond U+10FFFF show in the second byte. */
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return len;
}

bool utf8_is_valid(const char *p, size_t n)
{
    for (size_t i = 0, len; i < n; i += len)
        if ((len = utf8_char(p + i, n - i)) == 0)
            return false;
    return true;
}

bool utf8_is_clean(const char *p, size_t n)
{
    return n == 0 || (!memchr(p, '\0', n) && utf8_is_valid(p, n));
}

unsigned utf8_control(const char *p, size_t len)
{
    const unsigned char *s = (const unsigned char *)p;
    unsigned c = len < 2 ? s[0] : s[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (s[i] & 0x3Fu);
    bool control = c < 0x20 || (c >= 0x7F && c < 0xA0) ||      /* C0, DEL, C1 */
                   c == 0x61C || c == 0x200E || c == 0x200F || /* marks of direction */
                   (c >= 0x2028 && c <= 0x202E) || /* separators, embeddings, overrides */
                   (c >= 0x2066 && c <= 0x2069);   /* isolates */
    return control ? c : UTF8_NO_CONTROL;
}

/* Copies with each character that is not wanted replaced; `line`: no control characters. */
static size_t copy_text(const char *p, size_t n, char *out, size_t cap, bool line)
{
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        char escape[12];
        size_t len = utf8_char(p + i, n - i);
        const char *piece = p + i;
        size_t piece_len = len;
        unsigned c = utf8_control(p + i, len);
        if (len == 0 || (p[i] == '\0' && !line)) {
            piece = REPLACEMENT;
            piece_len = sizeof REPLACEMENT - 1;
        } else if (line && c != UTF8_NO_CONTROL) {
            int k = c == '\n' ? snprintf(escape, sizeof escape, "\\n")
                    : c == '\t'
                        ? snprintf(escape, sizeof escape, "\\t")
                        : snprintf(escape, sizeof escape, c > 0xFF ? "\\u%04X" : "\\x%02X", c);
            piece = escape;
            piece_len = (size_t)k;
        }
        if (used + piece_len >= cap)
            break;
        memcpy(out + used, piece, piece_len);
        used += piece_len;
        i += len ? len : 1;
    }
    out[used] = '\0';
    return used;
}

size_t utf8_clean(const char *p, size_t n, char *out, size_t cap)
{
    return copy_text(p, n, out, cap, false);
}

size_t utf8_printable(const char *p, size_t n, char *out, size_t cap)
{
    return copy_text(p, n, out, cap, true);
}
