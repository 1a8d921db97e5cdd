# What follows knows a server's processes: itself, and those that it started.

# alive SERVER prints the numbers of the processes that SERVER started and that still run.
alive() {
    if [ -r /proc/self/stat ]; then
        # NUMBER (NAME) STATE PARENT ...; the name may have spaces.
        for file in /proc/[0-9]*/stat; do
            read -r line <"$file" || continue
            rest=${line##*") "}
            state=${rest%% *}
            rest=${rest#* }
            echo "${line%% *} ${rest%% *} $state"
        done
    else
        ps -A -o pid= -o ppid= -o stat=
    fi 2>/dev/null | while read -r process parent state; do
        case "$parent $state" in
            "$1 Z"*) ;;
            "$1 "*) echo "$process" ;;
        esac
    done
}

# shared SERVER prints the numbers of its shared memory of System V, which outlives processes.
shared() {
    while read -r _ _ _ _ number path; do
        case $path in /SYSV*) echo "$number" ;; esac
    done <"/proc/$1/maps"
}

# tell SIGNAL SERVER sends STOP, CONT or KILL to all of them.
tell() {
    # One that is stopped starts no more.
    kill -STOP "$2" || return
    started=$(alive "$2")
    # What was started ends first, and is gone when the server is.
    for process in $started; do kill "-$1" "$process"; done
    if [ "$1" = KILL ]; then
        # It goes with the last process.
        for memory in $(shared "$2"); do ipcrm -m "$memory"; done
        while [ -n "$(alive "$2")" ]; do sleep 0.01; done
    fi
    kill "-$1" "$2"
} 2>/dev/null
