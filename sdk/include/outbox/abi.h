/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/abi.h - what every outboxd plugin shares with its host.
 *
 * The host is the program that loads the plugin: the daemon outboxd, a program that
 * uses liboutbox, or a test.
 *
 * This is a DRAFT of ABI 1: it may change until NEWS says that it is frozen. These
 * rules hold already:
 *
 *  - A plugin exports one function, outbox_plugin_v1, which returns a constant
 *    descriptor. The major version is part of its name. A plugin uses no symbol of
 *    its host.
 *  - Every struct that crosses the boundary begins with `size`. Whoever fills the
 *    struct sets it. A struct only grows at its end. Structs marked FROZEN have no
 *    size and never change. Read a field that was added later only through
 *    OUTBOX_HAS().
 *  - A callback never changes its signature, meaning, or default.
 *  - Integers have a fixed width. Times are int64_t, microseconds since 1970-01-01
 *    UTC (suffix _us). Time-outs and delays are milliseconds (suffix _ms). Lengths
 *    are uint64_t.
 *  - Neither side frees what the other side allocated. A callee borrows its inputs
 *    for the call.
 *  - Calls on one instance never overlap, but the calling thread may change.
 *    Several instances of one plugin run at the same time.
 *  - A plugin never writes to stdout or stderr, never installs a signal handler, and
 *    never changes the working directory, locale, environment, umask or signal mask.
 *  - Signals: the threads of a relay that call a plugin block all but those of a fault
 *    (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT). The daemon ignores SIGPIPE, other hosts
 *    may not: a plugin sends with MSG_NOSIGNAL.
 *  - Threads: a plugin may start some, from `open` or `shared_open` on. It blocks the same
 *    signals in them, and ends them before `close` or `shared_close` returns. They call
 *    nothing of the host but the functions of struct outbox_host. A thread that hangs in
 *    a library may stay behind if it uses nothing of the instance or the host any more.
 *  - Processes: a plugin may start programs (posix_spawn, or fork and at once exec). It
 *    reaps only its own children, by their process ids.
 *  - Descriptors: a plugin opens them close-on-exec. It sets the flag afterwards where a
 *    library does not.
 *  - The host never unloads a module. The process may end without its destructors.
 *  - A host takes it as a failure of the call, names the plugin in its log, and pauses the
 *    instance with growing pauses, when the plugin breaks one of these rules: a result is
 *    OUTBOX_OK or negative; OUTBOX_E_CANCELLED is returned only if the host cancelled;
 *    numbers that a plugin sets (outcomes, verdicts) are numbers of these headers; what
 *    OUTBOX_OK promises is there. It names, too, a call that lasts for seconds beyond its
 *    time, and one that changes which signals its thread blocks.
 *    `[relay] check_plugins = yes`, and the program outbox-conform, look for more.
 */
#ifndef OUTBOX_ABI_H
#define OUTBOX_ABI_H

#include <stddef.h>
#include <stdint.h>

/* What both languages take without a warning. */
#ifdef __cplusplus
#define OUTBOX_CAST(type, value) static_cast<type>(value)
#define OUTBOX_ADDRESS(p) reinterpret_cast<const char *>(p)
#define OUTBOX_NULL nullptr
#else
#define OUTBOX_CAST(type, value) ((type)(value))
#define OUTBOX_ADDRESS(p) ((const char *)(p))
#define OUTBOX_NULL NULL
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** The version of the ABI that these headers describe. */
#define OUTBOX_ABI_MAJOR 1
#define OUTBOX_ABI_MINOR 0

/** The kind of a plugin. Its file is store-NAME.so, pub-NAME.so or rule-NAME.so. */
#define OUTBOX_KIND_STORE 1u
#define OUTBOX_KIND_PUBLISHER 2u
#define OUTBOX_KIND_RULE 3u

/**
 * The result of a call that can fail: OUTBOX_OK or one of these classes. A host treats a
 * negative result that it does not know as OUTBOX_E_RETRY, and a positive one as a defect of
 * the plugin (see above). The reason in words, for people, is in struct outbox_err.
 */
#define OUTBOX_OK 0
#define OUTBOX_E_RETRY (-1)     /* the same call may succeed later; also: out of memory */
#define OUTBOX_E_CONFIG (-2)    /* a person must act: wrong option, missing table, refused login */
#define OUTBOX_E_BROKEN (-3)    /* this instance cannot recover: close it and open another one */
#define OUTBOX_E_TIMEOUT (-4)   /* timeout_ms passed */
#define OUTBOX_E_CANCELLED (-5) /* the host cancelled the call through cancel_fd */
#define OUTBOX_E_NOTSUP (-6)    /* this plugin or this instance does not support the call */
#define OUTBOX_E_FULL (-7)      /* no room for one more instance, while others of it work */
#define OUTBOX_E_EXISTS (-8)    /* save: a message with this id is there already */

/**
 * Words of bits (capabilities, flags of options) have two halves. A bit in the lower half is
 * critical: a host that does not know it refuses the plugin, since the bit changes what the
 * host must do. A bit in the upper half is a hint, which an older host ignores.
 */
#define OUTBOX_CRITICAL_FLAGS 0x0000ffffu                         /* of uint32_t flags */
#define OUTBOX_CRITICAL_CAPABILITIES UINT64_C(0x00000000ffffffff) /* of uint64_t capabilities */

/** Is this field within the size that the filler of the struct *p has set? */
#define OUTBOX_HAS(p, field)                                                                      \
    (OUTBOX_CAST(size_t, OUTBOX_ADDRESS(&(p)->field) - OUTBOX_ADDRESS(p)) + sizeof((p)->field) <= \
     (p)->size)

/** The value of a duration option that is `never`; where a time is needed: no limit. */
#define OUTBOX_NEVER INT64_MAX

/**
 * Bytes. FROZEN. They may have any value, and no NUL follows them unless a comment says so.
 * p == NULL is SQL NULL, and n is 0 then. An empty value has p != NULL and n == 0.
 */
struct outbox_str {
    const char *p;
    uint64_t n;
};

/** A header of a message. Name and value are UTF-8 text. FROZEN. */
struct outbox_header {
    struct outbox_str name;
    struct outbox_str value;
};

/**
 * Why a call failed. The caller owns the struct and sets `size`; it may pass NULL if it does
 * not need the reason. The callee writes to it only when it fails: `code` is the result that
 * it returns; `text` is one line, terminated by NUL, without secrets. The text says what
 * happened, to what, and what a person can do. `option` is the name of the option whose value is
 * to blame, terminated by NUL, or empty: a host that read the options from a file shows the line.
 * Use outbox_fail() and outbox_fail_option() of <outbox/helpers.h>.
 */
struct outbox_err {
    uint32_t size;
    int32_t code;
    char text[504];
    char option[64];
};

/**
 * How long a blocking call may take. The host owns the struct; the callee borrows it for the
 * call.
 *
 * The call returns within timeout_ms; 0: without waiting. When cancel_fd becomes readable, the
 * host cancels the call: the callee begins nothing new, finishes what it has begun if it can within
 * grace_ms, and returns, with OUTBOX_E_CANCELLED unless another result says more. What it has begun
 * are messages that the other side may have; a connection that is being made is given up at once.
 * The callee polls cancel_fd and never reads or closes it: calls of other instances share it, and
 * it stays readable. -1: the host never cancels this call. grace_ms is not added to timeout_ms.
 */
struct outbox_call {
    uint32_t size;
    uint32_t timeout_ms;
    int32_t cancel_fd;
    uint32_t grace_ms;
};

/**
 * A message as a publisher or a rule sees it. A store fills the struct and owns it (see
 * <outbox/store.h>). Publishers and rules borrow it for the call, and copy what they need
 * longer.
 */
struct outbox_message {
    uint32_t size;
    /** How many attempts were charged so far; 0 at the first delivery. */
    uint32_t retries;
    /** The place in insertion order; unique. `outboxd list --after` takes it. */
    int64_t seq;
    /** When the row was written, by the database's clock. PostgreSQL: when its transaction began.
     */
    int64_t created_us;
    /** The id that is sent with the message. It is the same at every attempt and in every copy. No
     * NUL ends id, topic, key or payload. */
    struct outbox_str id;
    struct outbox_str topic;
    /** Empty, never NULL, if the message has no key. Messages without a key are unordered. */
    struct outbox_str key;
    /** May be NULL (SQL NULL), which differs from empty. */
    struct outbox_str payload;
    /** n_headers headers, in the order of the row; no two have the same name. A NUL, which the
     * length does not count, follows each name and value. */
    const struct outbox_header *headers;
    uint64_t n_headers;
    /** The id of the row. A copy for one of several publishers has a row id other than `id`. */
    struct outbox_str row_id;
    /**
     * Why this row cannot be published as it is: unreadable headers, a payload over the limit.
     * NULL: it can. The host fails a row that has a defect; publishers never see it.
     */
    struct outbox_str defect;
    /** A number of the store's own, by which it finds the row again when it is settled (a place in
     * its result, an address of the row): no other side reads it. A store that needs none sets 0.
     */
    uint64_t handle;
};

/**
 * Types of options: what may stand in the file, and the host's function that returns the value.
 * The host checks the value before it opens the plugin.
 */
#define OUTBOX_OPT_TEXT 1u     /* any text: option_text */
#define OUTBOX_OPT_INT 2u      /* decimal integer: option_int */
#define OUTBOX_OPT_BOOL 3u     /* yes no true false on off 1 0: option_int, 1 or 0 */
#define OUTBOX_OPT_DURATION 4u /* 250ms 10s 5m 2h 1d 0 never: option_int, ms or OUTBOX_NEVER */
#define OUTBOX_OPT_SIZE 5u     /* 512 64K 16M 1G, K = 1024: option_int, bytes */
#define OUTBOX_OPT_CHOICE 6u   /* one of `choices`: option_text */
#define OUTBOX_OPT_ARGV 7u     /* words, split at white space outside double quotes: option_item */
#define OUTBOX_OPT_LIST 8u     /* names between commas, without blanks around them: option_item */
/** The name of a publisher of the same file; the host refuses another: option_text. For rules. */
#define OUTBOX_OPT_PUBLISHER 9u
/**
 * Any number of settings `NAME.key = value`, for a client that has its own (NAME is the option's
 * name, a key has [A-Za-z0-9._-]): option_count, option_key, option_item.
 */
#define OUTBOX_OPT_PREFIX 10u

/** Flags of options. The lower half is critical: a host refuses what it does not know. */
#define OUTBOX_OPT_REQUIRED 1u
/** The value is a secret: the host never shows or logs it, and reads NAME_file, too. TEXT only. */
#define OUTBOX_OPT_SECRET 2u
/** A DURATION that must be shorter than the publisher's batch_timeout. */
#define OUTBOX_OPT_BELOW_BATCH_TIMEOUT 4u
/**
 * The value may contain a password, as a URL (//user:password@host) or a list of settings
 * (password=...) does; it is a secret then. TEXT (the host reads NAME_file, too), LIST, PREFIX. Of
 * a PREFIX, the value of a key with `password`, `secret` or `token` in it is a secret in any case.
 */
#define OUTBOX_OPT_MAY_BE_SECRET 8u

/** One option that a plugin declares. The plugin owns it; it is constant. */
struct outbox_option {
    const char *name;           /* [a-z][a-z0-9_]*; docs/plugin-author-guide.md: reserved names */
    const char *deflt;          /* the default, written as in the file; NULL: none */
    const char *help;           /* one sentence */
    const char *const *choices; /* OUTBOX_OPT_CHOICE: the choices, ended by NULL */
    int64_t min;                /* INT, DURATION (ms), SIZE (bytes): checked if min < max */
    int64_t max;
    uint32_t type;  /* OUTBOX_OPT_TEXT ... */
    uint32_t flags; /* OUTBOX_OPT_REQUIRED ...; a required option has no default */
};

/** A host refuses a plugin with more options than this, with an option of more choices, or with a
 * stride of more bytes. */
#define OUTBOX_OPTIONS_MAX 1000u
#define OUTBOX_CHOICES_MAX 100u
#define OUTBOX_STRIDE_MAX 4096u

/** Levels for outbox_host.log. */
#define OUTBOX_LOG_ERROR 3
#define OUTBOX_LOG_WARNING 4
#define OUTBOX_LOG_INFO 6
#define OUTBOX_LOG_DEBUG 7

/** The option values of one section, read through outbox_host. Valid until `close` returns. */
struct outbox_cfg;

/**
 * The services of the host, an argument of `open`. The host owns it; it is valid until `close`
 * has returned. Any thread may call any of the functions. What option_text, option_item and
 * option_key return is valid until `close` has returned, too. For an option that the plugin did not
 * declare, the functions return NULL or 0.
 */
struct outbox_host {
    uint32_t size;
    uint16_t minor; /* the host's OUTBOX_ABI_MINOR */
    uint16_t reserved;
    /** The host's version, and the section of this instance ("publisher mail"). */
    const char *version;
    const char *instance;
    /** Logs n bytes of UTF-8 as one line; the host escapes it. Never log secrets or payloads. */
    void (*log)(const struct outbox_host *host, int32_t level, const char *text, uint64_t n);
    /** Wall clock, microseconds since 1970. Stores use the clock of their database instead. */
    int64_t (*now_us)(const struct outbox_host *host);
    /** Monotonic clock, microseconds. Use it for deadlines. */
    int64_t (*monotonic_us)(const struct outbox_host *host);
    /** Adds delta to a counter of this instance. `name` is [a-z_]+ and ends in _total. Hosts show
     * the sums over the instances of a section. */
    void (*count)(const struct outbox_host *host, const char *name, int64_t delta);
    /** TEXT, CHOICE: the value, with a NUL behind it; NULL if it is not set and has no default. */
    struct outbox_str (*option_text)(const struct outbox_cfg *cfg, const char *name);
    /** INT, BOOL, DURATION (ms), SIZE (bytes); 0 if it is not set and has no default. */
    int64_t (*option_int)(const struct outbox_cfg *cfg, const char *name);
    /** ARGV, LIST: how many items there are, and the item at `index`, with a NUL behind it. */
    uint64_t (*option_count)(const struct outbox_cfg *cfg, const char *name);
    struct outbox_str (*option_item)(const struct outbox_cfg *cfg, const char *name,
                                     uint64_t index);
    /** A draft service by its id, or NULL. New services begin here before they join this table. */
    const void *(*extension)(const struct outbox_host *host, const char *id);
    /**
     * The value of a TEXT option as it is now: one that was given as NAME_file is read from its
     * file again, so that a password can be changed while the program runs. For each login.
     * Copies the value and a NUL to buf[cap], and sets *ret_n to its length. OUTBOX_E_CONFIG: the
     * file cannot be read, others can read or write it, it holds more than the secret (a carriage
     * return, blanks around it), or the value is not set or too long. Clear buf after use.
     */
    int (*option_read)(const struct outbox_cfg *cfg, const char *name, char *buf, uint64_t cap,
                       uint64_t *ret_n, struct outbox_err *err);
    /** 1: the file sets the option; 0: it has its default, or none. */
    int32_t (*option_is_set)(const struct outbox_cfg *cfg, const char *name);
    /** PREFIX: the key at `index`, without the prefix, with a NUL behind it. */
    struct outbox_str (*option_key)(const struct outbox_cfg *cfg, const char *name, uint64_t index);
    /** What shared_open of this plugin made for the section of this instance; NULL: it has none. */
    void *shared;
    /** A publisher: the longest timeout_ms that publish or submit of this instance gets, for
     * clients whose own time-out is fixed when they are made. 0: unknown. */
    uint32_t publish_ms;
    uint32_t reserved2;
};

/**
 * The descriptor of a plugin: constant, static, never freed. Fill it with OUTBOX_PLUGIN_INIT().
 * The host copies it into zeroed memory, at most `size` bytes, so fields that an older plugin
 * does not have are 0 or NULL.
 */
struct outbox_plugin {
    uint32_t size;
    uint16_t minor;       /* the OUTBOX_ABI_MINOR that the plugin was built with */
    uint16_t needs_minor; /* the lowest minor of a host that the plugin works with */
    uint32_t kind;
    uint32_t option_stride; /* sizeof(struct outbox_option) */
    const char *name;       /* as in the file's name: [a-z0-9-]+ */
    const char *version;    /* of the plugin */
    const char *summary;    /* one sentence */
    const char *url;        /* where to report problems; may be NULL */
    const void *ops;        /* struct outbox_store_ops, outbox_publisher_ops or outbox_rule_ops */
    const struct outbox_option *options;
    uint64_t n_options;
    /** A draft interface by its id, or NULL. The pointer may be NULL. */
    const void *(*extension)(const char *id);
    /**
     * Optional, both or none: what all instances of a section share, such as one client with its
     * connection and threads. The host calls shared_open before it opens the first instance of a
     * section, and shared_close after it has closed the last one; every instance finds *ret in
     * host->shared. shared_open follows the rules of open: it does not connect or block; host and
     * cfg stay valid until shared_close has returned. Instances use the shared state at the same
     * time, from several threads: it has locks of its own. Errors as open.
     */
    int (*shared_open)(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                       struct outbox_err *err);
    void (*shared_close)(void *shared);
};

#if defined(__GNUC__)
#define OUTBOX_EXPORT __attribute__((visibility("default")))
#else
#define OUTBOX_EXPORT
#endif

/** The one symbol that a plugin exports. Its result is valid for the life of the process. */
typedef const struct outbox_plugin *(*outbox_plugin_fn)(void);
OUTBOX_EXPORT const struct outbox_plugin *outbox_plugin_v1(void);
#define OUTBOX_PLUGIN_SYMBOL "outbox_plugin_v1"

/**
 * A whole plugin in C99 and C++20: its descriptor, and the entry function that returns it. In C++
 * it stands outside of all namespaces. `options` is an array, `ops` the table of operations.
 * `needs` is needs_minor: 0 for any host of ABI 1. For example, in C++ with nullptr:
 *
 *     OUTBOX_DEFINE_PLUGIN(OUTBOX_KIND_PUBLISHER, 0, "name", "1.0", "Does this.", NULL, ops,
 * options)
 *
 * OUTBOX_DEFINE_SHARED_PLUGIN has shared_open and shared_close, too.
 */
#define OUTBOX_DEFINE_PLUGIN(kind, needs, name, version, summary, url, ops, options)    \
    OUTBOX_DEFINE_SHARED_PLUGIN(kind, needs, name, version, summary, url, ops, options, \
                                OUTBOX_NULL, OUTBOX_NULL)
#define OUTBOX_DEFINE_SHARED_PLUGIN(kind, needs, name, version, summary, url, ops, options,        \
                                    shared_open, shared_close)                                     \
    static const struct outbox_plugin outbox_plugin_descriptor = {OUTBOX_PLUGIN_INIT(kind, needs), \
                                                                  name,                            \
                                                                  version,                         \
                                                                  summary,                         \
                                                                  url,                             \
                                                                  &(ops),                          \
                                                                  &(options)[0],                   \
                                                                  sizeof(options) /                \
                                                                      sizeof((options)[0]),        \
                                                                  OUTBOX_NULL,                     \
                                                                  shared_open,                     \
                                                                  shared_close};                   \
    OUTBOX_EXPORT_PLUGIN(outbox_plugin_descriptor)

/** The parts of it: the first fields of a descriptor, and the entry function. */
#define OUTBOX_PLUGIN_INIT(kind, needs) \
    sizeof(struct outbox_plugin), OUTBOX_ABI_MINOR, (needs), (kind), sizeof(struct outbox_option)
#define OUTBOX_EXPORT_PLUGIN(descriptor)                             \
    OUTBOX_EXPORT const struct outbox_plugin *outbox_plugin_v1(void) \
    {                                                                \
        return &(descriptor);                                        \
    }

#ifdef __cplusplus
}
#endif
#endif
