/* SPDX-License-Identifier: Apache-2.0 */
#include "amqp_rig.h"

#include "amqp_shown.h"

#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/tcp_socket.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#endif

#include <check.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static amqp_connection_state_t c;

/* What to delete. */
static struct {
    char name[300];
    bool is_queue;
} made[64];
static size_t n_made;

static amqp_bytes_t text(const char *s)
{
    return amqp_cstring_bytes(s);
}

static void check_reply(const char *what)
{
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(c);
    const amqp_channel_close_t *close = reply.reply.decoded;
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION)
        ck_abort_msg("%s: %.*s", what, (int)close->reply_text.len, (char *)close->reply_text.bytes);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        ck_abort_msg("%s: %s", what, amqp_error_string2(reply.library_error));
}

/* ---- life ---- */

void rig_lock(void)
{
    char path[512];
    const char *dir = getenv("OUTBOX_SERVICES_DIR");
    if (!dir)
        return;
    snprintf(path, sizeof path, "%s/rabbitmq.lock", dir);
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        perror(path);
}

void rig_reconnect(void)
{
    struct amqp_connection_info info;
    char url[256];
    snprintf(url, sizeof url, "%s", getenv("OUTBOX_TEST_AMQP"));
    ck_assert_int_eq(amqp_parse_url(url, &info), AMQP_STATUS_OK);
    c = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(c);
    struct timeval timeout = {20, 0};
    ck_assert_int_eq(amqp_socket_open_noblock(socket, info.host, info.port, &timeout),
                     AMQP_STATUS_OK);
    amqp_set_rpc_timeout(c, &timeout);
    amqp_rpc_reply_t reply =
        amqp_login(c, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, info.user, info.password);
    ck_assert_int_eq(reply.reply_type, AMQP_RESPONSE_NORMAL);
    amqp_channel_open(c, 1);
    check_reply("channel");
}

void rig_start(void)
{
    n_made = 0;
    rig_reconnect();
}

void rig_disconnect(void)
{
    amqp_connection_close(c, 200);
    amqp_destroy_connection(c);
    c = NULL;
}

void rig_stop(void)
{
    for (size_t i = 0; i < n_made; i++) {
        if (made[i].is_queue)
            amqp_queue_delete(c, 1, text(made[i].name), 0, 0);
        else
            amqp_exchange_delete(c, 1, text(made[i].name), 0);
    }
    rig_disconnect();
}

const char *rig_name(const char *prefix)
{
    static char names[16][300];
    char wanted[300];
    snprintf(wanted, sizeof wanted, "%s-%d", prefix, getpid());
    for (size_t i = 0;; i++) {
        ck_assert_uint_lt(i, 16);
        if (names[i][0] == '\0')
            memcpy(names[i], wanted, sizeof wanted);
        if (strcmp(names[i], wanted) == 0)
            return names[i];
    }
}

/* ---- making ---- */

static void remember(const char *name, bool is_queue)
{
    ck_assert_uint_lt(n_made, sizeof made / sizeof made[0]);
    snprintf(made[n_made].name, sizeof made[n_made].name, "%s", name);
    made[n_made++].is_queue = is_queue;
}

void rig_queue(const char *queue, ...)
{
    amqp_table_entry_t entries[8];
    amqp_table_t arguments = {0, entries};
    va_list ap;
    va_start(ap, queue);
    for (const char *name; (name = va_arg(ap, const char *));) {
        const char *value = va_arg(ap, const char *);
        amqp_table_entry_t *entry = &entries[arguments.num_entries++];
        entry->key = text(name);
        if (isdigit((unsigned char)value[0])) {
            entry->value.kind = AMQP_FIELD_KIND_I64;
            entry->value.value.i64 = strtoll(value, NULL, 10);
        } else {
            entry->value.kind = AMQP_FIELD_KIND_UTF8;
            entry->value.value.bytes = text(value);
        }
    }
    va_end(ap);
    amqp_queue_declare(c, 1, text(queue), 0, 1, 0, 0, arguments);
    check_reply(queue);
    remember(queue, true);
}

void rig_exchange(const char *exchange, const char *type)
{
    amqp_exchange_declare(c, 1, text(exchange), text(type), 0, 1, 0, 0, amqp_empty_table);
    check_reply(exchange);
    remember(exchange, false);
}

void rig_bind(const char *queue, const char *exchange, const char *key)
{
    amqp_queue_bind(c, 1, text(queue), text(exchange), text(key), amqp_empty_table);
    check_reply(queue);
}

void rig_bind_header(const char *queue, const char *exchange, const char *header, int64_t value)
{
    amqp_table_entry_t entry = {.key = text(header)};
    entry.value.kind = AMQP_FIELD_KIND_I64;
    entry.value.value.i64 = value;
    amqp_queue_bind(c, 1, text(queue), text(exchange), text(""), (amqp_table_t){1, &entry});
    check_reply(queue);
}

void rig_delete_queue(const char *queue)
{
    amqp_queue_delete(c, 1, text(queue), 0, 0);
    check_reply(queue);
}

/* ---- taking ---- */

static void copy(amqp_bytes_t from, char *to, size_t cap)
{
    snprintf(to, cap, "%.*s", (int)from.len, (char *)from.bytes);
}

bool rig_get(const char *queue, struct rig_message *ret)
{
    amqp_message_t message;
    amqp_rpc_reply_t reply = amqp_basic_get(c, 1, text(queue), 1);
    check_reply(queue);
    memset(ret, 0, sizeof *ret);
    if (reply.reply.id == AMQP_BASIC_GET_EMPTY_METHOD)
        return false;
    const amqp_basic_get_ok_t *ok = reply.reply.decoded;
    copy(ok->exchange, ret->exchange, sizeof ret->exchange);
    copy(ok->routing_key, ret->key, sizeof ret->key);
    ret->redelivered = ok->redelivered;
    ck_assert_int_eq(amqp_read_message(c, 1, &message, 0).reply_type, AMQP_RESPONSE_NORMAL);
    const amqp_basic_properties_t *p = &message.properties;
    if (p->_flags & AMQP_BASIC_MESSAGE_ID_FLAG)
        copy(p->message_id, ret->id, sizeof ret->id);
    if (p->_flags & AMQP_BASIC_TYPE_FLAG)
        copy(p->type, ret->type, sizeof ret->type);
    if (p->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG)
        copy(p->content_type, ret->content_type, sizeof ret->content_type);
    if (p->_flags & AMQP_BASIC_HEADERS_FLAG)
        shown_headers(&p->headers, ret->headers, sizeof ret->headers);
    shown_properties(p, ret->properties, sizeof ret->properties);
    ret->timestamp = p->_flags & AMQP_BASIC_TIMESTAMP_FLAG ? p->timestamp : 0;
    ret->delivery_mode = p->_flags & AMQP_BASIC_DELIVERY_MODE_FLAG ? p->delivery_mode : 0;
    ret->body_n = message.body.len;
    copy(message.body, ret->body, sizeof ret->body);
    amqp_destroy_message(&message);
    amqp_maybe_release_buffers(c);
    return true;
}

int rig_arrived(const char *queue, const char *id)
{
    static char(*ids)[256];
    static size_t n_ids;
    struct rig_message message;
    int n = 0;
    while (rig_get(queue, &message)) {
        ids = realloc(ids, (n_ids + 1) * sizeof *ids);
        ck_assert_ptr_nonnull(ids);
        snprintf(ids[n_ids++], sizeof *ids, "%s", message.id);
    }
    for (size_t i = 0; i < n_ids; i++)
        n += strcmp(ids[i], id) == 0;
    return n;
}

int rig_depth(const char *queue)
{
    const amqp_queue_declare_ok_t *ok =
        amqp_queue_declare(c, 1, text(queue), 1, 0, 0, 0, amqp_empty_table);
    check_reply(queue);
    return (int)ok->message_count;
}

/* ---- the broker's switches ---- */

/* Begins scripts/services.sh; *ret_fd: what it says. */
static pid_t begin(const char *first, const char *argument, va_list ap, int *ret_fd)
{
    const char *argv[16] = {NULL};
    char script[512];
    int n = 0, fds[2];
    snprintf(script, sizeof script, "%s/scripts/services.sh", getenv("OUTBOX_TEST_SRCDIR"));
    argv[n++] = script;
    if (first)
        argv[n++] = first;
    for (; argument && n < 15; argument = va_arg(ap, const char *))
        argv[n++] = argument;
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], 1);
        execv(script, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    ck_assert_int_gt(pid, 0);
    close(fds[1]);
    *ret_fd = fds[0];
    return pid;
}

static void finish(pid_t pid, int fd, char *out, size_t cap)
{
    size_t used = 0;
    ssize_t got;
    int status = 0;
    while ((got = read(fd, out + used, cap - used - 1)) > 0)
        used += (size_t)got;
    out[used] = '\0';
    close(fd);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "scripts/services.sh: %s", out);
}

void rig_ctl(const char *argument, ...)
{
    char out[65536];
    int fd;
    va_list ap;
    va_start(ap, argument);
    pid_t pid = begin("ctl", argument, ap, &fd);
    va_end(ap);
    finish(pid, fd, out, sizeof out);
}

const char *rig_ctl_output(const char *argument, ...)
{
    static char out[65536];
    int fd;
    va_list ap;
    va_start(ap, argument);
    pid_t pid = begin("ctl", argument, ap, &fd);
    va_end(ap);
    finish(pid, fd, out, sizeof out);
    return out;
}

void rig_services(const char *argument, ...)
{
    char out[65536];
    int fd;
    va_list ap;
    va_start(ap, argument);
    pid_t pid = begin(NULL, argument, ap, &fd);
    va_end(ap);
    finish(pid, fd, out, sizeof out);
}

static pid_t background;
static int background_fd;

void rig_services_in_background(const char *argument, ...)
{
    va_list ap;
    va_start(ap, argument);
    background = begin(NULL, argument, ap, &background_fd);
    va_end(ap);
}

void rig_wait_for_services(void)
{
    char out[65536];
    finish(background, background_fd, out, sizeof out);
}
