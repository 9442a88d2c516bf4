/* SPDX-License-Identifier: Apache-2.0 */
#include "forward.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS_MAX 32

struct pair {
    int client;     /* -1: none */
    int server;     /* -1: free */
    bool connected; /* has logged in */
    bool asked;     /* something was asked and not answered */
};

struct forward {
    pthread_t thread;
    pthread_mutex_t lock;
    int listener, port, to_port;
    int wake; /* an eventfd */
    bool ends, stalls, has_cut;
    enum forward_cut cut;
    int skip;
    int requests;
    int keep_back; /* of the next request */
    bool kept;     /* nothing more from clients */
    struct pair pairs[PAIRS_MAX];
};

static int tcp_socket(void)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void add_pair(struct forward *f)
{
    struct sockaddr_in to = loopback(f->to_port);
    int client = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC), server = tcp_socket(), one = 1;
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        struct pair *p = &f->pairs[i];
        if (p->server >= 0)
            continue;
        if (connect(server, (struct sockaddr *)&to, sizeof to) < 0)
            break;
        *p = (struct pair){.client = client, .server = server};
        return;
    }
    close(client);
    close(server);
}

static void end_pair(struct pair *p)
{
    if (p->client >= 0)
        close(p->client);
    close(p->server);
    p->client = p->server = -1;
}

static bool pass(int to, const char *bytes, ssize_t n)
{
    while (n > 0) {
        ssize_t sent = send(to, bytes, (size_t)n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return false;
        bytes += sent;
        n -= sent;
    }
    return true;
}

/* Is this request the one? */
static bool is_marked(struct forward *f, struct pair *p)
{
    bool first = !p->asked;
    if (!p->connected)
        return false;
    p->asked = true;
    f->requests += first;
    if (f->cut == FORWARD_CUT_NEVER || (first && f->skip-- > 0))
        return false;
    return f->skip < 0;
}

static void from_client(struct forward *f, struct pair *p)
{
    char bytes[65536];
    ssize_t n = recv(p->client, bytes, sizeof bytes, 0);
    if (f->keep_back > 0 && n > f->keep_back) {
        n -= f->keep_back;
        f->kept = true;
    }
    if (n > 0 && is_marked(f, p) && f->cut == FORWARD_CUT_REQUEST) {
        f->has_cut = true;
        f->cut = FORWARD_CUT_NEVER;
        end_pair(p);
    } else if (n <= 0 || !pass(p->server, bytes, n)) {
        end_pair(p);
    }
}

static void from_server(struct forward *f, struct pair *p)
{
    static const char ready[] = "Z\0\0\0\5"; /* ReadyForQuery */
    char bytes[65536];
    ssize_t n = recv(p->server, bytes, sizeof bytes, 0);
    if (n <= 0) {
        end_pair(p);
        return;
    }
    bool ends = n >= 6 && memcmp(bytes + n - 6, ready, 5) == 0;
    bool drops = f->cut == FORWARD_CUT_ANSWER && p->asked && f->skip < 0;
    if (ends) {
        p->asked = false;
        p->connected = true;
    }
    if (drops && ends) {
        f->has_cut = true;
        f->cut = FORWARD_CUT_NEVER;
        end_pair(p);
    } else if (!drops && !pass(p->client, bytes, n)) {
        end_pair(p);
    }
}

static nfds_t fill(const struct forward *f, struct pollfd *fds, size_t *index)
{
    nfds_t n = 0;
    fds[n++] = (struct pollfd){.fd = f->wake, .events = POLLIN};
    fds[n++] = (struct pollfd){.fd = f->listener, .events = POLLIN};
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        const struct pair *p = &f->pairs[i];
        if (p->client < 0)
            continue;
        index[n / 2] = i;
        fds[n++] = (struct pollfd){.fd = f->kept ? -1 : p->client, .events = POLLIN};
        fds[n++] = (struct pollfd){.fd = f->stalls ? -1 : p->server, .events = POLLIN};
    }
    return n;
}

static void *work(void *arg)
{
    struct forward *f = arg;
    struct pollfd fds[2 + 2 * PAIRS_MAX];
    size_t index[PAIRS_MAX + 2];
    pthread_mutex_lock(&f->lock);
    while (!f->ends) {
        nfds_t n = fill(f, fds, index);
        eventfd_t count;
        pthread_mutex_unlock(&f->lock);
        poll(fds, n, -1);
        pthread_mutex_lock(&f->lock);
        if (fds[0].revents)
            eventfd_read(f->wake, &count);
        for (nfds_t k = 2; k < n; k += 2) {
            struct pair *p = &f->pairs[index[k / 2]];
            if (p->client >= 0 && fds[k].revents && !f->kept)
                from_client(f, p);
            if (p->client >= 0 && fds[k + 1].revents && !f->stalls)
                from_server(f, p);
        }
        if (fds[1].revents)
            add_pair(f);
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

struct forward *forward_start(int to_port)
{
    struct forward *f = calloc(1, sizeof *f);
    struct sockaddr_in any = loopback(0);
    socklen_t n = sizeof any;
    ck_assert_ptr_nonnull(f);
    for (size_t i = 0; i < PAIRS_MAX; i++)
        f->pairs[i].client = f->pairs[i].server = -1;
    f->to_port = to_port;
    f->listener = tcp_socket();
    f->wake = eventfd(0, EFD_CLOEXEC);
    ck_assert_int_eq(bind(f->listener, (struct sockaddr *)&any, sizeof any), 0);
    ck_assert_int_eq(listen(f->listener, 16), 0);
    ck_assert_int_eq(getsockname(f->listener, (struct sockaddr *)&any, &n), 0);
    f->port = ntohs(any.sin_port);
    pthread_mutex_init(&f->lock, NULL);
    ck_assert_int_eq(pthread_create(&f->thread, NULL, work, f), 0);
    return f;
}

static void wake_up(struct forward *f)
{
    pthread_mutex_unlock(&f->lock);
    eventfd_write(f->wake, 1);
}

void forward_stop(struct forward *f)
{
    pthread_mutex_lock(&f->lock);
    f->ends = true;
    wake_up(f);
    pthread_join(f->thread, NULL);
    for (size_t i = 0; i < PAIRS_MAX; i++)
        if (f->pairs[i].server >= 0)
            end_pair(&f->pairs[i]);
    close(f->listener);
    close(f->wake);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

int forward_port(const struct forward *f)
{
    return f->port;
}

void forward_stall(struct forward *f, bool stalls)
{
    pthread_mutex_lock(&f->lock);
    f->stalls = stalls;
    wake_up(f);
}

void forward_keep_back(struct forward *f, int bytes)
{
    pthread_mutex_lock(&f->lock);
    f->keep_back = bytes;
    f->kept &= bytes > 0;
    wake_up(f);
}

void forward_orphan(struct forward *f)
{
    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < PAIRS_MAX; i++)
        if (f->pairs[i].client >= 0) {
            close(f->pairs[i].client);
            f->pairs[i].client = -1;
        }
    wake_up(f);
}

void forward_cut(struct forward *f, enum forward_cut how, int skip)
{
    pthread_mutex_lock(&f->lock);
    f->cut = how;
    f->skip = skip;
    f->has_cut = false;
    wake_up(f);
}

int forward_requests(struct forward *f)
{
    pthread_mutex_lock(&f->lock);
    int n = f->requests;
    pthread_mutex_unlock(&f->lock);
    return n;
}

bool forward_has_cut(struct forward *f)
{
    pthread_mutex_lock(&f->lock);
    bool has = f->has_cut;
    pthread_mutex_unlock(&f->lock);
    return has;
}
