# Removes a folder when the pipe at the standard input is closed: whoever holds its other end is gone
# then, also when it was killed.
#
#   sh -c '...' leash FOLDER
folder=$1
while read -r _; do :; done
# Whoever still writes there is about to end: the server, or what fills the folder for it.
left=300
until rm -rf "$folder" || [ $left -eq 0 ]; do
    sleep 0.1
    left=$((left - 1))
done
