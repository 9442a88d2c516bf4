/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.c SOCKET FILE - the server that the tests publish to. It appends the id of each message
 * to FILE, between newlines, and answers when that is on the disk: a server that is killed may
 * leave half an id, to which the next one must not be added. Messages of the topics later, retry
 * and never are not taken. TOKEN in the environment is what a login must bring.
 */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char *answer_to(const char *topic, int file, const char *line, size_t n)
{
    if (strcmp(topic, "later") == 0)
        return "later 200\n";
    if (strcmp(topic, "retry") == 0)
        return "retry it did not work\n";
    if (strcmp(topic, "never") == 0)
        return "never of this topic\n";
    return write(file, line, n) == (ssize_t)n && fdatasync(file) == 0 ? "ok\n" : "retry no room\n";
}

/* 1: answered; 0: the client speaks another protocol, or is gone. */
static int put(FILE *in, FILE *out, int file)
{
    unsigned long long n_id, n_topic, n_payload;
    char line[1024] = "\n", topic[1024] = "";
    if (fscanf(in, "%llu %llu %llu", &n_id, &n_topic, &n_payload) != 3 || getc(in) != '\n' ||
        n_id > sizeof line - 2 || n_topic >= sizeof topic)
        return 0;
    if (fread(line + 1, 1, n_id, in) != n_id || fread(topic, 1, n_topic, in) != n_topic)
        return 0;
    line[n_id + 1] = '\n';
    for (; n_payload > 0; n_payload--)
        if (getc(in) == EOF)
            return 0;
    fputs(answer_to(topic, file, line, n_id + 2), out);
    return fflush(out) == 0;
}

static void serve(int connection, int file)
{
    FILE *in = fdopen(connection, "r"), *out = fdopen(dup(connection), "w");
    char line[512], wanted[512];
    snprintf(wanted, sizeof wanted, "login %s\n", getenv("TOKEN") ? getenv("TOKEN") : "");
    if (!in || !out || !fgets(line, sizeof line, in))
        return;
    fputs(strcmp(line, wanted) == 0 ? "ok\n" : "refused wrong token\n", out);
    fflush(out);
    while (fscanf(in, "put") == 0 && put(in, out, file))
        ;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    int file = argc == 3 ? open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path)
        return 2;
    memcpy(address.sun_path, argv[1], strlen(argv[1]) + 1);
    signal(SIGCHLD, SIG_IGN);
    setpgid(0, 0); /* one signal ends it with its children */
    unlink(argv[1]);
    if (file < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 64) < 0) {
        perror(argv[1]);
        return 1;
    }
    puts("listening");
    fflush(stdout);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection >= 0 && fork() == 0) {
            close(listener);
            serve(connection, file);
            _exit(0);
        }
        close(connection);
    }
}
