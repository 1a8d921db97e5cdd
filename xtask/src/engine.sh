# Runs Docker's engine until the pipe at the standard input is closed: also when the task that holds
# its other end was killed.
#
#   sh -c '...' engine LOG
dockerd >"$1" 2>&1 &
engine=$!
while read -r _; do :; done
kill "$engine"
wait "$engine"
