/* SPDX-License-Identifier: Apache-2.0 */
/* bare_http.c - how many requests libcurl's own loop does: bare_http HOST PORT MESSAGES SIZE
 * [WINDOW [1|2]] sends MESSAGES POSTs of SIZE bytes, WINDOW of them side by side, by HTTP/1.1, or
 * by HTTP/2 with TLS, and prints how many a second were answered by a 2xx. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WINDOW_MAX 10000

struct bench {
    CURLM *multi;
    char url[512];
    char *body;
    long size, window, left, version;
    long accepted, refused;
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t drop(char *p, size_t size, size_t n, void *data)
{
    (void)p;
    (void)data;
    return size * n;
}

static struct curl_slist *headers_of(long number)
{
    char id[64];
    struct curl_slist *list;
    snprintf(id, sizeof id, "webhook-id: bare-%ld", number);
    list = curl_slist_append(NULL, id);
    return curl_slist_append(list, "Content-Type: application/json");
}

static void begin(struct bench *b, CURL *e)
{
    struct curl_slist *old = NULL, *list = headers_of(b->left);
    char *known = NULL;
    curl_easy_getinfo(e, CURLINFO_PRIVATE, &known);
    old = (struct curl_slist *)(void *)known;
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, list);
    curl_easy_setopt(e, CURLOPT_PRIVATE, list);
    curl_slist_free_all(old);
    b->left--;
    curl_multi_add_handle(b->multi, e);
}

static CURL *make(const struct bench *b)
{
    CURL *e = curl_easy_init();
    curl_easy_setopt(e, CURLOPT_URL, b->url);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, drop);
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, b->size);
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, b->body);
    curl_easy_setopt(e, CURLOPT_PIPEWAIT, b->version == 2 ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION,
                     b->version == 2 ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
    return e;
}

static void take(struct bench *b)
{
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(b->multi, &left)) != NULL) {
        CURL *e = msg->easy_handle;
        long status = 0;
        curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
        if (status / 100 == 2)
            b->accepted++;
        else if (b->refused++ == 0)
            fprintf(stderr, "bare_http: %s, status %ld\n", curl_easy_strerror(msg->data.result),
                    status);
        curl_multi_remove_handle(b->multi, e);
        if (b->left > 0)
            begin(b, e);
        else
            b->window--;
    }
}

int main(int argc, char **argv)
{
    struct bench b = {.version = argc > 6 ? atol(argv[6]) : 1};
    CURL *all[WINDOW_MAX];
    long n, messages;
    double began;
    int running;
    if (argc < 5) {
        fprintf(stderr, "usage: bare_http HOST PORT MESSAGES SIZE [WINDOW [1|2]]\n");
        return 2;
    }
    messages = b.left = atol(argv[3]);
    b.size = atol(argv[4]);
    n = b.window = argc > 5 ? atol(argv[5]) : 20;
    if (b.left < 1 || b.size < 0 || n < 1 || n > WINDOW_MAX || n > b.left)
        return 2;
    snprintf(b.url, sizeof b.url, "http%s://%s:%s/", b.version == 2 ? "s" : "", argv[1], argv[2]);
    b.body = malloc((size_t)b.size + 1);
    if (!b.body || curl_global_init(CURL_GLOBAL_DEFAULT) || !(b.multi = curl_multi_init()))
        return 1;
    memset(b.body, 'x', (size_t)b.size);
    curl_multi_setopt(b.multi, CURLMOPT_MAXCONNECTS, n + 4);
    began = now_s();
    for (long i = 0; i < n; i++)
        begin(&b, all[i] = make(&b));
    while (b.window > 0) {
        curl_multi_perform(b.multi, &running);
        take(&b);
        if (b.window > 0)
            curl_multi_poll(b.multi, NULL, 0, 1000, NULL);
    }
    printf("%.0f\n", (double)b.accepted / (now_s() - began));
    for (long i = 0; i < n; i++)
        curl_easy_cleanup(all[i]);
    curl_multi_cleanup(b.multi);
    free(b.body);
    return b.accepted == messages ? 0 : 1;
}
