/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "base/value.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads until `size` bytes are there or the file ends. */
static int read_all(int fd, size_t size, struct file *ret, struct outbox_err *err)
{
    while (ret->n < size) {
        ssize_t got = read(fd, ret->text + ret->n, size - ret->n);
        if (got == 0)
            break;
        if (got < 0 && errno != EINTR)
            return outbox_fail(err, OUTBOX_E_CONFIG, "cannot be read to its end: %s",
                               strerror(errno));
        ret->n += got > 0 ? (size_t)got : 0;
    }
    return OUTBOX_OK;
}

static int read_open(int fd, size_t max, struct file *ret, struct outbox_err *err)
{
    struct value_text limit;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "cannot be read: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return outbox_fail(err, OUTBOX_E_CONFIG, "is not a regular file");
    if (st.st_size > (off_t)max)
        return outbox_fail(err, OUTBOX_E_CONFIG, "is longer than %s",
                           value_show_size((int64_t)max, &limit));
    /* One byte more than the file has: if that comes too, the file is being written. */
    size_t size = (size_t)st.st_size + 1;
    *ret = (struct file){.text = malloc(size), .mode = st.st_mode & 07777};
    int r = ret->text ? read_all(fd, size, ret, err)
                      : outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r == 0 && ret->n == size)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "changed while it was read");
    return r;
}

int file_read(const char *path, size_t max, struct file *ret, struct outbox_err *err)
{
    *ret = (struct file){0};
    /* O_NONBLOCK: a FIFO must not stop us before we know that it is one. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return outbox_fail(err, errno == ENOENT ? OUTBOX_E_NOTSUP : OUTBOX_E_CONFIG,
                           "cannot be read: %s", strerror(errno));
    int r = read_open(fd, max, ret, err);
    close(fd);
    if (r < 0)
        file_forget(ret);
    return r;
}

void file_forget(struct file *file)
{
    if (file->text)
        explicit_bzero(file->text, file->n);
    free(file->text);
    *file = (struct file){0};
}
