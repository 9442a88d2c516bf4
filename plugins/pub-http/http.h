/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http.h - what the parts of pub-http share.
 *
 * All workers of a section use one curl_multi, which only the client's thread calls. A request has
 * copies of all that it sends: the messages of its jobs may go while it is on its way. The lock of
 * struct outbox_client is held but while the thread waits, and while it lets libcurl work
 * (multi_work): what libcurl calls then touches the thread's own fields of requests.
 */
#pragma once

#include <outbox/client.h>
#include <outbox/plugin.h>
#include <outbox/template.h>
#include <outbox/url.h>

#include <curl/curl.h>

#define URL_MAX 8192
#define SECRET_MAX 4096
#define ANSWER_KEPT 1024
#define STATUS_MAX 600

/* ---- text.c: bytes that grow; `failed` after a lack of memory ---- */

struct text {
    char *p;
    size_t n, cap;
    int failed;
};

void text_add(struct text *t, const char *p, size_t n);
void text_adds(struct text *t, const char *s);
void text_add_base64(struct text *t, const void *p, size_t n);
/* All but letters, digits and -._~ as %XX. */
void text_add_encoded(struct text *t, const char *p, size_t n);
/* A NUL behind it; NULL after a lack of memory. */
const char *text_end(struct text *t);
void text_free(struct text *t);

/* ---- json.c ---- */

/* 1: it is valid UTF-8. */
int json_is_utf8(struct outbox_str s);
/* 1: it is one value of JSON, as RFC 8259 has it. */
int json_is_valid(struct outbox_str s);
/* Adds s, which is valid UTF-8, in quotes. */
void json_add_string(struct text *t, struct outbox_str s);

/* ---- the options; texts are the host's ---- */

enum format { FORMAT_RAW, FORMAT_BINARY, FORMAT_STRUCTURED, FORMAT_BATCH };

/* What becomes of a message; those of publisher.h, and: by whether the url is fixed; by whether
 * others are accepted. */
#define VERDICT_UNAVAILABLE_OR_RETRY 16u
#define VERDICT_UNAVAILABLE_OR_REJECTED 17u
#define VERDICT_UNAVAILABLE_UNLESS_ACCEPTED 18u

enum http_version { VERSION_AUTO, VERSION_1, VERSION_2 };
enum auth { AUTH_NONE, AUTH_BASIC, AUTH_BEARER, AUTH_OAUTH2 };

struct settings {
    struct outbox_url url;
    char origin[OUTBOX_URL_TEXT + 32]; /* https://host:port */
    struct outbox_template path;       /* with the query */
    const char *method, *content_type, *id_header, *key_header;
    struct outbox_template ce_source, ce_type, ce_subject;
    enum format format;
    enum http_version http_version;
    enum auth auth;
    const char *token_url, *client_id, *scope, *audience, *bearer_header;
    const char *ca_file, *cert_file, *key_file;
    char proxy[OUTBOX_URL_TEXT + 32]; /* without its user; empty: none, or the environment's */
    char proxy_user[OUTBOX_URL_TEXT];
    int proxy_env, proxy_password;
    int restricted, tls_verify, allow_private, signs, token_by_body;
    uint32_t in_flight, connections, batch_max;
    uint64_t batch_bytes;
    long connect_ms, publish_ms;
    uint8_t verdicts[STATUS_MAX];
};

/* settings.c */
int settings_read(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct settings *set, struct outbox_err *err);

/* status.c: what each status means */
int status_read(const struct outbox_host *host, const struct outbox_cfg *cfg, uint8_t *verdicts,
                struct outbox_err *err);
uint32_t status_verdict(const struct settings *set, long status, int others_accepted);

/* target.c */
/* Splits the option: everything but set->url.path. */
int target_read(const struct outbox_host *host, const struct outbox_cfg *cfg, struct settings *set,
                struct outbox_err *err);
/* A literal address, also where a proxy would resolve it; names are found out at each connection.
 */
int target_check_private(const struct settings *set, const char *option, const char *host,
                         struct outbox_err *err);
/* OUTBOX_E_CONFIG: this message can never be sent. */
int target_render(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  const struct settings *set, const struct outbox_message *msg, struct text *ret,
                  struct outbox_err *err);

/* address.c */
struct sockaddr;
/* 1: an address that an url must not lead to unless allow_private says so. */
int address_is_private(const struct sockaddr *sa);
/* The same of a text; 0 if it is no address. */
int address_text_is_private(const char *text);

/* secret.c: what may change while the relay runs */
struct client;
struct secret {
    const char *option;
    int is_header;   /* it leaves in a header as it is */
    int64_t read_us; /* 0: never */
    uint64_t n;
    uint64_t version; /* grows with each change */
    char value[SECRET_MAX];
};

/* Reads it again when a second has passed. */
int secret_read(const struct outbox_host *host, const struct outbox_cfg *cfg, struct secret *s,
                struct outbox_err *err);
/* OUTBOX_E_CONFIG: no header can have it. */
int secret_check_header(const char *option, const char *value, struct outbox_err *err);
void secret_clear(struct secret *s);
/* 1: the text has a secret of ours, or so much of one that nobody should see it. */
int secret_is_in(const struct client *c, struct outbox_str text);

/* signature.c: Standard Webhooks */
int signature_check(const char *secrets, struct outbox_err *err);
/* Adds "v1,... v1,...", one for each of the secrets. */
int signature_add(const char *secrets, const char *id, const char *timestamp,
                  const struct text *body, struct text *ret, struct outbox_err *err);

/* ---- a request ---- */

enum kind { KIND_MESSAGES, KIND_CHECK, KIND_TOKEN };

/* Flags of outbox_job.number: */
#define JOB_ALONE 1u   /* not with others in one request */
#define JOB_RENEWED 2u /* was sent again with new credentials */

struct request {
    struct request *next, *next_over;
    struct client *client;
    CURL *easy;
    enum kind kind;
    int is_running;
    int is_set;               /* easy has what is the same for all requests of its kind */
    struct outbox_job **jobs; /* under the lock; NULL where one is gone */
    uint32_t n, cap, left;
    struct text url, body;
    struct curl_slist *headers;
    uint64_t credentials; /* the version that it was sent with */
    /* of its answer: */
    CURLcode code;
    int begun; /* 1: the other side may have it */
    int refused, complete;
    int64_t begun_us;
    size_t answer_n, answer_seen, headers_seen;
    struct text document; /* the answer to KIND_TOKEN */
    char answer[ANSWER_KEPT + 1];
    char error[CURL_ERROR_SIZE];
    char address[64]; /* that was refused */
};

struct client {
    struct outbox_client base;
    struct settings settings;
    struct secret password, bearer, signing, client_secret, proxy_password;
    /* the thread's */
    CURLM *multi;
    int epoll_fd;
    int64_t timer_us; /* when libcurl wants to be called */
    long timer_ms;    /* what libcurl said of it last */
    int timer_is_new;
    int64_t work_us; /* when it was called last */
    struct request *running, *idle;
    uint32_t n_running;
    int checking, fetching; /* such a request is on its way */
    int multiplexes;        /* -1: not known yet */
    int orphans;            /* some request may have no job any more; under the lock */
    int64_t answered_us;    /* work_us when the last status came */
    int64_t failed_us;      /* when it paused for a 500 or the like; 0: never */
    int accepted_since;     /* a message was, since the last of those */
    int64_t lost_us;        /* when libcurl said that one was lost */
    uint32_t n_lost;        /* how many were, together with that one */
    char *token;
    uint64_t token_version;
    int64_t token_until_us;
};

static inline struct client *client_of(struct outbox_client *c)
{
    return (struct client *)c;
}

/* headers.c */
/* Adds a header; REJECTED by OUTBOX_E_CONFIG if HTTP has no such name or value. */
int headers_add(struct curl_slist **list, const char *name, struct outbox_str value,
                struct outbox_err *err);
/* Adds a line as libcurl takes it: `Name:` leaves one of its own out. */
int headers_add_raw(struct curl_slist **list, const char *line, struct outbox_err *err);
/* 1: headers of messages and of the configuration do not have this name. */
int headers_is_reserved(const char *name);
/* Does this header of a message leave at all? */
int headers_leaves(const struct client *c, const struct outbox_header *h);
/* Those of the message, that are no attributes of an event. */
int headers_add_messages(const struct client *c, const struct outbox_message *msg,
                         struct curl_slist **list, struct outbox_err *err);
int headers_add_own(const struct client *c, struct curl_slist **list, struct outbox_err *err);
int headers_check(const struct outbox_host *host, const struct outbox_cfg *cfg,
                  struct outbox_err *err);
int headers_is_token(const char *name);

/* event.c: CloudEvents */
int event_is_attribute(const char *name);
int event_add_headers(const struct client *c, const struct outbox_message *msg,
                      struct curl_slist **list, struct outbox_err *err);
int event_add_json(const struct client *c, const struct outbox_message *msg, struct text *t,
                   struct outbox_err *err);
/* That of the message, else that of the option. */
struct outbox_str event_content_type(const struct client *c, const struct outbox_message *msg);

/* body.c: from messages to what is sent */
/* Takes jobs from the queue; those that can never be sent get their outcome. 0: there is none to
 * send. An error: none can be sent, for what is our own. */
int body_make(struct client *c, struct request *q, struct outbox_err *err);
/* The value of the header that proves who we are; empty: none. */
void body_add_credentials(const struct client *c, struct text *ret);
/* Which version of them that is. */
uint64_t body_credentials(const struct client *c);

/* request.c */
struct request *request_take(struct client *c, enum kind kind);
/* Hands it to libcurl. OUTBOX_E_RETRY: that failed; it is still the caller's. */
int request_start(struct client *c, struct request *q, long timeout_ms, struct outbox_err *err);
/* Takes it back from libcurl. */
void request_end(struct client *c, struct request *q);
/* Its messages wait again, each with the flags. */
void request_requeue(struct client *c, struct request *q, uint64_t flags);
/* It is over, and may be taken again. */
void request_put_back(struct client *c, struct request *q);
void request_free(struct request *q);

/* answer.c */
/* 1: it left, and got no status. */
int answer_is_lost(struct request *q);
void answer_take(struct client *c, struct request *q);
/* Why a request that was not begun has failed. */
int answer_fault(const struct client *c, const struct request *q, CURLcode code,
                 struct outbox_err *err);

/* token.c: OAuth2 client credentials */
int token_is_fresh(const struct client *c);
int token_fetch(struct client *c, struct outbox_err *err);
/* The answer. */
int token_take(struct client *c, struct request *q, CURLcode code, struct outbox_err *err);
void token_drop(struct client *c);

/* multi.c */
int multi_open(struct client *c, struct outbox_err *err);
void multi_close(struct client *c);
/* Sets timer_us, and says whether it is over. */
int multi_is_due(struct client *c);
/* Without the lock: uses neither host nor cfg, which may go meanwhile. */
void multi_work(struct client *c, int is_due);

/* client.c: the shared state */
int client_open(const struct outbox_host *host, const struct outbox_cfg *cfg, void **ret,
                struct outbox_err *err);
