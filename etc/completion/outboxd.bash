# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# What the shell completes after `outboxd`. Made by docs/generate.py from the tables of the program: make update-docs.

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
        sed -n 's/^{ *"kind": *"[a-z]*", *"name": *"\([a-z0-9-]*\)".*/\1/p'
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
    run:-w | run:--wait) : ;;
    reload:-w | reload:--wait) : ;;
    send:-t | send:--topic) : ;;
    send:-k | send:--key) : ;;
    send:-H | send:--header) : ;;
    send:-i | send:--id) : ;;
    send:-d | send:--delay) : ;;
    list:-s | list:--status) _outboxd_offer pending processing processed failed ;;
    list:-t | list:--topic) : ;;
    list:-p | list:--publisher) : ;;
    list:-a | list:--after) : ;;
    list:-n | list:--limit) : ;;
    requeue:-t | requeue:--topic) : ;;
    requeue:-p | requeue:--publisher) : ;;
    discard:-t | discard:--topic) : ;;
    discard:-p | discard:--publisher) : ;;
    purge:-o | purge:--older-than) : ;;
    purge:-s | purge:--status) _outboxd_offer processed failed ;;
    status:-f | status:--fail-if) _outboxd_offer 'pending>' 'delayed>' 'processing>' 'failed>' 'oldest>' no-relay paused ;;
    route:-t | route:--topic) : ;;
    route:-k | route:--key) : ;;
    route:-H | route:--header) : ;;
    plugins:-D | plugins:--plugin-dir) _outboxd_files -d ;;
    :*)
        [[ $current == -* ]] || _outboxd_offer run reload check init send list show requeue discard purge status route plugins help
        [[ $current != -* ]] || _outboxd_offer --config --help --usage --version
        ;;
    help:*) _outboxd_offer run reload check init send list show requeue discard purge status route plugins help ;;
    run:*)
        _outboxd_offer --once --wait --config --help --usage --version
        ;;
    reload:*)
        _outboxd_offer --wait --config --help --usage --version
        ;;
    check:*)
        _outboxd_offer --connect --config --help --usage --version
        ;;
    init:*)
        _outboxd_offer --print --config --help --usage --version
        ;;
    send:*)
        _outboxd_offer --topic --key --header --id --delay --config --help --usage --version
        ;;
    list:*)
        _outboxd_offer --status --topic --publisher --after --limit --json --config --help --usage --version
        ;;
    show:*)
        _outboxd_offer --json --config --help --usage --version
        ;;
    requeue:*)
        _outboxd_offer --all --topic --publisher --dry-run --config --help --usage --version
        ;;
    discard:*)
        _outboxd_offer --all --topic --publisher --dry-run --config --help --usage --version
        ;;
    purge:*)
        _outboxd_offer --older-than --status --dry-run --config --help --usage --version
        ;;
    status:*)
        _outboxd_offer --json --watch --exact --fail-if --config --help --usage --version
        ;;
    route:*)
        _outboxd_offer --topic --key --header --json --config --help --usage --version
        ;;
    plugins:*)
        _outboxd_offer --plugin-dir --json --config --help --usage --version
        # shellcheck disable=SC2046  # names have no blanks
        [[ $current == -* ]] || _outboxd_offer $(_outboxd_plugins)
        ;;
    esac
} &&
    complete -F _outboxd outboxd
