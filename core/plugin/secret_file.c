/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/secret_file.h"

#include "base/file.h"

#include <outbox/helpers.h>

#include <string.h>

#define SECRET_MAX 65536 /* bytes */

const struct outbox_option *secret_file_option(const struct plugin *plugin, const char *key)
{
    size_t n = strlen(key);
    if (n <= 5 || strcmp(key + n - 5, "_file") != 0)
        return NULL;
    const struct outbox_option *o = descriptor_find_option(plugin, key, n - 5);
    return o && (o->flags & (OUTBOX_OPT_SECRET | OUTBOX_OPT_MAY_BE_SECRET)) ? o : NULL;
}

static int check(struct file *file, struct outbox_err *err)
{
    if (file->mode & 007)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "holds a secret, but others can read it (mode %04o); chmod o-rwx it",
                           (unsigned)file->mode);
    if (file->n > 0 && file->text[file->n - 1] == '\n')
        file->n--;
    if (file->n == 0 || memchr(file->text, '\0', file->n))
        return outbox_fail(err, OUTBOX_E_CONFIG, "is empty or holds a NUL byte");
    return OUTBOX_OK;
}

int secret_file_set(struct outbox_cfg *cfg, const char *name, const char *path,
                    struct outbox_err *err)
{
    struct outbox_err why = {.size = sizeof why};
    struct file file;
    int r = file_read(path, SECRET_MAX, &file, &why);
    if (r == 0)
        r = check(&file, &why);
    if (r == 0 && (r = options_set_secret(cfg, name, file.text, file.n)) < 0)
        outbox_fail(&why, r, "out of memory");
    file_forget(&file);
    if (r < 0)
        outbox_fail(err, r == OUTBOX_E_RETRY ? r : OUTBOX_E_CONFIG, "%.200s %s", path, why.text);
    return r;
}
