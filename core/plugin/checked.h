/* SPDX-License-Identifier: Apache-2.0 */
/*
 * checked.h - a layer between host and plugin that looks whether the plugin keeps the rules of the
 * ABI: for `[relay] check_plugins = yes`, and for outbox-conform.
 *
 * It is a plugin itself, with the descriptor of the one it watches. What it lends to that one are
 * copies, in pages that are taken away afterwards. Its instances must be opened by instance_open. A
 * call takes some tenths of a millisecond more, and 5 us for each message; with CHECKER_ALONE 100
 * us, as each text and struct has pages of its own then, instead of those of the first messages.
 */
#pragma once

#include "plugin/plugin.h"

#include <stdbool.h>
#include <stdint.h>

/* How much later than timeout_ms a call may return, and how long `open` may take. */
#define CHECKED_LATE_MS 250
#define CHECKED_OPEN_MS 1000

/*
 * The rules, by short names that stay as they are.
 *
 * Of every operation:
 *   result-positive    the result is neither OUTBOX_OK nor negative
 *   cancelled-unasked  OUTBOX_E_CANCELLED, but the host did not cancel
 *   error-text         the text of an error is missing, without its NUL, several lines, or shows a
 *                      secret; or its code is not the result
 *   unset-ret          OUTBOX_OK, but *ret is not set
 *   late-return        it returned more than CHECKED_LATE_MS after timeout_ms
 *   writes-beyond      it wrote behind an array or a struct of the host
 *   changes-messages   it changed what it had borrowed (messages, headers, the call)
 *   reads-cancel-fd, closes-cancel-fd
 *   signal-mask, signal-handler, locale, directory, environment, umask: changed during the call.
 *                      All but the mask are the process's: where other threads run it may have been
 *                      one of them.
 *   logs-after-close   it used its host after close
 * Of open and close:
 *   slow-open          open took more than CHECKED_OPEN_MS
 *   slow-close         close took more than OUTBOX_CLOSE_MS and CHECKED_LATE_MS
 * Of publishers:
 *   outcome-number     an outcome (of a store: an element of settled) that the ABI does not have
 *   reason-memory      a reason is not readable, or changed before the next call
 *   collects-unknown   collect handed out what was never submitted, or twice
 *   collects-late      a submitted message had no outcome CHECKED_LATE_MS after its time
 *   writes-early       an outcome was written outside collect
 * Of stores:
 *   batch-limit, batch-bytes, batch-order, batch-message (one that lacks what it must have)
 *   batch-changed      a message changed before its batch was released
 * Of rules:
 *   decision-changes   the same message got two decisions; the layer asks twice
 *   decision-memory    a decision's names are not readable
 *   slow-route         route took more than CHECKED_LATE_MS
 * With CHECKER_ALONE only:
 *   leaks-descriptors, leaks-threads: more after close than before open
 *   writes-stdout, writes-stderr: if these are files (memfd_create), which the host gives them
 *
 * These end the process, by a fault at an address for which checked_rule_at has the name:
 *   borrowed-memory    it used what it had borrowed for a call after that call
 *   reads-past         it read or wrote beyond the end of what it has borrowed
 * `never-returns` and `crashes-in-close` are for whoever has a deadline or reaps the process.
 */

/* Nobody else in the process opens descriptors, starts threads or prints: they are counted. */
#define CHECKER_ALONE 1u

/* Who wants to know. The caller owns it; it is copied. */
struct checker {
    /* Any thread. NULL: logged as an error through the host, once for each instance, operation and
     * rule, then at growing intervals. */
    void (*report)(void *ctx, const char *instance, const char *operation, const char *rule,
                   const char *what);
    /* Has the host cancelled the call that is being made? NULL: what cancel_fd shows. */
    bool (*is_cancelled)(void *ctx);
    void *ctx;
    uint32_t flags; /* CHECKER_ */
};

/* `checker` NULL: as one that is all 0. OUTBOX_E_RETRY without memory. `inner` must outlive it. */
int checked_plugin_new(const struct plugin *inner, const struct checker *checker,
                       const struct plugin **ret);
void checked_plugin_free(const struct plugin *checked); /* no instance is open; NULL is allowed */

/* For a handler of SIGSEGV and SIGBUS: the rule that is broken by who touches this address, or
 * NULL; and the operation that was begun last and has not returned, or NULL. NULL for a plugin that
 * is no layer, too. Async-signal-safe. */
const char *checked_rule_at(const struct plugin *plugin, const void *address);
const char *checked_operation(const struct plugin *plugin);

/* How many descriptors and threads the process has; -1: /proc does not tell. */
int checked_descriptors(void);
int checked_threads(void);
