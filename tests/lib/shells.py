# SPDX-License-Identifier: Apache-2.0
"""What bash, zsh and fish offer at the end of a line, with the completions of a folder as `make install` lays it out."""

import os
import pty
import re
import select
import subprocess

PATIENCE = 60

# As bash calls it: the words of the line, split at `=` as well; what the function offers.
BASH = r"""
source /usr/share/bash-completion/bash_completion
for load in _comp_load _completion_loader __load_completion; do
    ! declare -F $load >/dev/null || break
done
$load "$1"
set -- "$1" "$(complete -p "$1")" "${@:2}"
[[ $2 =~ -F\ ([a-z_]+) ]] || exit 3
COMP_WORDS=("$1" "${@:3}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
${BASH_REMATCH[1]} "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"""

# A shell at a terminal, in which compadd prints what it is given and matches. The prompt comes when all that is done.
ZSHRC = r"""
fpath=($FOLDER $fpath)
autoload -Uz compinit
compinit -u -d $ZDOTDIR/dump
bindkey '^I' complete-word
unsetopt beep
finish() { print -r -- '<end>'; exit }
comppostfuncs=(finish)
compadd() {
    if [[ -z ${(M)argv:#-[OAD]} ]]; then
        local -a hits
        builtin compadd -A hits "$@"
        (( $#hits )) && printf '<hit>%s\n' "${hits[@]}"
    fi
    builtin compadd "$@"
}
PROMPT='<ready>'
"""

FISH = r"complete -C $argv[1]"


def is_there():
    """Whether this machine has all three."""
    return all(os.path.exists(path) for path in ("/usr/share/bash-completion/bash_completion", "/usr/bin/zsh", "/usr/bin/fish"))


def environment(share, program, cwd):
    """`share` is the folder of the data, `program` the program itself, which the shell finds by its name."""
    return dict(os.environ, XDG_DATA_DIRS=share, FOLDER=os.path.join(share, "zsh", "site-functions"), HOME=cwd, ZDOTDIR=cwd,
                PATH=os.path.dirname(program) + ":" + os.environ["PATH"], TERM="dumb", LC_ALL="C.UTF-8")


def run(command, **where):
    done = subprocess.run(command, cwd=where["cwd"], env=environment(**where), capture_output=True, timeout=PATIENCE, check=True,
                          stdin=subprocess.DEVNULL)
    return done.stdout.decode().split("\n")


def bash(line, **where):
    words = re.findall(r"=|[^\s=]+", line) + ([""] if line.endswith(" ") else [])
    return set(filter(None, run(["bash", "--norc", "-c", BASH, "bash", *words], **where)))


def read_until(terminal, end, seen=b""):
    while end not in seen:
        if not select.select([terminal], [], [], PATIENCE)[0]:
            raise TimeoutError("zsh printed no %r, but %r" % (end, seen))
        seen += os.read(terminal, 65536)
    return seen


def zsh(line, **where):
    with open(os.path.join(where["cwd"], ".zshrc"), "w", encoding="utf-8") as f:
        f.write(ZSHRC)
    terminal, inside = pty.openpty()
    shell = subprocess.Popen(["zsh", "-d", "-i"], cwd=where["cwd"], env=environment(**where), start_new_session=True,
                             stdin=inside, stdout=inside, stderr=inside)
    try:
        os.close(inside)
        read_until(terminal, b"<ready>")
        os.write(terminal, line.encode() + b"\t")
        seen = read_until(terminal, b"<end>")
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)
    return set(re.findall(r"<hit>([^\r\n]*)", seen.decode()))


def fish(line, **where):
    return {offered.split("\t")[0] for offered in run(["fish", "-c", FISH, line], **where) if offered}


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
