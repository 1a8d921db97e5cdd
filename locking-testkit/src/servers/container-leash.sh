# Removes a container when the pipe at the standard input is closed: whoever holds its other end is
# gone then, also when it was killed. A last word `dropped` says that the container is there.
#
#   sh -c '...' leash DOCKER CONTAINER
docker=$1
container=$2
word=
while read -r line; do word=$line; done
"$docker" rm --force --volumes "$container"
if [ "$word" != dropped ]; then
    # It may have been asked for a moment before.
    for pause in 1 2 4; do
        sleep "$pause"
        "$docker" rm --force --volumes "$container"
    done
fi
exit 0
