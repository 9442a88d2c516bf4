/* SPDX-License-Identifier: Apache-2.0 */
#include "lives.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* FNV-1a, of 63 bits: an offset in a file. */
static int64_t offset_of(struct outbox_str id)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (uint64_t i = 0; i < id.n; i++)
        hash = (hash ^ (unsigned char)id.p[i]) * UINT64_C(0x100000001b3);
    return (int64_t)(hash >> 2); /* so that the end of the byte is an offset, too */
}

static struct flock lock_at(int64_t offset)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1};
}

/* Beside the file, also if the path is a symbolic link; for sqlite3_free. */
static char *path_of(const struct store *s)
{
    return sqlite3_mprintf("%s-relays", sqlite3_db_filename(s->db, "main"));
}

/* With the mode and, if that is possible, the owner of the database, as SQLite makes its own. */
static int make(const struct store *s, const char *path)
{
    struct stat db;
    if (stat(sqlite3_db_filename(s->db, "main"), &db) < 0)
        return -1;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, db.st_mode & 0666);
    if (fd < 0 && errno == EEXIST)
        return open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && (fchmod(fd, db.st_mode & 0666) < 0 ||
                    (geteuid() == 0 && fchown(fd, db.st_uid, db.st_gid) < 0))) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool is_same_file(int fd, const char *path)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && stat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

bool lives_hold(struct store *s, struct outbox_str id)
{
    int64_t offset = offset_of(id);
    struct flock lock = lock_at(offset);
    char *path = path_of(s);
    if (s->lives.fd >= 0 &&
        (s->lives.offset != offset || !path || !is_same_file(s->lives.fd, path)))
        lives_end(s);
    if (s->lives.fd < 0 && path)
        s->lives.fd = make(s, path);
    sqlite3_free(path);
    s->lives.offset = offset;
    /* what is held already is simply taken again */
    if (s->lives.fd >= 0 && fcntl(s->lives.fd, F_OFD_SETLK, &lock) == 0)
        return true;
    lives_end(s);
    return false;
}

void lives_end(struct store *s)
{
    if (s->lives.fd >= 0)
        close(s->lives.fd);
    s->lives.fd = -1;
}

int lives_open(struct store *s)
{
    char *path = path_of(s);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    sqlite3_free(path);
    return fd;
}

uint32_t lives_of(int fd, struct outbox_str id)
{
    struct flock lock = lock_at(offset_of(id));
    if (fd < 0 || fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return OUTBOX_RELAY_UNKNOWN;
    return lock.l_type == F_UNLCK ? OUTBOX_RELAY_DEAD : OUTBOX_RELAY_LIVES;
}
