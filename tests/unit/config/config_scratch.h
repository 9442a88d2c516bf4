/* SPDX-License-Identifier: Apache-2.0 */
/* config_scratch.h - a folder with plugins and a secret, and configurations read from it. */
#pragma once

#include "config/load.h"
#include "unit.h"

#include <outbox/helpers.h>

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A publisher with options of every type; a case begins in its section, on line 10. */
#define PRELUDE                                                                               \
    "[relay]\nplugin_dir = @/plugins\n[store]\nplugin = sqlite\npath = x.db\n[publisher a]\n" \
    "plugin = options\nurl = u\npassword_file = @/secret\n"

/* The same without the secret; what follows is line 9. */
#define SECTION                                                                               \
    "[relay]\nplugin_dir = @/plugins\n[store]\nplugin = sqlite\npath = x.db\n[publisher a]\n" \
    "plugin = options\nurl = u\n"

static char dir[64];

/* ---- files ---- */

/* `@` in text stands for the test's folder. */
static inline char *fill(const char *text)
{
    char *out = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&out, &n);
    for (; *text; text++) {
        if (*text == '@')
            fputs(dir, f);
        else
            fputc(*text, f);
    }
    fclose(f);
    return out;
}

static inline const char *write_bytes(const char *name, const void *bytes, size_t n, mode_t mode)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "we");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(chmod(path, mode), 0);
    return path;
}

static inline void install(const char *from_variable, const char *from, const char *name)
{
    char path[4096], to[64];
    static char bytes[16 << 20];
    const char *folder = getenv(from_variable);
    ck_assert_msg(folder != NULL, "%s is not set; use make check", from_variable);
    snprintf(path, sizeof path, "%s/%s%s", folder, from, name);
    snprintf(to, sizeof to, "plugins/%s", name);
    FILE *f = fopen(path, "re");
    ck_assert_msg(f != NULL, "%s is missing", path);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    ck_assert_uint_lt(n, sizeof bytes);
    write_bytes(to, bytes, n, 0755);
}

static inline void set_up(void)
{
    char plugins[80];
    snprintf(dir, sizeof dir, "/tmp/outbox-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(plugins, sizeof plugins, "%s/plugins", dir);
    ck_assert_int_eq(mkdir(plugins, 0755), 0);
    install("OUTBOX_TEST_PLUGIN_DIR", "", "store-sqlite.so");
    install("OUTBOX_TEST_BUILDDIR", "tests/fixtures/", "pub-options.so");
    install("OUTBOX_TEST_BUILDDIR", "tests/fixtures/", "rule-options.so");
    write_bytes("secret", "hush\n", 5, 0600);
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline void tear_down(void)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- loading ---- */

struct reported {
    char text[1 << 17];
    size_t n;
};

static inline void report(void *ctx, const char *file, int line, const char *text)
{
    struct reported *reported = ctx;
    (void)file;
    int n =
        snprintf(reported->text + reported->n, sizeof reported->text - reported->n, "%d: ", line);
    reported->n += (size_t)n;
    while (*text && reported->n < sizeof reported->text - 2) {
        if (strncmp(text, dir, strlen(dir)) == 0) {
            reported->text[reported->n++] = '@';
            text += strlen(dir);
        } else {
            reported->text[reported->n++] = *text++;
        }
    }
    reported->text[reported->n++] = '\n';
    reported->text[reported->n] = '\0';
}

static struct reported reported;

/* NULL when something was reported. */
static inline struct config *load_mode(const char *text, mode_t mode)
{
    struct config *config = NULL;
    char *filled = fill(text);
    const char *path = write_bytes("outboxd.ini", filled, strlen(filled), mode);
    reported = (struct reported){{0}, 0};
    int r = load_config(path, report, &reported, &config);
    ck_assert_int_eq(r, reported.n > 0 ? OUTBOX_E_CONFIG : OUTBOX_OK);
    ck_assert((config != NULL) == (r == 0));
    free(filled);
    return config;
}

static inline struct config *load(const char *text)
{
    return load_mode(text, 0600);
}

static inline void refused(const char *text, const char *expected)
{
    config_free(load(text));
    ck_assert_str_eq(reported.text, expected);
}

static inline struct config *taken(const char *text)
{
    struct config *config = load(text);
    ck_assert_str_eq(reported.text, "");
    return config;
}
