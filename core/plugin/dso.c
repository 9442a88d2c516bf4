/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libltdl binds lazily, so that a module with an unresolved symbol would load and kill the
 * process at its first call; and its preopen loader, which is tried last, hides dlopen's
 * message. Hence its dlopen loader gets our own open function.
 */
#include "plugin/plugin.h"

#include <outbox/helpers.h>

#include <dlfcn.h>
#include <ltdl.h>
#include <pthread.h>

/* libltdl is one for the process and not thread-safe, so this state is too: a mutex, whether
 * it is set up, and dlopen's text of the call under the mutex. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int ready;
static char reason[400];

static lt_module open_now(lt_user_data data, const char *path, lt_dladvise advise)
{
    (void)data;
    (void)advise;
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!module) {
        const char *text = dlerror();
        snprintf(reason, sizeof reason, "%s", text ? text : "dlopen failed");
    }
    return module;
}

static int set_up(struct outbox_err *err)
{
    if (ready)
        return OUTBOX_OK;
    lt_dlvtable *loader = lt_dlinit() == 0 ? lt_dlloader_remove("lt_dlopen") : NULL;
    if (loader)
        loader->module_open = open_now;
    if (!loader || lt_dlloader_add(loader) != 0)
        return outbox_fail(err, OUTBOX_E_CONFIG, "cannot start libltdl: %s", lt_dlerror());
    ready = 1;
    return OUTBOX_OK;
}

static lt_dlhandle open_resident(const char *path)
{
    lt_dladvise advise;
    lt_dlhandle handle = NULL;
    if (lt_dladvise_init(&advise) != 0)
        return NULL;
    if (lt_dladvise_local(&advise) == 0 && lt_dladvise_resident(&advise) == 0)
        handle = lt_dlopenadvise(path, advise);
    lt_dladvise_destroy(&advise);
    return handle;
}

int dso_symbol(const char *path, const char *symbol, dso_symbol_fn *ret, struct outbox_err *err)
{
    pthread_mutex_lock(&lock);
    int r = set_up(err);
    if (r == 0) {
        reason[0] = '\0';
        lt_dlhandle handle = open_resident(path);
        if (!handle)
            r = outbox_fail(err, OUTBOX_E_CONFIG, "cannot be loaded: %s",
                            reason[0] ? reason : "libltdl refused it");
        else
            /* The one conversion that POSIX promises for dlsym. */
            *(void **)ret = lt_dlsym(handle, symbol);
    }
    pthread_mutex_unlock(&lock);
    return r;
}
