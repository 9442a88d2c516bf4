/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox/abi.h - what every outboxd plugin and every host of plugins share.
 *
 * DRAFT of ABI 1: it may still change until NEWS says that it is frozen. It is
 * written as if it were frozen already, by these rules:
 *
 *  - One exported function, outbox_plugin_v1, returns a constant descriptor. The
 *    major version is in its name. A plugin resolves no symbol from its host.
 *  - Every struct that crosses begins with `size`, set by whoever fills it, and
 *    only ever grows at its end. Structs marked FROZEN have no size and never change.
 *    Read a field that was added later only through OUTBOX_HAS().
 *  - A callback never changes its signature, meaning, or default.
 *  - Fixed-width integers only. Times: int64_t, microseconds since 1970-01-01 UTC
 *    (suffix _us). Time-outs and delays: milliseconds (suffix _ms). Lengths: uint64_t.
 *  - Nothing is freed across the boundary. Inputs are borrowed for the call.
 *  - Calls on one instance never overlap, though the calling thread may change.
 *    Several instances of one plugin run at the same time.
 *  - No function of a plugin may write to stdout or stderr, install a signal
 *    handler, or change the working directory, locale or environment.
 */
#ifndef OUTBOX_ABI_H
#define OUTBOX_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The ABI these headers describe. The major is part of the entry symbol's name. */
#define OUTBOX_ABI_MAJOR 1
#define OUTBOX_ABI_MINOR 0

/** What a plugin is; the file is store-NAME.so, pub-NAME.so or rule-NAME.so. */
#define OUTBOX_KIND_STORE 1u
#define OUTBOX_KIND_PUBLISHER 2u
#define OUTBOX_KIND_RULE 3u

/**
 * Result classes of every call that can fail. Anything negative that a host does
 * not know counts as OUTBOX_E_RETRY. The text in struct outbox_err is for people.
 */
#define OUTBOX_OK 0
#define OUTBOX_E_RETRY (-1)     /* transient: the same call may succeed later */
#define OUTBOX_E_CONFIG (-2)    /* a person must act: wrong option, missing table, refused login */
#define OUTBOX_E_BROKEN (-3)    /* this instance is of no more use: close it and open another */
#define OUTBOX_E_TIMEOUT (-4)   /* timeout_ms passed first */
#define OUTBOX_E_CANCELLED (-5) /* the host asked for the call back through cancel_fd */
#define OUTBOX_E_NOTSUP (-6)    /* this plugin or instance cannot do that */

/** Does the struct *p, as its filler sized it, have this field? */
#define OUTBOX_HAS(p, field)                                                         \
    ((size_t)((const char *)&(p)->field - (const char *)(p)) + sizeof((p)->field) <= \
     (size_t)(p)->size)

/** A duration option whose value is `never`; also "no limit" where a time is asked for. */
#define OUTBOX_NEVER INT64_MAX

/**
 * Bytes. FROZEN. Not terminated by NUL, may hold any byte. p == NULL is SQL NULL
 * (then n is 0); an empty value has p != NULL and n == 0.
 */
struct outbox_str {
    const char *p;
    uint64_t n;
};

/** A message header, both parts UTF-8 text. FROZEN. */
struct outbox_header {
    struct outbox_str name;
    struct outbox_str value;
};

/**
 * Why a call failed. The caller owns it, sets `size`, and may pass NULL where the
 * reason does not matter. The callee writes it only on failure: `code` is what it
 * returns, `text` one line, always terminated, without secrets: what happened, to
 * what, and what to do. Use outbox_fail() of <outbox/helpers.h>.
 */
struct outbox_err {
    uint32_t size;
    int32_t code;
    char text[504];
};

/**
 * How long a blocking call may take.
 *
 * The call returns within timeout_ms. When cancel_fd becomes readable the host
 * wants it back early: begin nothing new, let what is under way end if it can
 * within grace_ms, and return (OUTBOX_E_CANCELLED if nothing else describes it
 * better). cancel_fd is polled, never read; -1 means that the host never asks.
 */
struct outbox_call {
    uint32_t size;
    uint32_t timeout_ms;
    int32_t cancel_fd;
    uint32_t grace_ms;
};

/**
 * A message as a publisher or a rule sees it. Borrowed: valid during the call,
 * except where the call says otherwise. A store fills it (see <outbox/store.h>).
 */
struct outbox_message {
    uint32_t size;
    /** Attempts charged so far: 0 at the first delivery. */
    uint32_t retries;
    /** Insertion order; unique. What `list --after` takes. */
    int64_t seq;
    /** When the row was written, by the database's clock; a transaction's start on PostgreSQL. */
    int64_t created_us;
    /** The id that travels with the message, the same at every attempt and for every copy. */
    struct outbox_str id;
    struct outbox_str topic;
    /** Empty when there is none; messages without a key are unordered. */
    struct outbox_str key;
    /** May be NULL (SQL NULL), which is not the same as empty. */
    struct outbox_str payload;
    /** n_headers of them; each name and value is followed by a NUL that its length does not count.
     */
    const struct outbox_header *headers;
    uint64_t n_headers;
    /** The row's own id; differs from `id` for a copy made for one of several publishers. */
    struct outbox_str row_id;
    /**
     * Not NULL when this row cannot be published as it stands (unreadable headers, a
     * payload over the limit): the reason. The host fails the row; it never reaches a publisher.
     */
    struct outbox_str defect;
    /** The store's own; meaningless to anyone else. */
    uint64_t handle;
};

/** Types of options. The host checks the value before the plugin sees it. */
#define OUTBOX_OPT_TEXT 1u /* text */
#define OUTBOX_OPT_INT 2u  /* decimal integer */
#define OUTBOX_OPT_BOOL 3u /* yes no true false on off 1 0: int 1 or 0 */
#define OUTBOX_OPT_DURATION                                                                     \
    4u                       /* 250ms 10s 5m 2h 1d, 0, never: int, milliseconds or OUTBOX_NEVER \
                              */
#define OUTBOX_OPT_SIZE 5u   /* 512 64K 16M 1G, K = 1024: int, bytes */
#define OUTBOX_OPT_CHOICE 6u /* one of `choices`: text */
#define OUTBOX_OPT_ARGV 7u   /* words split at white space outside double quotes: items */
#define OUTBOX_OPT_LIST 8u   /* comma-separated names, blanks trimmed: items */

#define OUTBOX_OPT_REQUIRED 1u
/** Never shown or logged; may also be given as NAME_file. TEXT only. */
#define OUTBOX_OPT_SECRET 2u
/** A DURATION that must be shorter than the publisher's batch_timeout. */
#define OUTBOX_OPT_BELOW_BATCH_TIMEOUT 4u
/**
 * Like SECRET when the value holds a password, as a URL (//user:password@host) or a list of
 * settings (password=...) may. TEXT only.
 */
#define OUTBOX_OPT_MAY_BE_SECRET 8u

/** One option that a plugin declares. Names match [a-z][a-z0-9_]*; see docs for reserved ones. */
struct outbox_option {
    const char *name;
    const char *deflt;          /* as it would stand in the file; NULL: none */
    const char *help;           /* one sentence */
    const char *const *choices; /* OUTBOX_OPT_CHOICE: NULL-terminated */
    int64_t min;                /* INT, DURATION (ms), SIZE: checked when min < max */
    int64_t max;
    uint32_t type;
    uint32_t flags;
};

/** Levels for outbox_host.log. */
#define OUTBOX_LOG_ERROR 3
#define OUTBOX_LOG_WARNING 4
#define OUTBOX_LOG_INFO 6
#define OUTBOX_LOG_DEBUG 7

/** The values of one section; opaque, read through outbox_host. Valid until the instance is closed.
 */
struct outbox_cfg;

/**
 * The host's services, given to `open` and valid until `close` has returned. Every
 * function may be called from any thread. Names of options not declared by the
 * plugin yield NULL, 0 or nothing.
 */
struct outbox_host {
    uint32_t size;
    uint16_t minor; /* the host's OUTBOX_ABI_MINOR */
    uint16_t reserved;
    /** The host's own version, and the section that this instance serves ("publisher mail"). */
    const char *version;
    const char *instance;
    /** One line of UTF-8, escaped by the host; no newline needed. Never log secrets or payloads. */
    void (*log)(const struct outbox_host *host, int32_t level, const char *text, uint64_t n);
    /** Wall clock, microseconds since the epoch. Stores use their database's clock instead. */
    int64_t (*now_us)(const struct outbox_host *host);
    /** Monotonic clock, microseconds, for deadlines. */
    int64_t (*monotonic_us)(const struct outbox_host *host);
    /** Adds to a counter of this instance; `name` is [a-z_]+ and ends in _total. */
    void (*count)(const struct outbox_host *host, const char *name, int64_t delta);
    /** TEXT and CHOICE: the value, terminated by NUL too; NULL when not set and without default. */
    struct outbox_str (*option_text)(const struct outbox_cfg *cfg, const char *name);
    /** INT, BOOL, DURATION (ms), SIZE (bytes); 0 when not set and without default. */
    int64_t (*option_int)(const struct outbox_cfg *cfg, const char *name);
    /** ARGV and LIST: how many items, and the one at `index`, terminated by NUL too. */
    uint64_t (*option_count)(const struct outbox_cfg *cfg, const char *name);
    struct outbox_str (*option_item)(const struct outbox_cfg *cfg, const char *name,
                                     uint64_t index);
    /** Draft services by id, or NULL; the way new ones arrive before they are in this table. */
    const void *(*extension)(const struct outbox_host *host, const char *id);
};

/**
 * What a plugin is. Constant, static, never freed. Fill it with
 * OUTBOX_PLUGIN_INIT(). The host copies the smaller of its own size and `size` into
 * zeroed memory, so an older plugin's missing fields read as 0 or NULL.
 */
struct outbox_plugin {
    uint32_t size;
    uint16_t minor;       /* OUTBOX_ABI_MINOR that the plugin was built with */
    uint16_t needs_minor; /* the least host minor that it can work with */
    uint32_t kind;
    uint32_t option_stride; /* sizeof(struct outbox_option) */
    const char *name;       /* as in the file's name: [a-z0-9-]+ */
    const char *version;    /* the plugin's own */
    const char *summary;    /* one sentence */
    const char *url;        /* where to report problems; may be NULL */
    const void *ops;        /* struct outbox_store_ops, outbox_publisher_ops or outbox_rule_ops */
    const struct outbox_option *options;
    uint64_t n_options;
    /** Draft interfaces by id, or NULL; may itself be NULL. */
    const void *(*extension)(const char *id);
};

#if defined(__GNUC__)
#define OUTBOX_EXPORT __attribute__((visibility("default")))
#else
#define OUTBOX_EXPORT
#endif

/** The one symbol a plugin exports. A function, because dlsym promises nothing for data. */
typedef const struct outbox_plugin *(*outbox_plugin_fn)(void);
OUTBOX_EXPORT const struct outbox_plugin *outbox_plugin_v1(void);
#define OUTBOX_PLUGIN_SYMBOL "outbox_plugin_v1"

/** The leading fields of a descriptor: `OUTBOX_PLUGIN_INIT(OUTBOX_KIND_PUBLISHER, 0), "name", ...`.
 */
#define OUTBOX_PLUGIN_INIT(kind, needs) \
    sizeof(struct outbox_plugin), OUTBOX_ABI_MINOR, (needs), (kind), sizeof(struct outbox_option)

/** Writes the entry function for a descriptor. */
#define OUTBOX_EXPORT_PLUGIN(descriptor)                             \
    OUTBOX_EXPORT const struct outbox_plugin *outbox_plugin_v1(void) \
    {                                                                \
        return &(descriptor);                                        \
    }

#ifdef __cplusplus
}
#endif
#endif
