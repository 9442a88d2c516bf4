/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - measures the limit of mode = message: a loop starts a program N times, writes 256 bytes
 * to each and waits for its end, CONCURRENCY at a time. spawn N CONCURRENCY PROGRAM
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void start(char *program)
{
    static const char payload[256] = "payload";
    posix_spawn_file_actions_t actions;
    char *args[] = {program, NULL};
    int fds[2];
    pid_t pid;
    /* The payload is written first, because the program may end without reading it. */
    if (pipe2(fds, O_CLOEXEC) < 0 || write(fds[1], payload, sizeof payload) < 0)
        exit(1);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[0], 0);
    if (posix_spawn(&pid, program, &actions, NULL, args, environ) != 0)
        exit(1);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[0]);
    close(fds[1]);
}

int main(int argc, char **argv)
{
    int status;
    if (argc != 4)
        return 2;
    long n = strtol(argv[1], NULL, 10), most = strtol(argv[2], NULL, 10), running = 0;
    for (long started = 0; started < n || running > 0;) {
        while (started < n && running < most) {
            start(argv[3]);
            started++;
            running++;
        }
        if (wait(&status) < 0 || status != 0)
            return 1;
        running--;
    }
    printf("%ld\n", n);
    return 0;
}
