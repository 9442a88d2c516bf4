/* SPDX-License-Identifier: Apache-2.0 */
/*
 * control.h - the socket by which `outboxd reload` asks a running relay to read its file again.
 *
 * It is abstract, so that nothing is left behind: its name is made of the user's number, a hash of
 * the file's place (the folder resolved, the file's own name not, so that a link that is switched
 * stays the same file) and a number for relays of one file. Connecting is the request; the answers
 * are packets, each a letter and a text. Both sides look at the other's user.
 */
#pragma once

#include <outbox/abi.h>

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CONTROL_PACKET_MAX 2048
/* Relays of one file and user. */
#define CONTROL_RELAYS_MAX 16

/* The letters of packets. */
enum control_kind {
    CONTROL_RELAY = 'r',   /* the name of the relay */
    CONTROL_CHANGE = '+',  /* a line about what is different now, or is not */
    CONTROL_MISTAKE = 'm', /* a mistake of the file, FILE:LINE: text */
    CONTROL_FAILURE = 'x', /* why it failed otherwise */
    CONTROL_DONE = 'd',    /* the last one: the exit code as a digit */
};

/* Listens for requests; -1 with *err. */
int control_listen(const char *file, struct outbox_err *err);
/* A connection of our own user or of root; -1: none. */
int control_accept(int listening);
/* Never waits; false: the other side does not take it. */
bool control_send(int fd, enum control_kind kind, const char *text);

struct control_peer {
    int fd;
    pid_t pid;
    uid_t uid;
};

/*
 * Connects to every relay of this file: of our own user, or of any user if we are root. Returns how
 * many of `peers` (CONTROL_RELAYS_MAX) it filled, or a negative class with *err.
 */
int control_connect(const char *file, struct control_peer *peers, struct outbox_err *err);
/* Waits for the next packet, at most ms (-1: for ever). The letter, 0: the other side has closed
 * the connection, -1: the time is over. */
int control_receive(int fd, int64_t ms, char text[CONTROL_PACKET_MAX]);
