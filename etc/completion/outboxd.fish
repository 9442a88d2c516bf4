# SPDX-License-Identifier: Apache-2.0
# What the shell completes after `outboxd`. Made by docs/generate.py from the tables of the program: make update-docs.

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
        sed -n 's/^{ *"kind": *"[a-z]*", *"name": *"\([a-z0-9-]*\)".*/\1/p'
end

complete -c outboxd -f
complete -c outboxd -s c -l config -r -F -d 'Read this configuration file'
complete -c outboxd -s '?' -l help -d 'Show the help'
complete -c outboxd -l usage -d 'Show the usage'
complete -c outboxd -s V -l version -d 'Show the version'
complete -c outboxd -n 'not __outboxd_command' -a run -d 'relay messages, in the foreground'
complete -c outboxd -n 'not __outboxd_command' -a reload -d 'make the running relay read its configuration file again'
complete -c outboxd -n 'not __outboxd_command' -a check -d 'check the configuration file, and with --connect the servers'
complete -c outboxd -n 'not __outboxd_command' -a init -d 'create or upgrade the tables'
complete -c outboxd -n 'not __outboxd_command' -a send -d 'write one message'
complete -c outboxd -n 'not __outboxd_command' -a list -d 'list messages'
complete -c outboxd -n 'not __outboxd_command' -a show -d 'show one message'
complete -c outboxd -n 'not __outboxd_command' -a requeue -d 'make failed messages pending again'
complete -c outboxd -n 'not __outboxd_command' -a discard -d 'delete failed messages'
complete -c outboxd -n 'not __outboxd_command' -a purge -d 'delete old messages'
complete -c outboxd -n 'not __outboxd_command' -a status -d 'show counts, publishers and relays'
complete -c outboxd -n 'not __outboxd_command' -a route -d 'tell where a message would go, and why'
complete -c outboxd -n 'not __outboxd_command' -a plugins -d 'list plugins and their options'
complete -c outboxd -n 'not __outboxd_command' -a help -d 'show the help of a command'
complete -c outboxd -n '__outboxd_is help' -a 'run reload check init send list show requeue discard purge status route plugins'
complete -c outboxd -n '__outboxd_is run' -s o -l once -d 'End when no message is due, or becomes due soon'
complete -c outboxd -n '__outboxd_is run' -s w -l wait -x -d 'With --once: wait so long for what is not due yet or unavailable (10s)'
complete -c outboxd -n '__outboxd_is reload' -s w -l wait -x -d 'Wait no longer than this for the result'
complete -c outboxd -n '__outboxd_is check' -s C -l connect -d 'Also connect to the store and the publishers'
complete -c outboxd -n '__outboxd_is init' -s p -l print -d 'Write the SQL for your own migration tool; change nothing'
complete -c outboxd -n '__outboxd_is send' -s t -l topic -x -d 'What the message is about; needed'
complete -c outboxd -n '__outboxd_is send' -s k -l key -x -d 'What it belongs to, say an order\'s number'
complete -c outboxd -n '__outboxd_is send' -s H -l header -x -d 'A header; may be repeated'
complete -c outboxd -n '__outboxd_is send' -s i -l id -x -d 'The message\'s id; default: a random one'
complete -c outboxd -n '__outboxd_is send' -s d -l delay -x -d 'Publish not before then, say 10m'
complete -c outboxd -n '__outboxd_is list' -s s -l status -x -a 'pending processing processed failed' -d 'pending, processing, processed or failed; may be repeated'
complete -c outboxd -n '__outboxd_is list' -s t -l topic -x -d 'Only topics that match, say \'invoice.*\''
complete -c outboxd -n '__outboxd_is list' -s p -l publisher -x -d 'Only what waits for this publisher in a lane of its own'
complete -c outboxd -n '__outboxd_is list' -s a -l after -x -d 'Begin behind this sequence number'
complete -c outboxd -n '__outboxd_is list' -s n -l limit -x -d 'At most so many (default 100; 0: all)'
complete -c outboxd -n '__outboxd_is list' -s j -l json -d 'One JSON object a line'
complete -c outboxd -n '__outboxd_is show' -s j -l json -d 'As a JSON object'
complete -c outboxd -n '__outboxd_is requeue' -s A -l all -d 'All failed messages, instead of IDs'
complete -c outboxd -n '__outboxd_is requeue' -s t -l topic -x -d 'With --all: only topics that match'
complete -c outboxd -n '__outboxd_is requeue' -s p -l publisher -x -d 'With --all: only what failed at this publisher\'s lane'
complete -c outboxd -n '__outboxd_is requeue' -s n -l dry-run -d 'Tell what would be done, and change nothing'
complete -c outboxd -n '__outboxd_is discard' -s A -l all -d 'All failed messages, instead of IDs'
complete -c outboxd -n '__outboxd_is discard' -s t -l topic -x -d 'With --all: only topics that match'
complete -c outboxd -n '__outboxd_is discard' -s p -l publisher -x -d 'With --all: only what failed at this publisher\'s lane'
complete -c outboxd -n '__outboxd_is discard' -s n -l dry-run -d 'Tell what would be done, and change nothing'
complete -c outboxd -n '__outboxd_is purge' -s o -l older-than -x -d 'Only what is older, say 7d; needed. 0: all'
complete -c outboxd -n '__outboxd_is purge' -s s -l status -x -a 'processed failed' -d 'processed (default) or failed; may be repeated'
complete -c outboxd -n '__outboxd_is purge' -s n -l dry-run -d 'Tell how many there are, and delete nothing'
complete -c outboxd -n '__outboxd_is status' -s j -l json -d 'As a JSON object'
complete -c outboxd -n '__outboxd_is status' -s w -l watch -d 'Again every second, until interrupted'
complete -c outboxd -n '__outboxd_is status' -s x -l exact -d 'Count everything, however long it takes'
complete -c outboxd -n '__outboxd_is status' -s f -l fail-if -x -a '\'pending>\' \'delayed>\' \'processing>\' \'failed>\' \'oldest>\' no-relay paused' -d 'Exit with 1 if pending>N, delayed>N, processing>N, failed>N, oldest>DURATION, no-relay or paused; may be repeated'
complete -c outboxd -n '__outboxd_is route' -s t -l topic -x -d 'The message\'s topic; needed'
complete -c outboxd -n '__outboxd_is route' -s k -l key -x -d 'Its key'
complete -c outboxd -n '__outboxd_is route' -s H -l header -x -d 'A header; may be repeated'
complete -c outboxd -n '__outboxd_is route' -s j -l json -d 'As a JSON object'
complete -c outboxd -n '__outboxd_is plugins' -s D -l plugin-dir -x -a '(__fish_complete_directories)' -d 'Look there, and read no configuration file'
complete -c outboxd -n '__outboxd_is plugins' -s j -l json -d 'One JSON object a line'
complete -c outboxd -n '__outboxd_is plugins' -a '(__outboxd_plugins)'
