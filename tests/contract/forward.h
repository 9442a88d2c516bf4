/* SPDX-License-Identifier: Apache-2.0 */
/* forward.h - a TCP forwarder between a client and a PostgreSQL server of this machine, which can
 * stop passing answers on, or cut the line at a chosen moment. */
#pragma once

#include <stdbool.h>

struct forward;

/* In a thread of its own. Ends the case when it cannot. */
struct forward *forward_start(int to_port);
void forward_stop(struct forward *f);
int forward_port(const struct forward *f);

/* While it stalls nothing comes from the server; what clients say arrives. */
void forward_stall(struct forward *f, bool stalls);

/* The next request arrives without its last bytes, and nothing after it. 0: all passes again. */
void forward_keep_back(struct forward *f, int bytes);
/* Hangs up on all clients; the server does not notice. */
void forward_orphan(struct forward *f);

enum forward_cut {
    FORWARD_CUT_NEVER,
    FORWARD_CUT_REQUEST, /* the server never sees it, the client no answer */
    FORWARD_CUT_ANSWER,  /* the server has done it, the client sees no answer */
};
/* Cuts the connection at the request after `skip` more of them; logging in is none. */
void forward_cut(struct forward *f, enum forward_cut how, int skip);
/* Requests so far, each up to its answer: round trips. */
int forward_requests(struct forward *f);
/* Has it happened? */
bool forward_has_cut(struct forward *f);
