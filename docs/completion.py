# SPDX-License-Identifier: Apache-2.0
"""The completions of outboxd for bash, zsh and fish, from the table of its commands."""

import re

ABOUT = "# What the shell completes after `outboxd`. Made by docs/generate.py from the tables of the program: make update-docs.\n"
FILE_HELP = "Read this configuration file"
HELP = "help"
HELP_SUMMARY = "show the help of a command"
# The names of the plugins in the folder that the line, or its file, names.
PLUGIN_NAMES = r"""sed -n 's/^{ *"kind": *"[a-z]*", *"name": *"\([a-z0-9-]*\)".*/\1/p'"""


def values(option):
    """The texts that may follow an option; of a status those that its help names."""
    if option["type"] == "status":
        return [value for value in option["values"] if re.search(r"\b%s\b" % value, option["help"])]
    return option["values"]


def kind(option):
    """How the value of an option is completed."""
    if option["type"] == "flag":
        return None
    if option["text"] in ("FILE", "DIR"):
        return option["text"].lower()
    return "values" if values(option) else "nothing"


def is_repeated(option):
    return "may be repeated" in option["help"]


def single(text):
    return "'%s'" % text.replace("'", "'\\''")


def indent(lines, n):
    return "".join(" " * n + line + "\n" for line in lines)


# ---- bash ----

BASH = r"""# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
@about@
# The names of plugins, in the folder or by the file that the line names.
_outboxd_plugins() {
    local i word option='' given=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == = ]]; then # --config=FILE is three words
            continue
        elif [[ $option ]]; then
            given+=("$option" "${word/#\~/$HOME}")
            option=''
        elif [[ $word == -[cD] || $word == --config || $word == --plugin-dir ]]; then
            option=$word
        fi
    done
    "${COMP_WORDS[0]}" plugins --json "${given[@]}" 2>/dev/null |
        @names@
}

# Those of the words that begin as what was typed.
_outboxd_offer() {
    local word
    for word; do
        [[ $word == "$current"* ]] || continue
        if [[ $word == *'>' ]]; then # a limit follows
            compopt -o nospace 2>/dev/null
            [[ $quoted ]] || word=${word%>}'\>'
        fi
        COMPREPLY+=("$word")
    done
}

_outboxd_files() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$current")
}

_outboxd() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} quoted='' command='' skip='' i
    COMPREPLY=()
    if [[ $current == = ]]; then # --config=FILE is three words
        current=''
    elif [[ $before == = ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if [[ $current == [\'\"]* ]]; then
        quoted=yes
        current=${current:1}
    fi
    for ((i = 1; i < COMP_CWORD && !${#command}; i++)); do
        if [[ ${COMP_WORDS[i]} == = ]]; then
            skip=yes
        elif [[ $skip ]]; then
            skip=''
        elif [[ ${COMP_WORDS[i]} == -c || ${COMP_WORDS[i]} == --config ]]; then
            skip=yes
        elif [[ ${COMP_WORDS[i]} != -* ]]; then
            command=${COMP_WORDS[i]}
        fi
    done
    case $command:$before in
    *:-c | *:--config) _outboxd_files -f ;;
@values@    :*)
        [[ $current == -* ]] || _outboxd_offer @commands@
        [[ $current != -* ]] || _outboxd_offer --config --help --usage --version
        ;;
    help:*) _outboxd_offer @commands@ ;;
@options@    esac
} &&
    complete -F _outboxd outboxd
"""


def names_of(command, option):
    return "%s:-%s | %s:--%s" % (command["name"], option["key"], command["name"], option["name"])


def bash_values(command, option):
    how = kind(option)
    action = {"file": "_outboxd_files -f", "dir": "_outboxd_files -d", "nothing": ":",
              "values": "_outboxd_offer " + " ".join(single(v) if ">" in v else v for v in values(option))}[how]
    return "%s) %s ;;" % (names_of(command, option), action)


def bash_options(command):
    names = " ".join("--" + option["name"] for option in command["options"])
    lines = ["%s:*)" % command["name"], "    _outboxd_offer %s --config --help --usage --version" % names]
    if command["name"] == "plugins":
        lines += ["    # shellcheck disable=SC2046  # names have no blanks",
                  "    [[ $current == -* ]] || _outboxd_offer $(_outboxd_plugins)"]
    return lines + ["    ;;"]


def bash(commands):
    text = BASH.replace("@about@", ABOUT).replace("@names@", PLUGIN_NAMES)
    text = text.replace("@commands@", " ".join([command["name"] for command in commands] + [HELP]))
    valued = [bash_values(command, option) for command in commands for option in command["options"] if kind(option)]
    text = text.replace("@values@", indent(valued, 4))
    return text.replace("@options@", indent([line for command in commands for line in bash_options(command)], 4))


# ---- zsh ----

ZSH = r"""#compdef outboxd
# SPDX-License-Identifier: Apache-2.0
@about@
_outboxd_commands() {
    local -a commands=(
@commands@    )
    _describe -t commands command commands
}

# A limit follows those that end in `>`.
_outboxd_conditions() {
    compadd -S '' -- ${(M)@:#*>}
    compadd -- ${@:#*>}
}

# The names of plugins, in the folder or by the file that the line names.
_outboxd_plugins() {
    local option
    local -a given names
    for option in -c --config -D --plugin-dir; do
        [[ -z ${opt_args[$option]} ]] || given+=($option ${~opt_args[$option]})
    done
    [[ -z $file ]] || given=(-c ${~file} $given)
    names=(${(f)"$($outboxd plugins --json $given 2>/dev/null |
        @names@)"})
    compadd -a names
}

_outboxd() {
    local curcontext=$curcontext context state line outboxd=$words[1]
    local -A opt_args
    local -a common=(
        '(-c --config)'{-c+,--config=}'[@file@]:file:_files'
        '(- *)'{-\?,--help}'[Show the help]'
        '(- *)--usage[Show the usage]'
        '(- *)'{-V,--version}'[Show the version]'
    )
    _arguments -C -s -A '-*' $common '1:command:_outboxd_commands' '*::argument:->argument' && return
    [[ $state == argument ]] || return
    local file=${opt_args[-c]:-${opt_args[--config]}} # given before the command
    curcontext=${curcontext%:*}-$words[1]:
    case $words[1] in
    help) _arguments '1:command:_outboxd_commands' ;;
@options@    esac
}

_outboxd "$@"
"""


def zsh_text(text):
    return re.sub(r"([][\\:])", r"\\\1", text)


def zsh_option(option):
    how, names = kind(option), "{-%s,--%s}" % (option["key"], option["name"])
    if how:
        names = "{-%s+,--%s=}" % (option["key"], option["name"])
    before = "'*'" if is_repeated(option) else "'(-%s --%s)'" % (option["key"], option["name"])
    after = "[%s]" % zsh_text(option["help"])
    if how:
        action = {"file": "_files", "dir": "_files -/", "nothing": " ", "values": "(%s)" % " ".join(values(option))}[how]
        if option["type"] == "check":
            action = " _outboxd_conditions %s" % " ".join('"%s"' % v for v in values(option))
        after += ":%s:%s" % (option["text"].lower(), action)
    return before + names + single(after)


def zsh(commands):
    rows = [single("%s:%s" % (command["name"], command["summary"])) for command in commands]
    rows.append(single("%s:%s" % (HELP, HELP_SUMMARY)))
    lines = []
    for command in commands:
        operand = "'1:plugin:_outboxd_plugins'" if command["name"] == "plugins" else ""
        if command["operands"] and not operand:
            operand = "'*:%s: '" % command["operands"].strip("[]").split("\n")[0].rstrip(".").lower()
        words = ["_arguments -s $common"] + [zsh_option(option) for option in command["options"]] + ([operand] if operand else [])
        lines += ["%s)" % command["name"], "    " + words[0] + " \\" if len(words) > 1 else "    " + words[0]]
        lines += ["        " + word + (" \\" if i < len(words) - 2 else "") for i, word in enumerate(words[1:])]
        lines.append("    ;;")
    text = ZSH.replace("@about@", ABOUT).replace("@commands@", indent(rows, 8)).replace("@names@", PLUGIN_NAMES)
    return text.replace("@file@", zsh_text(FILE_HELP)).replace("@options@", indent(lines, 4))


# ---- fish ----

FISH = r"""# SPDX-License-Identifier: Apache-2.0
@about@
# The command of the line; fails if there is none yet.
function __outboxd_command
    set -l is_value
    for word in (commandline -opc)[2..-1]
        if test -n "$is_value"
            set is_value
        else if contains -- $word -c --config
            set is_value yes
        else if not string match -q -- '-*' $word
            echo $word
            return 0
        end
    end
    return 1
end

function __outboxd_is
    test "$(__outboxd_command)" = $argv[1]
end

# The names of plugins, in the folder or by the file that the line names.
function __outboxd_plugins
    set -l words (commandline -opc)
    set -l given
    set -l option
    for word in $words[2..-1]
        if test -n "$option"
            set -a given $option $word
            set option
        else if contains -- $word -c --config -D --plugin-dir
            set option $word
        else if string match -qr -- '^--(config|plugin-dir)=' $word
            set -a given $word
        end
    end
    $words[1] plugins --json $given 2>/dev/null |
        @names@
end

complete -c outboxd -f
complete -c outboxd -s c -l config -r -F -d @file@
complete -c outboxd -s '?' -l help -d 'Show the help'
complete -c outboxd -l usage -d 'Show the usage'
complete -c outboxd -s V -l version -d 'Show the version'
@commands@complete -c outboxd -n '__outboxd_is help' -a '@names of commands@'
@options@complete -c outboxd -n '__outboxd_is plugins' -a '(__outboxd_plugins)'
"""


def fish_quote(text):
    return "'%s'" % text.replace("\\", "\\\\").replace("'", "\\'")


def fish_option(command, option):
    line = "complete -c outboxd -n '__outboxd_is %s' -s %s -l %s" % (command["name"], option["key"], option["name"])
    line += {None: "", "file": " -r -F", "dir": " -x -a '(__fish_complete_directories)'", "nothing": " -x",
             "values": " -x -a %s" % fish_quote(" ".join(fish_quote(v) if ">" in v else v for v in values(option)))}[kind(option)]
    return line + " -d " + fish_quote(option["help"])


def fish(commands):
    rows = ["complete -c outboxd -n 'not __outboxd_command' -a %s -d %s" % (name, fish_quote(summary)) for name, summary in
            [(command["name"], command["summary"]) for command in commands] + [(HELP, HELP_SUMMARY)]]
    options = [fish_option(command, option) for command in commands for option in command["options"]]
    text = FISH.replace("@about@", ABOUT).replace("@names@", PLUGIN_NAMES).replace("@file@", fish_quote(FILE_HELP))
    text = text.replace("@names of commands@", " ".join(command["name"] for command in commands))
    return text.replace("@commands@", indent(rows, 0)).replace("@options@", indent(options, 0))


SHELLS = {"outboxd.bash": bash, "_outboxd": zsh, "outboxd.fish": fish}
