/* SPDX-License-Identifier: Apache-2.0 */
/* connect.c - the connection: from its beginning to its end. All by the client's thread. */
#include "mqtt.h"

#include <errno.h>
#include <fcntl.h>
#include <mqtt_protocol.h>
#include <poll.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* The library is asked so often whether it has something to do: pings. */
#define MISC_US 1000000

static const char *text_of_end(int code)
{
    return code >= 128 ? mosquitto_reason_string(code) : mosquitto_strerror(code);
}

static void note_end(struct client *c, int code, const char *why)
{
    const char *last = strrchr(c->log, ':');
    if (c->gone)
        return;
    c->gone = code ? code : MOSQ_ERR_CONN_LOST;
    if (code == MOSQ_ERR_TLS && last) { /* OpenSSL's line, of which the end is for people */
        snprintf(c->why, sizeof c->why, "TLS: %.200s", last + 1);
        return;
    }
    snprintf(c->why, sizeof c->why, "%s%s%.200s", why ? why : text_of_end(c->gone),
             *c->log ? ": " : "", c->log);
}

/* ---- what the library tells ---- */

static void on_log(struct mosquitto *mosq, void *obj, int level, const char *text)
{
    struct client *c = obj;
    (void)mosq;
    if (level == MOSQ_LOG_ERR)
        snprintf(c->log, sizeof c->log, "%s", text);
}

static void on_disconnect(struct mosquitto *mosq, void *obj, int code,
                          const mosquitto_property *props)
{
    (void)mosq;
    (void)props;
    note_end(obj, code, NULL);
}

static void on_connect(struct mosquitto *mosq, void *obj, int code, int flags,
                       const mosquitto_property *props)
{
    struct client *c = obj;
    uint16_t window = UINT16_MAX;
    uint8_t qos = 2, retain = 1;
    (void)mosq;
    (void)flags;
    c->connack = code;
    mosquitto_property_read_int16(props, MQTT_PROP_RECEIVE_MAXIMUM, &window, false);
    mosquitto_property_read_byte(props, MQTT_PROP_MAXIMUM_QOS, &qos, false);
    mosquitto_property_read_byte(props, MQTT_PROP_RETAIN_AVAILABLE, &retain, false);
    c->window = c->settings.window < window ? c->settings.window : window;
    c->window += c->window == 0; /* no broker says that */
    if (code == 0 && c->settings.qos > qos)
        note_end(c, MOSQ_ERR_QOS_NOT_SUPPORTED, NULL);
    else if (code == 0 && c->settings.retain && !retain)
        note_end(c, MOSQ_ERR_RETAIN_NOT_SUPPORTED, NULL);
}

/* Without this, the library asks for the password of a key at the terminal. */
static int no_password(char *buf, int size, int rwflag, void *obj)
{
    (void)size;
    (void)rwflag;
    (void)obj;
    *buf = '\0';
    return 0;
}

/* ---- a new client for each connection: an old one would send again what it still has ---- */

static int set_login(struct client *c, struct outbox_err *err)
{
    char password[1024] = "";
    const char *secret = c->settings.url.has_password ? c->settings.url.password : NULL;
    uint64_t n;
    int rc, r = OUTBOX_OK;
    if (!c->settings.url.has_user)
        return OUTBOX_OK;
    if (c->host->option_is_set(c->cfg, "password")) {
        r = outbox_option_read(c->host, c->cfg, "password", password, sizeof password, &n, err);
        secret = password;
    }
    if (r == OUTBOX_OK) {
        rc = mosquitto_username_pw_set(c->mosq, c->settings.url.user, secret);
        if (rc != MOSQ_ERR_SUCCESS)
            r = outbox_fail(err, OUTBOX_E_CONFIG, "the login: %s", mosquitto_strerror(rc));
    }
    explicit_bzero(password, sizeof password);
    return r;
}

/* A key is for its owner. */
static int check_key(const char *path, struct outbox_err *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "key_file: %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0)
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "key_file: %s is no regular file, or others may read it: chmod 600",
                           path);
    return OUTBOX_OK;
}

static int set_tls(struct client *c, struct outbox_err *err)
{
    const struct settings *set = &c->settings;
    int rc;
    if (!set->tls)
        return OUTBOX_OK;
    if (set->key_file && check_key(set->key_file, err) < 0)
        return OUTBOX_E_CONFIG;
    if (!set->ca_file)
        mosquitto_int_option(c->mosq, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
    /* The library wants one of the two, also with those of the system. */
    rc = mosquitto_tls_set(c->mosq, set->ca_file, set->ca_file ? NULL : "/etc/ssl/certs",
                           set->cert_file, set->key_file, no_password);
    if (rc == MOSQ_ERR_INVAL)
        return outbox_fail(err, OUTBOX_E_CONFIG, "ca_file, cert_file or key_file cannot be read");
    if (rc == MOSQ_ERR_SUCCESS && !set->tls_verify) {
        rc = mosquitto_tls_opts_set(c->mosq, 0, NULL, NULL);
        if (rc == MOSQ_ERR_SUCCESS)
            rc = mosquitto_tls_insecure_set(c->mosq, true);
    }
    return rc == MOSQ_ERR_SUCCESS
               ? OUTBOX_OK
               : outbox_fail(err, OUTBOX_E_RETRY, "TLS: %s", mosquitto_strerror(rc));
}

static int make_client(struct client *c, struct outbox_err *err)
{
    int r;
    c->connack = -1;
    c->gone = 0;
    c->why[0] = c->log[0] = '\0';
    c->mosq = mosquitto_new(c->settings.client_id, true, c);
    if (!c->mosq)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    mosquitto_log_callback_set(c->mosq, on_log);
    mosquitto_connect_v5_callback_set(c->mosq, on_connect);
    mosquitto_disconnect_v5_callback_set(c->mosq, on_disconnect);
    mosquitto_publish_v5_callback_set(c->mosq, message_on_answer);
    mosquitto_int_option(c->mosq, MOSQ_OPT_PROTOCOL_VERSION, c->settings.protocol);
    mosquitto_int_option(c->mosq, MOSQ_OPT_SEND_MAXIMUM, (int)c->settings.window);
    mosquitto_int_option(c->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    r = set_login(c, err);
    return r == OUTBOX_OK ? set_tls(c, err) : r;
}

void connection_drop(struct client *c)
{
    if (!c->mosq)
        return;
    if (c->connected && !c->gone)
        mosquitto_disconnect(c->mosq);
    c->connected = 0;
    mosquitto_destroy(c->mosq);
    c->mosq = NULL;
}

/* ---- connecting ---- */

/* What the broker's refusal means: 1 to 5 are those of MQTT 3, from 128 on of MQTT 5. */
static int take_connack(const struct client *c, const char *peer, struct outbox_err *err)
{
    int code = c->connack;
    const char *text = code >= 128 ? mosquitto_reason_string(code) : mosquitto_connack_string(code);
    switch (code) {
    case CONNACK_REFUSED_PROTOCOL_VERSION:
    case MQTT_RC_UNSUPPORTED_PROTOCOL_VERSION:
        return outbox_fail(err, OUTBOX_E_CONFIG,
                           "%s: the broker does not speak this version of MQTT; set protocol",
                           peer);
    case CONNACK_REFUSED_IDENTIFIER_REJECTED:
    case CONNACK_REFUSED_BAD_USERNAME_PASSWORD:
    case CONNACK_REFUSED_NOT_AUTHORIZED:
    case MQTT_RC_CLIENTID_NOT_VALID:
    case MQTT_RC_BAD_USERNAME_OR_PASSWORD:
    case MQTT_RC_NOT_AUTHORIZED:
    case MQTT_RC_BANNED:
    case MQTT_RC_BAD_AUTHENTICATION_METHOD:
        return outbox_fail(err, OUTBOX_E_CONFIG, "%s: the broker refuses the login as `%s`: %s",
                           peer, c->settings.url.user, text);
    default:
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: the broker refuses the connection: %s", peer,
                           text);
    }
}

static int take_end(const struct client *c, const char *peer, struct outbox_err *err)
{
    int code = OUTBOX_E_RETRY;
    if (c->gone == MOSQ_ERR_QOS_NOT_SUPPORTED || c->gone == MOSQ_ERR_RETAIN_NOT_SUPPORTED ||
        strstr(c->why, "certificate verify failed"))
        code = OUTBOX_E_CONFIG;
    return outbox_fail(err, code, "%s: %s", peer, c->why);
}

static int connect_host(struct client *c, const struct outbox_url_host *h, struct outbox_err *err)
{
    int64_t until_us = client_now_us(c) + c->settings.connect_us;
    int rc, e, r = make_client(c, err);
    if (r < 0)
        return r;
    pthread_mutex_unlock(&c->lock); /* it looks up the name, which may take long */
    rc = mosquitto_connect_async(c->mosq, h->name, h->port, c->settings.keepalive_s);
    e = errno;
    pthread_mutex_lock(&c->lock);
    if (rc != MOSQ_ERR_SUCCESS)
        note_end(c, rc,
                 rc == MOSQ_ERR_ERRNO ? strerror(e)
                 : rc == MOSQ_ERR_EAI ? "its name is unknown"
                                      : NULL);
    if (mosquitto_socket(c->mosq) >= 0)
        fcntl(mosquitto_socket(c->mosq), F_SETFD, FD_CLOEXEC);
    while (c->connack < 0 && !c->gone && !c->ending && client_now_us(c) < until_us)
        connection_step(c, until_us);
    if (c->connack > 0)
        return take_connack(c, h->peer, err);
    if (c->gone)
        return take_end(c, h->peer, err);
    if (c->connack < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: no answer within connect_timeout", h->peer);
    c->connected = 1;
    c->down.code = 0;
    outbox_logf(c->host, OUTBOX_LOG_DEBUG, "connected to %s", h->peer);
    return OUTBOX_OK;
}

/* Tries the hosts one after the other. A refused login ends it: a person has to look. */
int connection_make(struct client *c, struct outbox_err *err)
{
    int r = OUTBOX_E_RETRY;
    for (uint32_t i = 0; i < c->settings.url.n_hosts && r != OUTBOX_OK; i++) {
        r = c->ending ? OUTBOX_E_CONFIG : connect_host(c, &c->settings.url.hosts[i], err);
        if (r != OUTBOX_OK)
            connection_drop(c);
        if (r == OUTBOX_E_CONFIG)
            break;
    }
    return r;
}

/* ---- waiting ---- */

/* While the connection is being made, the socket knows best what is wrong. */
static void ask_socket(struct client *c, int fd)
{
    int e = 0;
    socklen_t n = sizeof e;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) == 0 && e != 0)
        note_end(c, MOSQ_ERR_CONN_LOST, strerror(e));
}

static int wait_ms(const struct client *c, int64_t until_us)
{
    int64_t now = client_now_us(c), left;
    if (c->earliest_us < until_us)
        until_us = c->earliest_us;
    if (c->mosq && until_us > now + MISC_US)
        until_us = now + MISC_US;
    if (until_us == INT64_MAX)
        return -1;
    left = until_us - now;
    return left <= 0                          ? 0
           : left > 1000 * (int64_t)INT32_MAX ? INT32_MAX
                                              : (int)((left + 999) / 1000);
}

void connection_step(struct client *c, int64_t until_us)
{
    int fd = c->mosq ? mosquitto_socket(c->mosq) : -1;
    struct pollfd fds[2] = {{.fd = c->wake, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    int ms = wait_ms(c, until_us), rc = MOSQ_ERR_SUCCESS;
    eventfd_t count;
    if (fd >= 0 && mosquitto_want_write(c->mosq))
        fds[1].events |= POLLOUT;
    pthread_mutex_unlock(&c->lock);
    poll(fds, 2, ms);
    pthread_mutex_lock(&c->lock);
    if (fds[0].revents)
        eventfd_read(c->wake, &count);
    jobs_expire(c);
    if (!c->mosq || c->ending)
        return;
    if (c->connack < 0 && (fds[1].revents & (POLLERR | POLLHUP)))
        ask_socket(c, fd);
    if (!c->gone && fds[1].revents & (POLLIN | POLLERR | POLLHUP))
        rc = mosquitto_loop_read(c->mosq, 1);
    if (rc == MOSQ_ERR_SUCCESS && !c->gone && fds[1].revents & POLLOUT)
        rc = mosquitto_loop_write(c->mosq, 1);
    if (rc == MOSQ_ERR_SUCCESS && !c->gone)
        rc = mosquitto_loop_misc(c->mosq);
    if (rc != MOSQ_ERR_SUCCESS)
        note_end(c, rc, rc == MOSQ_ERR_ERRNO ? strerror(errno) : NULL);
}
