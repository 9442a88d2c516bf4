/* SPDX-License-Identifier: Apache-2.0 */
#include "own_servers.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static char script[512];
static pid_t owner;

/* Both may be NULL; what it prints goes to `out` unless that is -1. */
static void run(const char *command, const char *service, int out)
{
    char *const argv[] = {script, (char *)command, (char *)service, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = -1;
    posix_spawn_file_actions_init(&actions);
    if (out >= 0)
        posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (posix_spawn(&pid, script, &actions, NULL, argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "%s %s failed\n", script, command);
        exit(EXIT_FAILURE);
    }
    posix_spawn_file_actions_destroy(&actions);
}

/* Of this process, not of the cases that it forks. */
static void stop_all(void)
{
    if (getpid() == owner)
        run("stop", NULL, -1);
}

/* Sets the variables that `env` prints: export NAME=VALUE or NAME='VALUE', a line each. */
static void read_env(void)
{
    char line[512], name[64], value[400];
    FILE *f = tmpfile();
    if (!f)
        exit(EXIT_FAILURE);
    run("env", NULL, fileno(f));
    rewind(f);
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "export %63[A-Z_]='%399[^']", name, value) == 2 ||
            sscanf(line, "export %63[A-Z_]=%399[^\n]", name, value) == 2)
            setenv(name, value, 1);
    fclose(f);
}

void own_servers_start(const char *service)
{
    char folder[64];
    snprintf(script, sizeof script, "%s/scripts/services.sh", getenv("OUTBOX_TEST_SRCDIR"));
    owner = getpid();
    snprintf(folder, sizeof folder, "/var/tmp/outbox-servers-%ld", (long)owner);
    setenv("OUTBOX_SERVICES_DIR", folder, 1);
    atexit(stop_all);
    run("start", service, -1);
    read_env();
}

void own_servers(const char *command, const char *service)
{
    run(command, service, -1);
}
