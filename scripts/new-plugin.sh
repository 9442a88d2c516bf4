#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# new-plugin.sh pub|store|rule NAME: begins a plugin. Makes plugins/KIND-NAME/ with a source that compiles, a manual
# page and its Makefile.inc, and adds it to configure.ac and Makefile.am. Then run ./autogen.sh, configure and
# `make KIND-NAME`; what the operations must do stands in sdk/include/outbox/ and outbox-plugin(3).
set -eu
kind=${1:-} name=${2:-}
case $kind in
pub) KIND=PUBLISHER header=publisher section="publisher out" ;;
store) KIND=STORE header=store section=store ;;
rule) KIND=RULE header=rule section="route some" ;;
*) name= ;;
esac
if ! [[ $name =~ ^[a-z][a-z0-9]*$ ]]; then
    sed -n '3,5s/^# //p' "$0"
    echo "NAME has lower-case letters and digits only."
    exit 2
fi
cd "$(dirname "$0")/.."
plugin=$kind-$name folder=plugins/$kind-$name variable=${kind}_${name}_la
NAME=${plugin^^}
[ ! -e "$folder" ] || { echo "new-plugin: $folder is there already" >&2; exit 1; }
mkdir "$folder"

# The operations that a plugin of the kind must have, for its source.
operations_pub() {
    cat <<EOF
static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    (void)instance;
    (void)call;
    return outbox_fail(err, OUTBOX_E_RETRY, "$plugin cannot connect yet");
}

/* Accepted means durable. What is left unset was not tried, and is neither charged nor lost. */
static int publish(void *instance, const struct outbox_message *const *msgs, uint64_t n,
                   const struct outbox_call *call, struct outbox_outcome *const *outcomes,
                   struct outbox_err *err)
{
    (void)instance;
    (void)msgs;
    (void)n;
    (void)call;
    (void)outcomes;
    return outbox_fail(err, OUTBOX_E_RETRY, "$plugin cannot publish yet");
}

static const struct outbox_publisher_ops ops = {
    .size = sizeof ops,
    .open = open_instance,
    .close = close_instance,
    .check = check,
    .publish = publish,
};
EOF
}
operations_store() {
    cat <<EOF
static int check(void *instance, const struct outbox_call *call, struct outbox_err *err)
{
    (void)instance;
    (void)call;
    return outbox_fail(err, OUTBOX_E_RETRY, "$plugin cannot connect yet");
}

static int schema(void *instance, const struct outbox_exec *exec, struct outbox_err *err)
{
    (void)instance;
    return exec->run(exec->ctx, "-- $plugin has no table yet", NULL, 0, err);
}

static int init(void *instance, const struct outbox_call *call, struct outbox_str *ret,
                struct outbox_err *err)
{
    (void)ret;
    return check(instance, call, err);
}

static int claim(void *instance, const struct outbox_claim *claim, const struct outbox_call *call,
                 struct outbox_batch **ret, struct outbox_err *err)
{
    (void)claim;
    (void)ret;
    return check(instance, call, err);
}

static int settle(void *instance, struct outbox_batch *batch,
                  const struct outbox_settle *const *items, uint64_t n,
                  const struct outbox_call *call, uint8_t *stale, struct outbox_err *err)
{
    (void)batch;
    (void)items;
    (void)n;
    (void)stale;
    return check(instance, call, err);
}

static int release(void *instance, struct outbox_batch *batch, const struct outbox_call *call,
                   struct outbox_err *err)
{
    (void)batch;
    return check(instance, call, err);
}

static const struct outbox_store_ops ops = {
    .size = sizeof ops,
    .open = open_instance,
    .close = close_instance,
    .check = check,
    .schema = schema,
    .init = init,
    .claim = claim,
    .settle = settle,
    .release = release,
};
EOF
}
operations_rule() {
    cat <<EOF
/* Passes: the next route is tried. The same message always gives the same answer. */
static int route(void *instance, const struct outbox_message *msg, struct outbox_decision *ret,
                 struct outbox_err *err)
{
    (void)instance;
    (void)msg;
    (void)err;
    ret->n = 0;
    return OUTBOX_OK;
}

static const struct outbox_rule_ops ops = {
    .size = sizeof ops,
    .open = open_instance,
    .close = close_instance,
    .route = route,
};
EOF
}

cat >"$folder/plugin.c" <<EOF
/* SPDX-License-Identifier: Apache-2.0 */
/* plugin.c - $plugin: what it is, its options, its operations. */
#include <outbox/plugin.h>

#include <stdlib.h>

struct $name {
    const struct outbox_host *host;
    struct outbox_str target; /* the host's; valid until close */
};

static const struct outbox_option options[] = {
    {"target", "", "Replace this by an option of $plugin.", NULL, 0, 0, OUTBOX_OPT_TEXT, 0},
};

/* Validates and allocates; connects to nothing, since that could fail for now and work later. */
static int open_instance(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                         struct outbox_err *err)
{
    struct $name *x = calloc(1, sizeof *x);
    if (!x)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    x->host = host;
    x->target = host->option_text(cfg, "target");
    *ret = x;
    return OUTBOX_OK;
}

static void close_instance(void *instance)
{
    free(instance);
}

$("operations_$kind")

OUTBOX_DEFINE_PLUGIN(OUTBOX_KIND_$KIND, 0, "$name", PACKAGE_VERSION,
                     "Does nothing yet.", NULL, ops,
                     options)
EOF

cat >"$folder/outboxd-$plugin.7" <<EOF
.\\" SPDX-License-Identifier: Apache-2.0
.Dd $(LC_ALL=C date '+%B %-d, %Y')
.Dt OUTBOXD-$NAME 7
.Os
.Sh NAME
.Nm outboxd-$plugin
.Nd does nothing yet
.Sh SYNOPSIS
.Bd -literal
[$section]
plugin = $name
.Ed
.Sh OPTIONS
.Bl -tag -width Ds
.It Cm target
Replace this by an option of $plugin.
.El
.Sh SEE ALSO
.Xr outboxd 1 ,
.Xr outboxd.ini 5
EOF

cat >"$folder/Makefile.inc" <<EOF
# SPDX-License-Identifier: Apache-2.0
if PLUGIN_${NAME//-/_}
plugin_LTLIBRARIES += $plugin.la
endif
${variable}_CPPFLAGS = \$(PLUGIN_CPPFLAGS) -I\$(srcdir)/$folder
${variable}_LDFLAGS = -module \$(AM_LDFLAGS) \$(MODULE_LDFLAGS)
${variable}_LIBADD = common/libcommon.la
${variable}_SOURCES = $folder/plugin.c
dist_man_MANS += $folder/outboxd-$plugin.7
EOF

# append FILE BEGINNING LINE: below the last line that begins so.
append() {
    local at
    at=$(grep -n "^$2" "$1" | tail -n 1 | cut -d: -f1)
    sed -i "${at}a $3" "$1"
}
append configure.ac 'OUTBOX_PLUGIN(' "OUTBOX_PLUGIN([$plugin], [], [], [])"
append Makefile.am 'include plugins/' "include $folder/Makefile.inc"
echo "$folder is made (operations: sdk/include/outbox/$header.h); next: ./autogen.sh, configure, make $plugin"
