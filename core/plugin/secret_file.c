/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/secret_file.h"

#include <outbox/helpers.h>

#include <string.h>

#define SECRET_MAX 65536 /* bytes */
#define BYTE_ORDER_MARK "\xEF\xBB\xBF"

static int check_access(const struct file *file, struct outbox_err *err)
{
    if (file->mode & 007)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "holds a secret, but others can read it (mode %04o); chmod o-rwx it",
                           (unsigned)file->mode);
    if (file->others_write)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "holds a secret, but others can write it (mode %04o); chmod g-w it",
                           (unsigned)file->mode);
    return OUTBOX_OK;
}

static int check_text(const char *text, size_t n, struct outbox_err *err)
{
    const char *what = NULL;
    if (n == 0 || memchr(text, '\0', n))
        return outbox_fail(err, OUTBOX_E_CONFIG, "is empty or holds a NUL byte");
    char last = text[n - 1];
    if (n >= 3 && memcmp(text, BYTE_ORDER_MARK, 3) == 0)
        what = "begins with a byte order mark";
    else if (last == '\r')
        what = "ends in a carriage return, as lines of Windows do";
    else if (last == '\n')
        what = "has more than one newline at its end";
    else if (last == ' ' || last == '\t' || *text == ' ' || *text == '\t')
        what = "begins or ends with a blank";
    if (!what)
        return OUTBOX_OK;
    return outbox_fail(err, OUTBOX_E_CONFIG,
                       "%s, which would be a part of the secret; take it away (only one newline at "
                       "the end is not a part)",
                       what);
}

int secret_file_read(const char *path, struct file *ret, struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    int r = file_read(path, SECRET_MAX, ret, &why);
    if (r == 0)
        r = check_access(ret, &why);
    if (r == 0) {
        ret->n -= ret->n > 0 && ret->text[ret->n - 1] == '\n';
        r = check_text(ret->text, ret->n, &why);
    }
    if (r == OUTBOX_OK)
        return r;
    file_forget(ret);
    return outbox_fail(err, r == OUTBOX_E_RETRY ? r : OUTBOX_E_CONFIG, "%.200s %s", path, why.text);
}
