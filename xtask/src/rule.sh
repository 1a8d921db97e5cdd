# Removes a rule's file, and then folders, when the pipe at the standard input is closed: also when the
# task that holds its other end was killed.
#
#   sh -c '...' leash FILE FOLDER...
file=$1
shift
while read -r _; do :; done
rm -f "$file"
# Those that a package uses by now aren't empty, and stay.
for folder in "$@"; do rmdir "$folder"; done 2>/dev/null
