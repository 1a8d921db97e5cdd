# Removes the containers with this label when the pipe at the standard input is closed: also when the task
# that holds its other end was killed.
#
#   sh -c '...' leash LABEL [LOG]
#
# With LOG, Docker's engine runs until then, too, and writes it.
label=$1
log=$2
if [ -n "$log" ]; then
    dockerd </dev/null >"$log" 2>&1 &
    engine=$!
fi
while read -r _; do :; done
# Tests that were killed with the task remove theirs at the same moment.
rounds=10
while [ $rounds -gt 0 ] && left=$(docker ps --all --quiet --filter "label=$label") && [ -n "$left" ]; do
    echo "removing containers that were left behind:" $left >&2
    docker rm --force --volumes $left >/dev/null
    sleep 0.5
    rounds=$((rounds - 1))
done
if [ -n "$log" ]; then
    kill "$engine"
    wait "$engine"
fi
