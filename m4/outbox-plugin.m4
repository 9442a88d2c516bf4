# SPDX-License-Identifier: Apache-2.0
# OUTBOX_PLUGIN(NAME, VARIABLE, PKG-CONFIG MODULES, DEBIAN PACKAGE)
# --enable-NAME, --disable-NAME; automatic by default. Sets the conditional
# PLUGIN_NAME (upper case, _) and VARIABLE_CFLAGS, VARIABLE_LIBS; OUTBOX_MODULES are those of all plugins that are built.
AC_DEFUN([OUTBOX_PLUGIN], [
  AC_ARG_ENABLE([$1],
    [AS_HELP_STRING([--enable-$1], [build the plugin $1 (default: when what it needs is there)])],
    [], [AS_VAR_SET([enable_]m4_translit([$1], [-], [_]), [$enable_all_plugins])])
  AS_VAR_PUSHDEF([wanted], [enable_]m4_translit([$1], [-], [_]))
  m4_ifval([$3], [
    AS_IF([test "$wanted" != no], [
      PKG_CHECK_MODULES([$2], [$3], [outbox_have=yes; OUTBOX_MODULES="$OUTBOX_MODULES $3"], [outbox_have=no])
      AS_IF([test "$outbox_have" = no && test "$wanted" != auto],
        [AC_MSG_ERROR([--enable-$1 was asked for, but $3 is missing (Debian: $4)])])
    ], [outbox_have=no])
    outbox_why="no, $3 is missing (Debian: $4)"
  ], [
    outbox_have=yes
    outbox_why=no
  ])
  AS_IF([test "$wanted" = no], [outbox_have=no; outbox_why="no, disabled"])
  AS_IF([test "$outbox_have" = yes], [outbox_why=yes])
  AM_CONDITIONAL([PLUGIN_]m4_translit([$1], [-a-z], [_A-Z]), [test "$outbox_have" = yes])
  OUTBOX_OWN_PLUGINS="$OUTBOX_OWN_PLUGINS $1 "
  OUTBOX_PLUGIN_SUMMARY="${OUTBOX_PLUGIN_SUMMARY}    $1: $outbox_why
"
  AS_VAR_POPDEF([wanted])
])
