/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"

#include "base/value.h"
#include "base/writable.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads to the end of the file, which must come before `size` bytes. */
static int read_all(int fd, size_t size, struct file *ret, struct outbox_err *err)
{
    while (ret->n < size) {
        ssize_t got = read(fd, ret->text + ret->n, size - ret->n);
        if (got == 0)
            return OUTBOX_OK;
        if (got < 0 && errno != EINTR)
            return outbox_fail(err, OUTBOX_E_CONFIG, "cannot be read to its end: %s",
                               strerror(errno));
        ret->n += got > 0 ? (size_t)got : 0;
    }
    return outbox_fail(err, OUTBOX_E_CONFIG, "changed while it was read");
}

int file_read(const char *path, size_t max, struct file *ret, struct outbox_err *err)
{
    struct value_text limit;
    struct stat st = {0};
    int r;
    *ret = (struct file){0};
    /* O_NONBLOCK: a FIFO must not stop us before we know that it is one. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        r = outbox_fail(err, errno == ENOENT ? OUTBOX_E_NOTSUP : OUTBOX_E_CONFIG,
                        "cannot be read: %s", strerror(errno));
    else if (!S_ISREG(st.st_mode))
        r = outbox_fail(err, OUTBOX_E_CONFIG, "is not a regular file");
    else if (st.st_size > (off_t)max)
        r = outbox_fail(err, OUTBOX_E_CONFIG, "is longer than %s",
                        value_show_size((int64_t)max, &limit));
    /* One byte more than the file has: if that comes too, the file is being written. */
    else if (!(ret->text = malloc((size_t)st.st_size + 1)))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    else
        r = read_all(fd, (size_t)st.st_size + 1, ret, err);
    if (fd >= 0)
        close(fd);
    ret->mode = st.st_mode & 07777;
    ret->others_write = r == 0 && writable_by_others(&st);
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
