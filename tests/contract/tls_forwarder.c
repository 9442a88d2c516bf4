/* SPDX-License-Identifier: Apache-2.0 */
#include "tls_forwarder.h"

#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* Both ways until one side ends; blocking writes, since a test's data is what it waits for. */
static void pass_on(struct forwarder *f, SSL *ssl, int client_fd, int broker_fd)
{
    char data[16384];
    for (;;) {
        bool deaf = f->deaf;
        struct pollfd fds[] = {{.fd = deaf ? -1 : client_fd, .events = POLLIN},
                               {.fd = broker_fd, .events = POLLIN},
                               {.fd = f->quit_fd, .events = POLLIN}};
        if (!SSL_pending(ssl) && poll(fds, 3, 50) < 0)
            return;
        if (fds[2].revents)
            return;
        if (!deaf && (SSL_pending(ssl) || fds[0].revents)) {
            int n = SSL_read(ssl, data, sizeof data);
            if (n <= 0 || send(broker_fd, data, (size_t)n, MSG_NOSIGNAL) != n)
                return;
        }
        if (fds[1].revents) {
            ssize_t n = recv(broker_fd, data, sizeof data, 0);
            if (n <= 0 || SSL_write(ssl, data, (int)n) <= 0)
                return;
        }
    }
}

static void serve(struct forwarder *f, int client_fd)
{
    struct sockaddr_in address = loopback(f->to_port);
    SSL *ssl = SSL_new(f->ctx);
    int broker_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SSL_set_fd(ssl, client_fd);
    if (SSL_accept(ssl) == 1) {
        f->handshakes++;
        if (connect(broker_fd, (struct sockaddr *)&address, sizeof address) == 0)
            pass_on(f, ssl, client_fd, broker_fd);
    }
    close(broker_fd);
    SSL_free(ssl);
}

static void *run(void *arg)
{
    struct forwarder *f = arg;
    struct pollfd fds[] = {{.fd = f->listen_fd, .events = POLLIN},
                           {.fd = f->quit_fd, .events = POLLIN}};
    while (poll(fds, 2, -1) >= 0 && !fds[1].revents) {
        int fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        serve(f, fd);
        close(fd);
    }
    return NULL;
}

void forwarder_start(struct forwarder *f, const char *name, uint16_t to_port)
{
    struct sockaddr_in address = loopback(0);
    socklen_t n = sizeof address;
    char cert[512], key[512];
    snprintf(cert, sizeof cert, "%s/%s.pem", getenv("OUTBOX_TEST_TLS"), name);
    snprintf(key, sizeof key, "%s/%s.key", getenv("OUTBOX_TEST_TLS"), name);
    f->to_port = to_port;
    f->ctx = SSL_CTX_new(TLS_server_method());
    ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(f->ctx, cert), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(f->ctx, key, SSL_FILETYPE_PEM), 1);
    f->quit_fd = eventfd(0, EFD_CLOEXEC);
    f->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(f->listen_fd, (struct sockaddr *)&address, n), 0);
    ck_assert_int_eq(listen(f->listen_fd, 10), 0);
    ck_assert_int_eq(getsockname(f->listen_fd, (struct sockaddr *)&address, &n), 0);
    f->port = ntohs(address.sin_port);
    ck_assert_int_eq(pthread_create(&f->thread, NULL, run, f), 0);
}

void forwarder_stop(struct forwarder *f)
{
    uint64_t one = 1;
    if (write(f->quit_fd, &one, sizeof one) < 0)
        abort();
    pthread_join(f->thread, NULL);
    close(f->listen_fd);
    close(f->quit_fd);
    SSL_CTX_free(f->ctx);
}
