#!/bin/sh
# Runs an installer without its list of packages: `sh deploy/brief.sh uv pip sync …`.
#
# Two hundred lines of ` + numpy==2.4.6` tell nobody anything. Its phases are shown, how far its downloads are (on
# a terminal in one line that changes) and whatever it complains of; its exit code is ours.

terminal=
[ -t 1 ] && terminal=yes

show() {
    [ -n "$terminal" ] && printf '\r\033[K'
    printf '%s\n' "$1"
}

{
    "$@" 2>&1
    echo "brief.sh: exit $?"
} | {
    code=1 done=0
    while IFS= read -r line; do
        case $line in
        ' + '* | ' - '* | ' ~ '* | 'Using Python '*) ;;
        'brief.sh: exit '*) code=${line#brief.sh: exit } ;;
        'Downloading '* | ' Downloaded '* | '   Building '* | '      Built '*)
            case $line in ' Downloaded '*) done=$((done + 1)) ;; esac
            if [ -n "$terminal" ]; then
                printf '\r\033[K%s' "$line"
            elif [ $((done % 10)) = 0 ] && [ "$line" != "${line# Downloaded}" ]; then
                printf '%s large packages downloaded\n' "$done"
            fi
            ;;
        *) show "$line" ;;
        esac
    done
    exit "$code"
}
