/* SPDX-License-Identifier: Apache-2.0 */
/* connection.c - the connection: from its beginning to its end. All by the client's thread. */
#include "mqtt.h"

#include <errno.h>
#include <fcntl.h>
#include <mqtt_protocol.h>
#include <strings.h>
#include <sys/socket.h>

/* The library is asked so often whether it has something to do: pings. */
#define MISC_US 1000000

static const char *text_of_end(int code)
{
    return code >= 128 ? mosquitto_reason_string(code) : mosquitto_strerror(code);
}

static void note_end(struct broker *b, int code, const char *why)
{
    const char *last = strrchr(b->log, ':');
    if (b->gone)
        return;
    b->gone = code ? code : MOSQ_ERR_CONN_LOST;
    if (code == MOSQ_ERR_TLS && last) { /* OpenSSL's line, of which the end is for people */
        snprintf(b->why, sizeof b->why, "TLS: %.200s", last + 1);
        return;
    }
    snprintf(b->why, sizeof b->why, "%s%s%.200s", why ? why : text_of_end(b->gone),
             *b->log ? ": " : "", b->log);
}

/* ---- what the library tells ---- */

static void on_log(struct mosquitto *mosq, void *obj, int level, const char *text)
{
    struct broker *b = obj;
    (void)mosq;
    if (level == MOSQ_LOG_ERR)
        snprintf(b->log, sizeof b->log, "%s", text);
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
    struct broker *b = obj;
    uint16_t window = UINT16_MAX;
    uint8_t qos = 2, retain = 1;
    (void)mosq;
    (void)flags;
    b->connack = code;
    mosquitto_property_read_int16(props, MQTT_PROP_RECEIVE_MAXIMUM, &window, false);
    mosquitto_property_read_byte(props, MQTT_PROP_MAXIMUM_QOS, &qos, false);
    mosquitto_property_read_byte(props, MQTT_PROP_RETAIN_AVAILABLE, &retain, false);
    b->window = b->settings.window < window ? b->settings.window : window;
    b->window += b->window == 0; /* no broker says that */
    if (code == 0 && b->settings.qos > qos)
        note_end(b, MOSQ_ERR_QOS_NOT_SUPPORTED, NULL);
    else if (code == 0 && b->settings.retain && !retain)
        note_end(b, MOSQ_ERR_RETAIN_NOT_SUPPORTED, NULL);
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

static int set_login(struct broker *b, struct outbox_err *err)
{
    char password[1024] = "";
    const char *secret = b->settings.url.has_password ? b->settings.url.password : NULL;
    uint64_t n;
    int rc, r = OUTBOX_OK;
    if (!b->settings.url.has_user)
        return OUTBOX_OK;
    if (b->client.host->option_is_set(b->client.cfg, "password")) {
        r = outbox_option_read(b->client.host, b->client.cfg, "password", password, sizeof password,
                               &n, err);
        secret = password;
    }
    if (r == OUTBOX_OK) {
        rc = mosquitto_username_pw_set(b->mosq, b->settings.url.user, secret);
        if (rc != MOSQ_ERR_SUCCESS)
            r = outbox_fail(err, OUTBOX_E_CONFIG, "the login: %s", mosquitto_strerror(rc));
    }
    explicit_bzero(password, sizeof password);
    return r;
}

static int set_tls(struct broker *b, struct outbox_err *err)
{
    const struct settings *set = &b->settings;
    int rc;
    if (!set->tls)
        return OUTBOX_OK;
    if (set->key_file && outbox_private_file("key_file", set->key_file, err) < 0)
        return OUTBOX_E_CONFIG;
    if (!set->ca_file)
        mosquitto_int_option(b->mosq, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
    /* The library wants one of the two, also with those of the system. */
    rc = mosquitto_tls_set(b->mosq, set->ca_file, set->ca_file ? NULL : "/etc/ssl/certs",
                           set->cert_file, set->key_file, no_password);
    if (rc == MOSQ_ERR_INVAL)
        return outbox_fail(err, OUTBOX_E_CONFIG, "ca_file, cert_file or key_file cannot be read");
    if (rc == MOSQ_ERR_SUCCESS && !set->tls_verify) {
        rc = mosquitto_tls_opts_set(b->mosq, 0, NULL, NULL);
        if (rc == MOSQ_ERR_SUCCESS)
            rc = mosquitto_tls_insecure_set(b->mosq, true);
    }
    return rc == MOSQ_ERR_SUCCESS
               ? OUTBOX_OK
               : outbox_fail(err, OUTBOX_E_RETRY, "TLS: %s", mosquitto_strerror(rc));
}

static int make_client(struct broker *b, struct outbox_err *err)
{
    int r;
    b->connack = -1;
    b->gone = 0;
    b->why[0] = b->log[0] = '\0';
    b->mosq = mosquitto_new(b->settings.client_id, true, b);
    if (!b->mosq)
        return outbox_fail(err, OUTBOX_E_RETRY, "out of memory");
    mosquitto_log_callback_set(b->mosq, on_log);
    mosquitto_connect_v5_callback_set(b->mosq, on_connect);
    mosquitto_disconnect_v5_callback_set(b->mosq, on_disconnect);
    mosquitto_publish_v5_callback_set(b->mosq, message_on_answer);
    mosquitto_int_option(b->mosq, MOSQ_OPT_PROTOCOL_VERSION, b->settings.protocol);
    mosquitto_int_option(b->mosq, MOSQ_OPT_SEND_MAXIMUM, (int)b->settings.window);
    mosquitto_int_option(b->mosq, MOSQ_OPT_TCP_NODELAY, 1);
    r = set_login(b, err);
    return r == OUTBOX_OK ? set_tls(b, err) : r;
}

void connection_drop(struct broker *b)
{
    if (!b->mosq)
        return;
    if (b->client.is_connected && !b->gone)
        mosquitto_disconnect(b->mosq);
    b->client.is_connected = 0;
    mosquitto_destroy(b->mosq);
    b->mosq = NULL;
}

/* ---- connecting ---- */

/* What the broker's refusal means: 1 to 5 are those of MQTT 3, from 128 on of MQTT 5. */
static int take_connack(const struct broker *b, const char *peer, struct outbox_err *err)
{
    int code = b->connack;
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
                           peer, b->settings.url.user, text);
    default:
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: the broker refuses the connection: %s", peer,
                           text);
    }
}

static int take_end(const struct broker *b, const char *peer, struct outbox_err *err)
{
    int code = OUTBOX_E_RETRY;
    if (b->gone == MOSQ_ERR_QOS_NOT_SUPPORTED || b->gone == MOSQ_ERR_RETAIN_NOT_SUPPORTED ||
        strstr(b->why, "certificate verify failed"))
        code = OUTBOX_E_CONFIG;
    return outbox_fail(err, code, "%s: %s", peer, b->why);
}

static int connect_host(struct broker *b, const struct outbox_url_host *h, struct outbox_err *err)
{
    int64_t until_us = outbox_client_now_us(&b->client) + b->settings.connect_us;
    int rc, e, r = make_client(b, err);
    if (r < 0)
        return r;
    pthread_mutex_unlock(&b->client.lock); /* it looks up the name, which may take long */
    rc = mosquitto_connect_async(b->mosq, h->name, h->port, b->settings.keepalive_s);
    e = errno;
    pthread_mutex_lock(&b->client.lock);
    if (rc != MOSQ_ERR_SUCCESS)
        note_end(b, rc,
                 rc == MOSQ_ERR_ERRNO ? strerror(e)
                 : rc == MOSQ_ERR_EAI ? "its name is unknown"
                                      : NULL);
    if (mosquitto_socket(b->mosq) >= 0)
        fcntl(mosquitto_socket(b->mosq), F_SETFD, FD_CLOEXEC);
    while (b->connack < 0 && !b->gone && !b->client.ending &&
           outbox_client_now_us(&b->client) < until_us)
        connection_step(b, until_us);
    if (b->connack > 0)
        return take_connack(b, h->peer, err);
    if (b->gone)
        return take_end(b, h->peer, err);
    if (b->connack < 0)
        return outbox_fail(err, OUTBOX_E_RETRY, "%s: no answer within connect_timeout", h->peer);
    outbox_logf(b->client.host, OUTBOX_LOG_DEBUG, "connected to %s", h->peer);
    return OUTBOX_OK;
}

/* Tries the hosts one after the other. A refused login ends it: a person has to look. */
int connection_make(struct broker *b, struct outbox_err *err)
{
    int r = OUTBOX_E_RETRY;
    for (uint32_t i = 0; i < b->settings.url.n_hosts && r != OUTBOX_OK; i++) {
        r = b->client.ending ? OUTBOX_E_CONFIG : connect_host(b, &b->settings.url.hosts[i], err);
        if (r != OUTBOX_OK)
            connection_drop(b);
        if (r == OUTBOX_E_CONFIG)
            break;
    }
    return r;
}

/* ---- waiting ---- */

/* While the connection is being made, the socket knows best what is wrong. */
static void ask_socket(struct broker *b, int fd)
{
    int e = 0;
    socklen_t n = sizeof e;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) == 0 && e != 0)
        note_end(b, MOSQ_ERR_CONN_LOST, strerror(e));
}

void connection_step(struct broker *b, int64_t until_us)
{
    struct outbox_client *c = &b->client;
    int fd = b->mosq ? mosquitto_socket(b->mosq) : -1, rc = MOSQ_ERR_SUCCESS;
    short events = fd >= 0 && mosquitto_want_write(b->mosq) ? POLLIN | POLLOUT : POLLIN, got;
    if (b->mosq && until_us > outbox_client_now_us(c) + MISC_US)
        until_us = outbox_client_now_us(c) + MISC_US;
    got = outbox_client_wait(c, fd, events, until_us);
    if (!b->mosq || c->ending)
        return;
    if (b->connack < 0 && (got & (POLLERR | POLLHUP)))
        ask_socket(b, fd);
    if (!b->gone && got & (POLLIN | POLLERR | POLLHUP))
        rc = mosquitto_loop_read(b->mosq, 1);
    if (rc == MOSQ_ERR_SUCCESS && !b->gone && got & POLLOUT)
        rc = mosquitto_loop_write(b->mosq, 1);
    if (rc == MOSQ_ERR_SUCCESS && !b->gone)
        rc = mosquitto_loop_misc(b->mosq);
    if (rc != MOSQ_ERR_SUCCESS)
        note_end(b, rc, rc == MOSQ_ERR_ERRNO ? strerror(errno) : NULL);
}
