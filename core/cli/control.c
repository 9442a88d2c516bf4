/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/control.h"

#include "base/hash.h"

#include <outbox/helpers.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PREFIX "outboxd-reload-"
/* Not /proc/net, which a service manager may hide. */
#define SOCKETS "/proc/self/net/unix"

/* ---- the name ---- */

/* The file's place as 16 hexadecimal digits. */
static int hash_place(const char *file, char ret[17], struct outbox_err *err)
{
    const char *slash = strrchr(file, '/');
    char *folder = slash ? strndup(file, (size_t)(slash - file) + 1) : strdup(".");
    char *real = folder ? realpath(folder, NULL) : NULL;
    int r = real ? OUTBOX_OK : outbox_fail(err, OUTBOX_E_CONFIG, "%s: %m", folder ? folder : file);
    if (real)
        snprintf(ret, 17, "%016" PRIx64,
                 hash_text(hash_text(HASH_START, real), slash ? slash + 1 : file));
    free(folder);
    free(real);
    return r;
}

/* An abstract address: a NUL goes before the name. Returns the address' length. */
static socklen_t address(const char *name, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(ret->sun_path + 1, name, n);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
}

static int new_socket(int flags)
{
    return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
}

static int peer_of(int fd, struct ucred *ret)
{
    socklen_t n = sizeof *ret;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &n);
}

/* ---- the relay's side ---- */

int control_listen(const char *file, struct outbox_err *err)
{
    char hash[17];
    int fd = -1;
    if (hash_place(file, hash, err) < 0 || (fd = new_socket(SOCK_NONBLOCK)) < 0) {
        if (err->text[0] == '\0')
            outbox_fail(err, OUTBOX_E_RETRY, "%m");
        return -1;
    }
    for (int i = 0; i < CONTROL_RELAYS_MAX; i++) {
        char name[80];
        struct sockaddr_un at;
        snprintf(name, sizeof name, PREFIX "%u-%s#%d", (unsigned)geteuid(), hash, i);
        socklen_t n = address(name, &at);
        if (bind(fd, (struct sockaddr *)&at, n) == 0 && listen(fd, CONTROL_RELAYS_MAX) == 0)
            return fd;
        if (errno != EADDRINUSE)
            break;
    }
    outbox_fail(err, OUTBOX_E_RETRY, "%m");
    close(fd);
    return -1;
}

int control_accept(int listening)
{
    struct ucred peer;
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 || (peer_of(fd, &peer) == 0 && (peer.uid == 0 || peer.uid == geteuid())))
        return fd;
    close(fd);
    return -1;
}

bool control_send(int fd, enum control_kind kind, const char *text)
{
    char packet[CONTROL_PACKET_MAX];
    int n = snprintf(packet, sizeof packet, "%c%s", kind, text);
    size_t size = (size_t)n < sizeof packet ? (size_t)n : sizeof packet - 1;
    return send(fd, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}

/* ---- the other side ---- */

/* A socket of that name whose owner we trust; -1: none. */
static int connect_to(const char *name, struct control_peer *ret)
{
    struct sockaddr_un at;
    struct ucred peer;
    socklen_t n = address(name, &at);
    int fd = new_socket(0);
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&at, n) < 0 || peer_of(fd, &peer) < 0 ||
        (geteuid() != 0 && peer.uid != geteuid())) {
        close(fd);
        return -1;
    }
    *ret = (struct control_peer){fd, peer.pid, peer.uid};
    return 0;
}

/* Is the name that of a relay of this file? Of another user only root asks for it. */
static bool is_of(const char *name, const char *hash)
{
    unsigned uid;
    char digits[17];
    int number, end = 0;
    sscanf(name, PREFIX "%u-%16[0-9a-f]#%d%n", &uid, digits, &number, &end);
    return end > 0 && name[end] == '\0' && strcmp(digits, hash) == 0 &&
           (geteuid() == 0 || uid == geteuid());
}

int control_connect(const char *file, struct control_peer *peers, struct outbox_err *err)
{
    char hash[17], line[512], name[256], flags[16];
    int n = 0, r = hash_place(file, hash, err);
    FILE *sockets = r < 0 ? NULL : fopen(SOCKETS, "re");
    if (r < 0)
        return r;
    if (!sockets)
        return outbox_fail(err, OUTBOX_E_RETRY, SOCKETS ": %m");
    while (n < CONTROL_RELAYS_MAX && fgets(line, sizeof line, sockets))
        /* Num RefCount Protocol Flags Type St Inode Path; the flag is that of a listening one. */
        if (sscanf(line, "%*s %*s %*s %15s %*s %*s %*s @%255s", flags, name) == 2 &&
            (strtoul(flags, NULL, 16) & 0x10000) && is_of(name, hash) &&
            connect_to(name, &peers[n]) == 0)
            n++;
    fclose(sockets);
    return n;
}

int control_receive(int fd, int64_t ms, char text[CONTROL_PACKET_MAX])
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    int r = poll(&readable, 1, ms < 0 || ms > INT_MAX ? -1 : (int)ms);
    if (r <= 0)
        return -1;
    char packet[CONTROL_PACKET_MAX + 1];
    ssize_t n = recv(fd, packet, CONTROL_PACKET_MAX, 0);
    if (n <= 0)
        return 0;
    packet[n] = '\0';
    for (ssize_t i = 0; i < n; i++) /* nothing that a terminal obeys */
        if ((unsigned char)packet[i] < ' ' || packet[i] == 0x7F)
            packet[i] = '?';
    memcpy(text, packet + 1, (size_t)n);
    return packet[0];
}
