#!/bin/sh
# Puts the managed plugin together, as docker plugin create takes it:
# bundle.sh BINARY FOLDER, of which the folder is made.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$2

mkdir -p "$folder/rootfs/run" "$folder/rootfs/etc" "$folder/rootfs/proc" "$folder/rootfs/sys" "$folder/rootfs/dev" "$folder/rootfs/tmp" "$folder/rootfs/var"
ln -s /run "$folder/rootfs/var/run"
: >"$folder/rootfs/etc/machine-id"
install -m 755 "$1" "$folder/rootfs/gvlan"
install -m 644 "$here/config.json" "$folder/config.json"
