# Runs a server that ends when the pipe at the standard input is closed: whoever holds its other end
# is gone then, also when it was killed. The server's process number goes to the standard output.
#
#   sh -c '...' leash FOLDER SIGNAL PROGRAM ARGUMENT...
#
# Ended by SIGNAL, the server leaves nothing behind in the system; what hasn't ended soon is killed.
# The server's log is FOLDER/log.
#
# The system hangs up on a group of processes when nobody is left who started it and one of them is
# stopped, as a paused server is.
trap '' HUP
folder=$1
signal=$2
shift 2
# What runs in the background reads nothing, unless it is told to.
exec 3<&0
"$@" </dev/null 3<&- >>"$folder/log" 2>&1 &
server=$!
echo "$server"
exec >&-
{
    while read -r _; do :; done
    trap '' TERM
    if [ "$signal" != KILL ]; then
        tell CONT "$server"
        kill "-$signal" "$server"
        left=100
        while [ $left -gt 0 ] && kill -0 "$server"; do
            sleep 0.05
            left=$((left - 1))
        done
    fi
    tell KILL "$server"
} <&3 2>/dev/null &
leash=$!
exec 3<&-
wait "$server"
status=$?
kill -TERM "$leash" 2>/dev/null
wait "$leash" 2>/dev/null
exit "$status"
