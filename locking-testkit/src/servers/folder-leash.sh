# Makes a folder that nobody else may read, and removes it when the pipe at the standard input is
# closed: whoever holds its other end is gone then, also when it was killed. The folder's name goes to
# the standard output.
#
#   sh -c '...' leash TEMPLATE
#
# Made by whoever is to remove it, the folder is never there without its leash. Nobody may be left to
# read its name.
trap '' PIPE
folder=$(mktemp -d "$1") || exit
printf '%s' "${folder##*/}"
exec >&-
while read -r _; do :; done
# Whoever still writes there is about to end: the server, or what fills the folder for it.
left=300
until rm -rf "$folder" || [ $left -eq 0 ]; do
    sleep 0.1
    left=$((left - 1))
done
