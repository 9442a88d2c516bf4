#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A private PostgreSQL, RabbitMQ (also with TLS) and pgbouncer on free loopback ports, for tests,
# measurements and people. Nothing of the machine's own servers is used or touched.
#
#   scripts/services.sh start [SERVICE...]     postgres, rabbitmq and pgbouncer, or those named
#   scripts/services.sh stop [SERVICE...]      ends them by their process ids; all: removes the folder
#   scripts/services.sh kill SERVICE...        at once: SIGKILL, for postgres what `-m immediate` does
#   scripts/services.sh env                    prints how to reach them, for `eval "$(...)"`
#   scripts/services.sh ctl ARGUMENT...        rabbitmqctl of the private node
#
# A fourth service, standby, follows postgres. Everything lives in $OUTBOX_SERVICES_DIR, by default
# a folder of this user's in /var/tmp, which is on a disk.
# shellcheck disable=SC2154  # ports come from a file
set -eu

dir=$(realpath -m "${OUTBOX_SERVICES_DIR:-/var/tmp/outbox-services-$(id -u)}")
pg_bin=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
rabbit_bin=/usr/lib/rabbitmq/bin
patience=${OUTBOX_SERVICES_PATIENCE:-120}

fail() {
    echo "services: $*" >&2
    exit 1
}

usage() {
    sed -n '3,14s/^# \{0,1\}//p' "$0"
    exit 2
}

# Servers that refuse to run as root get an unprivileged user. A prefix for commands.
as_user=(env HOME="$dir")
[ "$(id -u)" != 0 ] ||
    as_user=(setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups -- env -C "$dir" HOME="$dir")

own() { [ "$(id -u)" != 0 ] || chown -R "nobody:$(id -g nobody)" "$@"; }

need() { [ -x "$1" ] || fail "$1 is missing; scripts/deps.sh --ci installs it"; }

alive() { [ -s "$dir/$1.pid" ] && kill -0 "$(cat "$dir/$1.pid")" 2>/dev/null; }

# run NAME COMMAND...: in the background, in a process group of its own, its pid in NAME.pid.
run() {
    local name=$1
    shift
    # The pid stays the same through setpriv, env and what they execute.
    # shellcheck disable=SC2016  # the inner shell's
    setsid -- bash -c 'echo $$ >"$1" && shift && exec "$@"' run "$dir/$name.pid" "$@" \
        >>"$dir/$name.log" 2>&1 </dev/null &
    disown
}

# until_ready NAME COMMAND...
until_ready() {
    local name=$1 end=$((SECONDS + patience))
    shift
    until "$@" >>"$dir/$name.ready" 2>&1; do
        if [ $SECONDS -gt $end ] || { [ -s "$dir/$name.pid" ] && ! alive "$name"; }; then
            tail -n 30 "$dir/$name.log" "$dir/$name.ready" >&2
            fail "$name did not start; its log is $dir/$name.log"
        fi
        sleep 0.1
    done
    rm -f "$dir/$name.ready"
}

# Ports below those that the kernel gives to clients, so that a stopped server finds its own free.
# Not those of folders beside this one, whose servers may be about to take them.
free_ports() {
    python3 - "$1" "${dir%/*}"/*/ports <<'PYTHON'
import contextlib, random, re, socket, sys
held, taken = [], set()
for path in sys.argv[2:]:
    with contextlib.suppress(OSError), open(path) as f:
        taken |= set(map(int, re.findall(r"=(\d+)", f.read())))
while len(held) < int(sys.argv[1]):
    s, port = socket.socket(), random.randrange(20000, 32000)
    try:
        if port in taken:
            raise OSError
        s.bind(("127.0.0.1", port))
        held.append(s)
    except OSError:
        s.close()
print(*(s.getsockname()[1] for s in held))
PYTHON
}

# ---- the folder

make_certificates() (
    cd "$dir/tls"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=outbox test CA" \
        -keyout ca.key -out ca.pem
    # certificate NAME COMMON-NAME ALTERNATIVE-NAMES DAYS
    certificate() {
        openssl req -newkey rsa:2048 -nodes -subj "/CN=$2" -keyout "$1.key" -out "$1.csr"
        openssl x509 -req -in "$1.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days "$4" \
            -extfile <(echo "subjectAltName=$3") -out "$1.pem"
        rm "$1.csr"
    }
    certificate server localhost DNS:localhost,IP:127.0.0.1 30
    certificate client relay DNS:relay 30
    certificate shop shop-relay DNS:shop-relay 30
    certificate wrong-name elsewhere.example DNS:elsewhere.example 30
    # A certificate that ends when it begins is expired.
    certificate expired localhost DNS:localhost,IP:127.0.0.1 0
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=another CA" \
        -keyout other-ca.key -out other-ca.pem
    chmod 600 ./*.key
    chmod 644 server.key # RabbitMQ's, which runs as another user
)

make_folder() {
    local ports
    [ ! -e "$dir/ports" ] || return 0
    mkdir -p "$dir"
    chmod 755 "$dir"
    case $(stat -f -c %T "$dir") in
    tmpfs | ramfs) fail "$dir is in memory; set OUTBOX_SERVICES_DIR to a folder on a disk" ;;
    esac
    mkdir -p "$dir/tls" "$dir/run"
    make_certificates >"$dir/tls.log" 2>&1 || {
        cat "$dir/tls.log" >&2
        fail "cannot make certificates"
    }
    read -ra ports <<<"$(free_ports 8)"
    cat >"$dir/ports.new" <<PORTS
pg_port=${ports[0]}
standby_port=${ports[1]}
bouncer_port=${ports[2]}
amqp_port=${ports[3]}
amqps_port=${ports[4]}
dist_port=${ports[5]}
epmd_port=${ports[6]}
PORTS
    mv "$dir/ports.new" "$dir/ports"
}

# The ports, and the prefix for what has to do with RabbitMQ.
read_folder() {
    [ -e "$dir/ports" ] || fail "nothing was started in $dir"
    # shellcheck disable=SC1091  # made above
    . "$dir/ports"
    rabbit=("${as_user[@]}" HOME="$dir/rabbit" LANG=C.UTF-8 RUNNING_UNDER_SYSTEMD=1
        ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1
        RABBITMQ_NODENAME=outbox@localhost RABBITMQ_DIST_PORT="$dist_port"
        RABBITMQ_MNESIA_BASE="$dir/rabbit/mnesia" RABBITMQ_LOG_BASE="$dir/rabbit/log" RABBITMQ_LOGS=-
        RABBITMQ_CONFIG_FILE="$dir/rabbit/rabbitmq.conf"
        RABBITMQ_ADVANCED_CONFIG_FILE="$dir/rabbit/none" RABBITMQ_CONF_ENV_FILE="$dir/rabbit/none"
        RABBITMQ_ENABLED_PLUGINS_FILE="$dir/rabbit/plugins" RABBITMQ_PID_FILE="$dir/rabbit/pid"
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}")
}

# ---- PostgreSQL

start_postgres() {
    need "$pg_bin/postgres"
    if [ ! -e "$dir/pg/PG_VERSION" ]; then
        mkdir -p "$dir/pg"
        echo outbox >"$dir/pg-password"
        own "$dir/pg" "$dir/run"
        "${as_user[@]}" "$pg_bin/initdb" -D "$dir/pg" -U outbox --pwfile="$dir/pg-password" -E UTF8 --locale=C.UTF-8 \
            --auth-local=trust --auth-host=scram-sha-256 >"$dir/initdb.log" 2>&1 || {
            cat "$dir/initdb.log" >&2
            fail "initdb failed"
        }
        "${as_user[@]}" tee -a "$dir/pg/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$dir/run'
max_connections = 200
max_prepared_transactions = 10
shared_buffers = 256MB
fsync = on
synchronous_commit = on
full_page_writes = on
wal_level = replica
max_wal_size = 4GB
checkpoint_timeout = 15min
timezone = 'Europe/Berlin'
log_min_messages = warning
CONF
        "${as_user[@]}" tee -a "$dir/pg/pg_hba.conf" >/dev/null <<HBA
host replication all 127.0.0.1/32 scram-sha-256
HBA
    fi
    run postgres "${as_user[@]}" "$pg_bin/postgres" -D "$dir/pg" -p "$pg_port"
    until_ready postgres psql -h "$dir/run" -p "$pg_port" -U outbox -d postgres -Atqc 'SELECT 1'
    psql -h "$dir/run" -p "$pg_port" -U outbox -d postgres -Atqc 'CREATE DATABASE outbox' 2>/dev/null || :
}

start_standby() {
    if [ ! -e "$dir/standby/PG_VERSION" ]; then
        mkdir -p "$dir/standby"
        chmod 700 "$dir/standby"
        own "$dir/standby"
        "${as_user[@]}" env PGPASSWORD=outbox "$pg_bin/pg_basebackup" -h 127.0.0.1 -p "$pg_port" -U outbox \
            -D "$dir/standby" -R -X stream -c fast >"$dir/standby.log" 2>&1 || {
            cat "$dir/standby.log" >&2
            fail "pg_basebackup failed"
        }
    fi
    run standby "${as_user[@]}" "$pg_bin/postgres" -D "$dir/standby" -p "$standby_port"
    until_ready standby psql -h "$dir/run" -p "$standby_port" -U outbox -d postgres -Atqc 'SELECT 1'
}

# ---- pgbouncer, in transaction mode

start_pgbouncer() {
    need /usr/sbin/pgbouncer
    cat >"$dir/pgbouncer.ini" <<INI
[databases]
; Whatever the name, it is this database, with sessions that clients of another name do not share.
* = host=127.0.0.1 port=$pg_port dbname=outbox user=outbox password=outbox
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $bouncer_port
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
server_idle_timeout = 5
max_client_conn = 200
INI
    run pgbouncer "${as_user[@]}" /usr/sbin/pgbouncer -q "$dir/pgbouncer.ini"
    until_ready pgbouncer psql "host=127.0.0.1 port=$bouncer_port user=outbox dbname=outbox" -Atqc 'SELECT 1'
}

# ---- RabbitMQ

ctl() { "${rabbit[@]}" "$rabbit_bin/rabbitmqctl" -q "$@"; }

start_rabbitmq() {
    need "$rabbit_bin/rabbitmq-server"
    if [ ! -e "$dir/rabbit/rabbitmq.conf" ]; then
        mkdir -p "$dir/rabbit"
        echo '[rabbitmq_auth_mechanism_ssl].' >"$dir/rabbit/plugins"
        head -c 24 /dev/urandom | base64 | tr -dc A-Za-z0-9 >"$dir/rabbit/.erlang.cookie"
        chmod 400 "$dir/rabbit/.erlang.cookie"
        cat >"$dir/rabbit/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$amqp_port
listeners.ssl.1 = 127.0.0.1:$amqps_port
ssl_options.cacertfile = $dir/tls/ca.pem
ssl_options.certfile = $dir/tls/server.pem
ssl_options.keyfile = $dir/tls/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
default_user = outbox
default_pass = outbox
loopback_users = none
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
ssl_cert_login_from = common_name
vm_memory_high_watermark.absolute = 2GB
disk_free_limit.absolute = 50MB
max_message_size = 134217728
log.console = true
log.console.level = warning
CONF
        own "$dir/rabbit"
    fi
    if ! alive epmd; then
        rm -f "$dir/epmd.pid"
        run epmd "${rabbit[@]}" epmd -address 127.0.0.1 -port "$epmd_port"
        until_ready epmd "${rabbit[@]}" epmd -port "$epmd_port" -names
    fi
    run rabbitmq "${rabbit[@]}" "$rabbit_bin/rabbitmq-server"
    until_ready rabbitmq ctl await_startup --timeout "$patience"
}

# ---- starting and stopping

start() {
    local service
    make_folder
    read_folder
    for service in "$@"; do
        alive "$service" && continue
        rm -f "$dir/$service.pid"
        case $service in
        postgres | standby | pgbouncer | rabbitmq) "start_$service" ;;
        *) usage ;;
        esac
    done
}

# halt NAME SIGNAL: and SIGKILL to its group if that does not help.
halt() {
    local pid end=$((SECONDS + 30))
    alive "$1" || return 0
    pid=$(cat "$dir/$1.pid")
    kill -s "$2" "$pid" 2>/dev/null || :
    while kill -0 "$pid" 2>/dev/null; do
        [ $SECONDS -le $end ] || kill -s KILL -- "-$pid" 2>/dev/null || :
        sleep 0.05
    done
    # Helpers of the Erlang machine end when they notice.
    kill -s KILL -- "-$pid" 2>/dev/null || :
    rm -f "$dir/$1.pid"
}

stop() {
    local service
    for service in "$@"; do
        case $service in
        postgres | standby) halt "$service" INT ;;
        pgbouncer | rabbitmq | epmd) halt "$service" TERM ;;
        *) usage ;;
        esac
    done
}

# Of postgres its own "immediate": what it leaves behind is what a crash leaves.
kill_at_once() {
    local service
    for service in "$@"; do
        case $service in
        postgres | standby) halt "$service" QUIT ;;
        pgbouncer | rabbitmq) halt "$service" KILL ;;
        *) usage ;;
        esac
    done
}

print_env() {
    read_folder
    cat <<ENV
export OUTBOX_SERVICES_DIR='$dir'
export OUTBOX_TEST_PG='host=127.0.0.1 port=$pg_port user=outbox password=outbox dbname=outbox'
export OUTBOX_TEST_PG_PORT=$pg_port
export OUTBOX_TEST_PG_STANDBY_PORT=$standby_port
export OUTBOX_TEST_PGBOUNCER='host=127.0.0.1 port=$bouncer_port user=outbox dbname=outbox'
export OUTBOX_TEST_PGBOUNCER_PORT=$bouncer_port
export OUTBOX_TEST_AMQP='amqp://outbox:outbox@127.0.0.1:$amqp_port'
export OUTBOX_TEST_AMQP_PORT=$amqp_port
export OUTBOX_TEST_AMQPS='amqps://outbox:outbox@localhost:$amqps_port'
export OUTBOX_TEST_AMQPS_PORT=$amqps_port
export OUTBOX_TEST_TLS='$dir/tls'
ENV
}

command=${1:-}
[ -z "$command" ] || shift
case $command in
start) start "${@:-postgres}" && { [ $# -gt 0 ] || start rabbitmq pgbouncer; } ;;
stop)
    stop "${@:-pgbouncer}"
    if [ $# = 0 ]; then
        stop rabbitmq epmd standby postgres
        rm -rf "$dir"
    fi
    ;;
kill) kill_at_once "$@" ;;
env) print_env ;;
ctl) read_folder && ctl "$@" ;;
*) usage ;;
esac
