/* SPDX-License-Identifier: Apache-2.0 */
#include "plugin/checked_state.h"

#include "base/hash.h"
#include "plugin/checked.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static uint64_t hash_environment(void)
{
    uint64_t hash = HASH_START;
    for (char **e = environ; e && *e; e++)
        hash = hash_text(hash, *e);
    return hash;
}

/* umask(2) could only be read by changing it, which other threads would see. */
static unsigned read_umask(void)
{
    char text[512];
    unsigned mask = 0;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    const char *line = strstr(text, "\nUmask:");
    if (line)
        sscanf(line, "\nUmask: %o", &mask);
    return mask;
}

static int64_t bytes_in(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? st.st_size : 0;
}

static void read_signals(struct checked_state *state)
{
    pthread_sigmask(SIG_SETMASK, NULL, &state->mask);
    for (int i = 1; i <= CHECKED_SIGNALS; i++) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        if (sigaction(i, NULL, &action) < 0)
            continue;
        state->signals[i].handler = action.sa_handler; /* of the same size as sa_sigaction */
        state->signals[i].flags = action.sa_flags;
    }
}

void checked_state_read(struct checked_state *state, bool alone)
{
    struct stat st;
    memset(state, 0, sizeof *state);
    read_signals(state);
    const char *name = setlocale(LC_ALL, NULL);
    snprintf(state->locale, sizeof state->locale, "%s", name ? name : "");
    state->thread_locale = uselocale((locale_t)0);
    if (stat(".", &st) == 0) {
        state->device = st.st_dev;
        state->directory = st.st_ino;
    }
    state->environment = hash_environment();
    state->umask = read_umask();
    state->alone = alone;
    if (alone) {
        fflush(stdout);
        fflush(stderr);
        state->printed[1] = bytes_in(STDOUT_FILENO);
        state->printed[2] = bytes_in(STDERR_FILENO);
    }
}

/* What belongs to the process: whoever runs beside the call may have changed it. */
static void __attribute__((format(printf, 5, 6)))
found_shared(const struct checked_state *before, checked_found_fn found, void *ctx,
             const char *rule, const char *fmt, ...)
{
    char what[700];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(what, sizeof what - 64, fmt, ap);
    va_end(ap);
    if (!before->alone && n > 0)
        snprintf(what + strlen(what), 64, " (if no other thread did that)");
    found(ctx, rule, what);
}

static void compare_signals(const struct checked_state *before, const struct checked_state *now,
                            checked_found_fn found, void *ctx)
{
    char what[96];
    for (int i = 1; i <= CHECKED_SIGNALS; i++)
        if (sigismember(&before->mask, i) != sigismember(&now->mask, i)) {
            snprintf(what, sizeof what, "signal %d is %s", i,
                     sigismember(&now->mask, i) ? "blocked now" : "no longer blocked");
            found(ctx, "signal-mask", what);
            pthread_sigmask(SIG_SETMASK, &before->mask, NULL);
            break;
        }
    for (int i = 1; i <= CHECKED_SIGNALS; i++)
        if (before->signals[i].handler != now->signals[i].handler ||
            before->signals[i].flags != now->signals[i].flags) {
            found_shared(before, found, ctx, "signal-handler", "signal %d is handled otherwise now",
                         i);
            break;
        }
}

void checked_state_compare(const struct checked_state *before, checked_found_fn found, void *ctx)
{
    struct checked_state now;
    checked_state_read(&now, before->alone);
    compare_signals(before, &now, found, ctx);
    if (strcmp(before->locale, now.locale) != 0)
        found_shared(before, found, ctx, "locale", "the locale was `%s` and is `%s`",
                     before->locale, now.locale);
    else if (before->thread_locale != now.thread_locale)
        found(ctx, "locale", "the thread's locale is another one now");
    if (before->device != now.device || before->directory != now.directory)
        found_shared(before, found, ctx, "directory", "the working directory is another one now");
    if (before->environment != now.environment)
        found_shared(before, found, ctx, "environment", "the environment variables are others now");
    if (before->umask != now.umask)
        found_shared(before, found, ctx, "umask", "the umask was %03o and is %03o", before->umask,
                     now.umask);
    if (before->printed[1] != now.printed[1])
        found(ctx, "writes-stdout", "it printed to standard output");
    if (before->printed[2] != now.printed[2])
        found(ctx, "writes-stderr", "it printed to standard error");
}

/* ---- counts ---- */

static int count_entries(const char *path)
{
    int n = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return -1;
    for (struct dirent *entry; (entry = readdir(dir));)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

int checked_descriptors(void)
{
    int n = count_entries("/proc/self/fd");
    return n < 0 ? n : n - 1; /* that of the folder */
}

int checked_threads(void)
{
    return count_entries("/proc/self/task");
}
