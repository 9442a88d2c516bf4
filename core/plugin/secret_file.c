/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/secret_file.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MAX 65536

const struct outbox_option *secret_file_option(const struct plugin *plugin, const char *key)
{
    size_t n = strlen(key);
    if (n <= 5 || strcmp(key + n - 5, "_file") != 0)
        return NULL;
    const struct outbox_option *o = plugin_find_option(plugin, key, n - 5);
    return o && (o->flags & (OUTBOX_OPT_SECRET | OUTBOX_OPT_MAY_BE_SECRET)) ? o : NULL;
}

/* Its length, or an error. */
static ssize_t read_secret(const char *path, char buffer[SECRET_MAX], struct outbox_err *err)
{
    struct stat st;
    ssize_t n = -1;
    int r = OUTBOX_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "cannot read %.200s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode) || st.st_size > SECRET_MAX - 1)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "%.200s is not a regular file of at most 64K", path);
    else if (st.st_mode & 007)
        r = outbox_fail(err, OUTBOX_E_CONFIG,
                        "%.200s holds a secret, but others can read it (mode %04o); chmod o-rwx it",
                        path, (unsigned)st.st_mode & 07777);
    else if ((n = read(fd, buffer, SECRET_MAX - 1)) < 0)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "cannot read %.200s: %s", path, strerror(errno));
    if (n > 0 && buffer[n - 1] == '\n')
        n--;
    if (r == OUTBOX_OK && (n <= 0 || memchr(buffer, '\0', (size_t)n)))
        r = outbox_fail(err, OUTBOX_E_CONFIG, "%.200s is empty or holds a NUL byte", path);
    if (fd >= 0)
        close(fd);
    return r < 0 ? r : n;
}

int secret_file_set(struct outbox_cfg *cfg, const char *name, const char *path,
                    struct outbox_err *err)
{
    char buffer[SECRET_MAX];
    ssize_t n = read_secret(path, buffer, err);
    int r = n < 0 ? (int)n : options_set_secret(cfg, name, buffer, (size_t)n);
    if (r == OUTBOX_E_RETRY)
        outbox_fail(err, r, "out of memory");
    explicit_bzero(buffer, sizeof buffer);
    return r;
}
