/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - pub-exec: what it is, its options, its life. */
#include "coprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static const char *const modes[] = {"message", "stream", NULL};

static const struct outbox_option options[] = {
    {"command", NULL, "The program and its arguments; no shell, no expansion.", NULL, 0, 0,
     OUTBOX_OPT_ARGV, OUTBOX_OPT_REQUIRED},
    {"mode", "message",
     "message: one process for each message; stream: one long-lived process, a co-process.", modes,
     0, 0, OUTBOX_OPT_CHOICE, 0},
    {"timeout", "10s", "How long one message may take; then its process group is killed.", NULL, 1,
     3600000, OUTBOX_OPT_DURATION, OUTBOX_OPT_BELOW_BATCH_TIMEOUT},
    {"concurrency", "1", "mode = message: how many processes run at once for each worker.", NULL, 1,
     64, OUTBOX_OPT_INT, 0},
    {"window", "100", "mode = stream: how many messages may be unanswered.", NULL, 1, 10000,
     OUTBOX_OPT_INT, 0},
    {"working_directory", NULL, "Where the program runs; default: where outboxd does.", NULL, 0, 0,
     OUTBOX_OPT_TEXT, 0},
    {"pass_env", NULL,
     "Environment variables that the program gets besides PATH, HOME, LANG, LC_ALL and TZ; it gets "
     "no others.",
     NULL, 0, 0, OUTBOX_OPT_LIST, 0},
};

static void close_exec(void *instance)
{
    struct exec *x = instance;
    if (!x)
        return;
    if (x->co)
        coprocess_finish(x);
    for (size_t i = 0; x->argv && x->argv[i]; i++)
        free(x->argv[i]);
    for (size_t i = 0; i < x->n_base_env; i++)
        free(x->base_env[i]);
    free(x->argv);
    free(x->base_env);
    free(x->directory);
    arena_free(&x->arena);
    if (x->null_fd >= 0)
        close(x->null_fd);
    free(x);
}

static int copy_command(struct exec *x, const struct outbox_cfg *cfg)
{
    size_t n = (size_t)x->host->option_count(cfg, "command");
    x->argv = calloc(n + 1, sizeof *x->argv);
    for (size_t i = 0; x->argv && i < n; i++)
        if (!(x->argv[i] = strdup(x->host->option_item(cfg, "command", i).p)))
            return OUTBOX_E_RETRY;
    return x->argv ? OUTBOX_OK : OUTBOX_E_RETRY;
}

static int check_names(const struct exec *x, const struct outbox_cfg *cfg, struct outbox_err *err)
{
    for (uint64_t i = 0; i < x->host->option_count(cfg, "pass_env"); i++) {
        const char *name = x->host->option_item(cfg, "pass_env", i).p;
        if (strncmp(name, "OUTBOX_", 7) == 0 || strchr(name, '='))
            return outbox_fail_option(
                err, "pass_env",
                "pass_env: `%.80s` cannot pass; names without `=` can, and those "
                "that begin with OUTBOX_ are ours",
                name);
    }
    return OUTBOX_OK;
}

/* With SIGCHLD ignored the kernel forgets how a program ended, and nothing would be known to be
 * accepted. */
static int check_children(struct outbox_err *err)
{
    struct sigaction now;
    if (sigaction(SIGCHLD, NULL, &now) == 0 &&
        (now.sa_handler == SIG_IGN || (now.sa_flags & SA_NOCLDWAIT)))
        return outbox_fail(
            err, OUTBOX_E_CONFIG,
            "this process ignores SIGCHLD, so that it cannot know how a program ended; "
            "set it to SIG_DFL, or to a handler without SA_NOCLDWAIT");
    return OUTBOX_OK;
}

static int open_exec(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                     struct outbox_err *err)
{
    struct exec *x = calloc(1, sizeof *x);
    if (!x)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    x->host = host;
    x->arena = (struct arena)ARENA_INIT(65536);
    x->timeout_ms = host->option_int(cfg, "timeout");
    x->concurrency = (uint32_t)host->option_int(cfg, "concurrency");
    x->window = (uint32_t)host->option_int(cfg, "window");
    x->reply_interval_us = -1;
    x->stream_mode = strcmp(host->option_text(cfg, "mode").p, "stream") == 0;
    x->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct outbox_str directory = host->option_text(cfg, "working_directory");
    int r = check_names(x, cfg, err);
    if (r == 0)
        r = check_children(err);
    if (r == 0 && x->null_fd < 0)
        r = outbox_fail(err, OUTBOX_E_RETRY, "/dev/null: %s", strerror(errno));
    if (r == 0 && (copy_command(x, cfg) < 0 || environment_base(x, cfg) < 0 ||
                   (directory.p && !(x->directory = strdup(directory.p)))))
        r = outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    if (r < 0)
        close_exec(x);
    else
        *ret = x;
    return r;
}

static uint64_t capabilities(void *instance)
{
    const struct exec *x = instance;
    if (x->stream_mode)
        return OUTBOX_PUB_KEEPS_ORDER | OUTBOX_PUB_KEEPALIVE;
    return x->concurrency == 1 ? OUTBOX_PUB_KEEPS_ORDER : 0;
}

static bool may_run(const char *file)
{
    return access(file, X_OK) == 0;
}

static bool is_on_noexec(const char *file)
{
    struct statvfs fs;
    return statvfs(file, &fs) == 0 && (fs.f_flag & ST_NOEXEC);
}

/* In a folder of PATH; an empty one is the program's own working directory, as is what begins with
 * no slash. */
static bool is_such(const struct exec *x, bool (*such)(const char *file), const char *folder,
                    size_t n, const char *name)
{
    char file[4096];
    bool own = n > 0 ? folder[0] != '/' : name[0] != '/';
    const char *directory = own && x->directory ? x->directory : "";
    int len = snprintf(file, sizeof file, "%s%s%.*s%s%s", directory, *directory ? "/" : "", (int)n,
                       folder, n > 0 ? "/" : "", name);
    return len > 0 && (size_t)len < sizeof file && such(file);
}

/* Is there such a program where posix_spawnp will search for it? */
static bool search(const struct exec *x, bool (*such)(const char *file))
{
    const char *name = x->argv[0], *path = getenv("PATH");
    if (strchr(name, '/'))
        return is_such(x, such, "", 0, name);
    if (!path)
        path = "/bin:/usr/bin"; /* as glibc */
    for (size_t n;; path += n + 1) {
        n = strcspn(path, ":");
        if (is_such(x, such, path, n, name))
            return true;
        if (path[n] == '\0')
            return false;
    }
}

const char *exec_hint(const struct exec *x)
{
    return search(x, may_run) || !search(x, is_on_noexec)
               ? ""
               : "; nothing may run there (noexec), under systemd until the drop-in "
                 "exec-publisher.conf is installed";
}

static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    const struct exec *x = instance;
    struct stat st;
    (void)call;
    if (x->directory && (stat(x->directory, &st) < 0 || !S_ISDIR(st.st_mode)))
        return outbox_fail_option(err, "working_directory",
                                  "working_directory %.200s is not there or is no folder",
                                  x->directory);
    if (!search(x, may_run))
        return outbox_fail_option(err, "command",
                                  "command: %.200s is not there, or this user may not run it%s",
                                  x->argv[0], exec_hint(x));
    return OUTBOX_OK;
}

/* Writing to a pipe without a reader must not kill the host, whatever it does about SIGPIPE: the
 * signal is blocked meanwhile, and taken if it came by us. */
static int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    struct exec *x = instance;
    sigset_t sigpipe, before, pending;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
    arena_reset(&x->arena);
    int r = x->stream_mode ? stream_mode_publish(x, msgs, n, call, outcomes, err)
                           : message_mode_publish(x, msgs, n, call, outcomes, err);
    if (!was_pending)
        sigtimedwait(&sigpipe, NULL, &(struct timespec){0, 0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_exec,
    .close = close_exec,
    .capabilities = capabilities,
    .check = check,
    .publish = publish,
    .keepalive = stream_mode_keepalive,
};

OUTBOX_DEFINE_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "exec", PACKAGE_VERSION,
                     "Gives messages to a program: one process for each, or one that stays.", NULL,
                     ops, options)
