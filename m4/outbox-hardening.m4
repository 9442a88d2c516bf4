# SPDX-License-Identifier: Apache-2.0
# _OUTBOX_TAKES(compile|link, FLAG, WHAT TO DO): when the compiler takes FLAG without a word
AC_DEFUN([_OUTBOX_TAKES], [
  AS_VAR_PUSHDEF([takes], [outbox_cv_$1_$2])
  AC_CACHE_CHECK([whether to $1 with $2], [takes], [
    outbox_saved="$CFLAGS"
    CFLAGS="$CFLAGS -Werror $2"
    m4_if([$1], [link],
      [AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AS_VAR_SET([takes], [yes])], [AS_VAR_SET([takes], [no])])],
      [AC_COMPILE_IFELSE([AC_LANG_PROGRAM()], [AS_VAR_SET([takes], [yes])], [AS_VAR_SET([takes], [no])])])
    CFLAGS="$outbox_saved"
  ])
  AS_VAR_IF([takes], [yes], [$3])
  AS_VAR_POPDEF([takes])
])

# OUTBOX_HARDENING: sets HARDEN_CFLAGS, HARDEN_LDFLAGS, PIE_LDFLAGS (for programs), and defines in config.h what
# _FORTIFY_SOURCE shall be. All of it comes before CFLAGS, CPPFLAGS and LDFLAGS, so whatever these say otherwise wins.
AC_DEFUN([OUTBOX_HARDENING], [
  AC_ARG_ENABLE([hardening],
    [AS_HELP_STRING([--disable-hardening], [use no flags that make mistakes harder to exploit, but those of CFLAGS])],
    [], [enable_hardening=yes])
  # Sanitizers look for the same, and want the calls as they are written.
  AS_IF([test "$enable_sanitizer" != no], [enable_hardening="no, the sanitizer does that"])
  HARDEN_CFLAGS= HARDEN_LDFLAGS= PIE_LDFLAGS=
  AS_IF([test "$enable_hardening" = yes], [
    _OUTBOX_TAKES([compile], [-fstack-protector-strong], [HARDEN_CFLAGS="$HARDEN_CFLAGS -fstack-protector-strong"])
    _OUTBOX_TAKES([compile], [-fstack-clash-protection], [HARDEN_CFLAGS="$HARDEN_CFLAGS -fstack-clash-protection"])
    # of x86, and the like of arm64
    _OUTBOX_TAKES([compile], [-fcf-protection], [HARDEN_CFLAGS="$HARDEN_CFLAGS -fcf-protection"])
    _OUTBOX_TAKES([compile], [-mbranch-protection=standard], [HARDEN_CFLAGS="$HARDEN_CFLAGS -mbranch-protection=standard"])
    _OUTBOX_TAKES([link], [-Wl,-z,relro], [HARDEN_LDFLAGS="$HARDEN_LDFLAGS -Wl,-z,relro"])
    _OUTBOX_TAKES([link], [-Wl,-z,now], [HARDEN_LDFLAGS="$HARDEN_LDFLAGS -Wl,-z,now"])
    _OUTBOX_TAKES([link], [-Wl,-z,noexecstack], [HARDEN_LDFLAGS="$HARDEN_LDFLAGS -Wl,-z,noexecstack"])
    # Of libtool's objects -fPIC comes later and wins.
    AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[
#ifndef __PIE__
#error the compiler makes none by itself
#endif
]])], [],
      [_OUTBOX_TAKES([link], [-fPIE -pie], [HARDEN_CFLAGS="$HARDEN_CFLAGS -fPIE"; PIE_LDFLAGS=-pie])])
    # Where 3 is not known, glibc takes it for 2 and says so.
    AS_CASE([" $CPPFLAGS $CFLAGS "], [*_FORTIFY_SOURCE*], [], [
      AC_CACHE_CHECK([how much to fortify], [outbox_cv_fortify], [
        outbox_saved="$CFLAGS"
        CFLAGS="-O2 -Werror -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3"
        AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[#include <string.h>]])], [outbox_cv_fortify=3], [outbox_cv_fortify=2])
        CFLAGS="$outbox_saved"
      ])
      AC_DEFINE_UNQUOTED([FORTIFY], [$outbox_cv_fortify], [What _FORTIFY_SOURCE is in builds that optimise.])
    ])
  ])
  AH_BOTTOM([/* It wants an optimiser. What the compiler's command line says stays. */
#if defined FORTIFY && defined __OPTIMIZE__ && !defined _FORTIFY_SOURCE
#define _FORTIFY_SOURCE FORTIFY
#endif])
  AC_SUBST([HARDEN_CFLAGS])
  AC_SUBST([HARDEN_LDFLAGS])
  AC_SUBST([PIE_LDFLAGS])
])

# OUTBOX_PREFIX_MAP: sets MAP_CFLAGS, with which neither debug information nor __FILE__ says in which folder the source
# and the build are. Debuggers look for the source in their current folder then, so that whoever works on outboxd has
# it otherwise.
AC_DEFUN([OUTBOX_PREFIX_MAP], [
  MAP_CFLAGS=
  AS_IF([test "$enable_developer$enable_sanitizer$enable_coverage" = nonono], [
    AS_CASE([" $CPPFLAGS $CFLAGS "], [*-prefix-map=*], [], [
      _OUTBOX_TAKES([compile], [-ffile-prefix-map=/nowhere=.], [
        # The last one is tried first. Names are the same however configure was called: ./, ../ or an absolute path.
        MAP_CFLAGS='-ffile-prefix-map=./= -ffile-prefix-map=$(top_srcdir)/= -ffile-prefix-map=$(abs_top_srcdir)=.'
        MAP_CFLAGS="$MAP_CFLAGS "'-ffile-prefix-map=$(abs_top_srcdir)/= -ffile-prefix-map=$(abs_top_builddir)=.'
      ])
    ])
  ])
  AC_SUBST([MAP_CFLAGS])
])
