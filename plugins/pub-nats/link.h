/* SPDX-License-Identifier: Apache-2.0 */
/*
 * link.h - what the threads of the library leave for ours. One for each connection; it lives until
 * all of them have let go of it.
 *
 * The connection runs in the library's event loop form, and our thread is the loop: it alone reads,
 * writes and closes, so that nobody else touches the TLS session. The library hands messages to a
 * thread of its own, and tells errors from another one.
 */
#pragma once

#include <nats/nats.h>
#include <pthread.h>
#include <stdint.h>

#define LINK_ANSWER 0 /* a message to our inbox */
#define LINK_ERROR 1  /* what the server complains about, in `text` */

/* What has come in. */
struct answer {
    int kind;
    int none;       /* nobody is there to answer */
    char token[32]; /* what stands behind the inbox */
    char *text;     /* the payload, or the complaint; NUL-terminated, freed by link_clear */
};

struct answers {
    struct answer *items;
    size_t n, room;
};

struct link {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t inbox_n; /* how long the inbox with its dot is */
    pthread_t guard;
    int is_guarded;
    int64_t limit_ns;
    /* under the lock */
    int refs;
    int wake_fd; /* the client's; -1: nobody is interested any more */
    int fd;      /* the socket; -1: there is none */
    int wants_write;
    int is_woken;    /* our thread, because of `answers` */
    int is_shut;     /* by the guard */
    int64_t busy_ns; /* since when our thread has been in the library; 0: it is not */
    struct answers answers;
};

struct link *link_new(size_t inbox_n, int wake_fd);
void link_ref(struct link *link);
void link_unref(struct link *link);
/* The client is not interested any more. */
void link_leave(struct link *link);
/* Sets what the library calls. Each has a reference that the end of the connection and
 * link_on_complete give back. */
natsStatus link_set_options(struct link *link, natsOptions *opts);
void link_on_message(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *closure);
void link_on_complete(void *closure);
/* Takes what has come in; for link_clear. */
struct answers link_take(struct link *link);
void link_clear(struct answers *answers);
/* The socket, and whether something is to be written. */
int link_fd(struct link *link, int *ret_wants_write);
/* Around calls that read or write: a TLS session may wait there, for the rest of a record, without
 * a limit. The guard ends the connection then. */
void link_busy(struct link *link, int is_busy);
/* Starts the guard. limit_us: how long such a call may take. 0, or an errno. */
int link_guard(struct link *link, int64_t limit_us);
/* Whether the guard has ended the connection. */
int link_is_shut(struct link *link);
