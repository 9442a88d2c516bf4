/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/crash.h"

#include "common/signals.h"
#include "plugin/checked.h"
#include "plugin/current_call.h"
#include "plugin/instance.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

/* A line that is made without malloc or stdio, which may be what crashed. */
struct line {
    char text[512];
    size_t n;
};

static void add(struct line *line, const char *text)
{
    size_t n = strlen(text), room = sizeof line->text - line->n;
    if (n > room)
        n = room;
    memcpy(line->text + line->n, text, n);
    line->n += n;
}

static const char *name_of(int signal)
{
    return signal == SIGSEGV  ? "SIGSEGV"
           : signal == SIGBUS ? "SIGBUS"
           : signal == SIGFPE ? "SIGFPE"
           : signal == SIGILL ? "SIGILL"
                              : "SIGABRT";
}

/* The call's thread is this one, so that nothing of it changes meanwhile. */
static void add_place(struct line *line)
{
    const struct current_call *call = current_call_here();
    if (!call) {
        add(line, "in a thread of a plugin or library");
    } else if (!call->instance) {
        add(line, "in no plugin's call");
    } else {
        const struct outbox_plugin *plugin = &call->instance->plugin->desc;
        add(line, "in ");
        add(line, call->instance->label);
        add(line, " (");
        add(line, descriptor_kind_prefix(plugin->kind));
        add(line, "-");
        add(line, plugin->name);
        add(line, ".so) ");
        add(line, call->operation);
    }
}

/* What check_plugins knows of the address that was touched. */
static void add_rule(struct line *line, int signal, const siginfo_t *info)
{
    const struct current_call *call = current_call_here();
    const char *rule = NULL;
    if (call && call->instance && (signal == SIGSEGV || signal == SIGBUS))
        rule = checked_rule_at(call->instance->plugin, info->si_addr);
    if (rule) {
        add(line, ", which broke the rule ");
        add(line, rule);
        add(line, " of plugins");
    }
}

/* The signal gets its default action on return. One that somebody else sent is no crash. Of several
 * threads that crash at the same time the first one tells, and the others wait for its end. */
static void tell(int signal, siginfo_t *info, void *context)
{
    static atomic_flag tells = ATOMIC_FLAG_INIT;
    const struct sigaction once = {.sa_handler = SIG_DFL};
    struct line line = {.n = 0};
    (void)context;
    while (atomic_flag_test_and_set(&tells))
        pause();
    if (info->si_code > 0 || (info->si_code == SI_TKILL && info->si_pid == getpid())) {
        add(&line, "outboxd: crashed ");
        add_place(&line);
        add(&line, ", by ");
        add(&line, name_of(signal));
        add_rule(&line, signal, info);
        add(&line, "\n");
        if (write(STDERR_FILENO, line.text, line.n) < 0)
            line.n = 0; /* there is nobody to tell */
    }
    sigaction(signal, &once, NULL);
    raise(signal);
}

#ifndef EXIT_HANDLERS
static void set_faults(const struct sigaction *action)
{
    static const int faults[] = SIGNALS_FAULTS;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigaction(faults[i], action, NULL);
}
#endif

void crash_install(void)
{
    /* All are blocked in the handler, where another fault ends the process at once. */
    struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigfillset(&action.sa_mask);
#ifndef EXIT_HANDLERS /* sanitizers tell more */
    set_faults(&action);
#endif
}

void crash_uninstall(void)
{
    const struct sigaction action = {.sa_handler = SIG_DFL};
#ifndef EXIT_HANDLERS
    set_faults(&action);
#else
    (void)action;
#endif
}
