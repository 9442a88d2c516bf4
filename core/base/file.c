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

/* Up to n bytes; how many there were, or -1 with errno. */
static ssize_t read_all(int fd, char *to, size_t n)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = read(fd, to + done, n - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
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
    /* One byte more than the file has: if that comes too, somebody is writing the file. */
    size_t size = (size_t)st.st_size + 1;
    *ret = (struct file){malloc(size), size, st.st_mode & 07777};
    if (!ret->text)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    ssize_t got = read_all(fd, ret->text, size);
    if (got < 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "cannot be read to its end: %s", strerror(errno));
    if ((size_t)got == size)
        return outbox_fail(err, OUTBOX_E_CONFIG, "changed while it was read");
    ret->n = (size_t)got;
    return OUTBOX_OK;
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
