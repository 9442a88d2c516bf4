/* SPDX-License-Identifier: Apache-2.0 */
#include "login_settings.h"

#include "section.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define USER_DEFAULT "guest"
/* Room for the text of a secret. */
#define SECRET_MAX 8192

/* The url, without its password, which goes to *ret_password; NULL: it has none. */
static int read_url(const struct section *in, struct url *ret, char **ret_password)
{
    char text[SECRET_MAX];
    uint64_t n = 0;
    int r = outbox_option_read(in->host, in->cfg, "url", text, sizeof text, &n, in->err);
    if (r == 0)
        r = n > 0 ? url_parse(text, ret, in->err)
                  : outbox_fail_option(in->err, "url", "url: it is empty");
    explicit_bzero(text, sizeof text);
    if (r == 0 && ret->parts.has_password && !(*ret_password = strdup(ret->parts.password)))
        r = section_no_memory(in);
    explicit_bzero(ret->parts.password, sizeof ret->parts.password);
    return r;
}

/* Replaces the one of the url. */
static int read_password(const struct section *in, char **ret)
{
    char text[SECRET_MAX];
    uint64_t n = 0;
    if (!section_is_set(in, "password"))
        return OUTBOX_OK;
    int r = outbox_option_read(in->host, in->cfg, "password", text, sizeof text, &n, in->err);
    if (r == 0 && memchr(text, '\0', (size_t)n))
        r = outbox_fail_option(in->err, "password", "password: it holds a NUL byte");
    if (r == 0) {
        secret_free(*ret);
        *ret = strdup(text);
        r = *ret ? OUTBOX_OK : section_no_memory(in);
    }
    explicit_bzero(text, sizeof text);
    return r;
}

/* The broker takes the name from the certificate, and there is no password. */
static int read_external(const struct section *in, struct endpoint *e, char **ret_password)
{
    static const char *const files[] = {"cert_file", "key_file"};
    if (!e->url.tls)
        return outbox_fail_option(in->err, "auth",
                                  "auth: external is only for a `url` that begins with amqps://");
    for (size_t i = 0; i < 2; i++)
        if (!section_is_set(in, files[i]))
            return outbox_fail_option(in->err, "auth", "auth: external needs %s", files[i]);
    if (section_is_set(in, "password"))
        return outbox_fail_option(in->err, "password", "password: not with auth = external");
    if (e->url.parts.has_user || *ret_password)
        return outbox_fail_option(
            in->err, "url", "url: it names a user; with auth = external the certificate does that");
    e->user = strdup("");
    *ret_password = strdup("");
    return e->user && *ret_password ? OUTBOX_OK : section_no_memory(in);
}

static int read_login(const struct section *in, struct endpoint *e, char **ret_password)
{
    int r = read_url(in, &e->url, ret_password);
    e->external = strcmp(section_text(in, "auth"), "external") == 0;
    if (r == 0 && e->external)
        return read_external(in, e, ret_password);
    if (r == 0)
        r = read_password(in, ret_password);
    if (r < 0)
        return r;
    if (e->url.parts.has_user && !*ret_password)
        return outbox_fail_option(
            in->err, "url",
            "password: `url` names a user, but there is no password; set password "
            "or password_file");
    e->user = strdup(e->url.parts.has_user ? e->url.parts.user : USER_DEFAULT);
    if (!*ret_password)
        *ret_password = strdup(USER_DEFAULT);
    return e->user && *ret_password ? OUTBOX_OK : section_no_memory(in);
}

static int read_tls(const struct section *in, struct endpoint *e)
{
    static const char *const files[] = {"ca_file", "cert_file", "key_file"};
    char **to[] = {&e->ca_file, &e->cert_file, &e->key_file};
    struct stat st;
    int r = OUTBOX_OK;
    e->verify = section_int(in, "tls_verify") != 0;
    for (size_t i = 0; r == 0 && i < 3; i++) {
        r = section_copy(in, files[i], to[i]);
        if (r == 0 && *to[i] && !e->url.tls)
            r = outbox_fail_option(in->err, files[i],
                                   "%s: only with a `url` that begins with amqps://", files[i]);
    }
    if (r < 0 || !e->url.tls)
        return r;
    if (!e->cert_file != !e->key_file)
        return outbox_fail_option(in->err, e->cert_file ? "cert_file" : "key_file",
                                  "%s: needs %s, too", e->cert_file ? "cert_file" : "key_file",
                                  e->cert_file ? "key_file" : "cert_file");
    if (e->key_file && stat(e->key_file, &st) == 0 && (st.st_mode & 007))
        return outbox_fail_option(
            in->err, "key_file",
            "key_file: %.200s is a private key, but others can read it (mode %04o); "
            "chmod o-rwx it",
            e->key_file, (unsigned)st.st_mode & 07777);
    return OUTBOX_OK;
}

static int read_all(const struct section *in, struct endpoint *e, char **ret_password)
{
    char machine[65] = "";
    char *name; /* asprintf leaves it undefined without memory */
    int r = read_login(in, e, ret_password);
    if (r == 0)
        r = read_tls(in, e);
    if (r < 0)
        return r;
    e->heartbeat_s = (int)((section_int(in, "heartbeat") + 999) / 1000);
    gethostname(machine, sizeof machine - 1);
    if (asprintf(&name, "outboxd %.100s on %s", in->host->instance, machine) < 0)
        return section_no_memory(in);
    e->client_name = name;
    return OUTBOX_OK;
}

int login_settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                        struct endpoint **ret, char **ret_password, struct outbox_err *err)
{
    const struct section in = {host, cfg, err};
    struct endpoint *e = calloc(1, sizeof *e);
    char *password = NULL;
    if (!e)
        return section_no_memory(&in);
    e->refs = 1;
    int r = read_all(&in, e, &password);
    if (r < 0) {
        secret_free(password);
        endpoint_unref(e);
        return r;
    }
    *ret = e;
    *ret_password = password;
    return OUTBOX_OK;
}
