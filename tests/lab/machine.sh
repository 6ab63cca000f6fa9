# Runs as process 1 of a machine's own namespaces (mount, net, pid, uts, ipc), under
# tini, and holds them until standard input ends: when the lab's owner dies, however
# it dies, the pipe closes, this shell ends, and the kernel ends the rest.
#
#   $1 root file system to start from (read only: writes go to memory)
#   $2 name of the machine
#   $3 seed of its machine-id
#   $4 directory of programs that stand before those of the root; empty for none
#   $5 ... directories shared with this computer under the same path
set -eu
lower=$1 name=$2 seed=$3 programs=$4
shift 4

mount --make-rprivate /
mount -t tmpfs -o mode=755 lab /mnt
mkdir /mnt/upper /mnt/work /mnt/root /mnt/lib
root=/mnt/root
mount -t overlay -o "lowerdir=$lower,upperdir=/mnt/upper,workdir=/mnt/work" lab $root
mkdir -p $root/proc $root/sys $root/dev $root/run $root/tmp $root/old
mount -t proc proc $root/proc
# A fresh sysfs shows this namespace's links; it comes without the cgroup mounts.
mount -t sysfs sysfs $root/sys
mount --rbind /sys/fs/cgroup $root/sys/fs/cgroup
mount --rbind /dev $root/dev
mount -t tmpfs -o mode=755 run $root/run
# What is started inside may empty /tmp, as systemd does: it is the machine's own.
mount -t tmpfs -o mode=1777 tmp $root/tmp
for dir; do
	mkdir -p "$root$dir"
	mount --bind "$dir" "$root$dir"
done
if [ -n "$programs" ]; then
	for program in "$programs"/*; do
		[ -f "$program" ] || continue
		at=$root/usr/sbin/${program##*/} # the first of PATH
		: >>"$at"
		mount --bind "$program" "$at"
	done
fi
# An engine's overlays cannot lie on an overlay: state lives on the bare tmpfs.
mkdir -p $root/var/lib/docker $root/var/lib/gvlan $root/var/lib/etcd
for dir in docker gvlan etcd; do
	mkdir /mnt/lib/$dir
	mount --bind /mnt/lib/$dir $root/var/lib/$dir
done

hostname "$name"
rm -f $root/etc/hostname $root/etc/machine-id $root/etc/resolv.conf $root/etc/docker/key.json
echo "$name" >$root/etc/hostname
printf %s "$seed" | md5sum | cut -c1-32 >$root/etc/machine-id

cd $root
pivot_root . old
umount -l /old
# A booted Debian shares /; managed plugins with a slave mount depend on it.
mount --make-rshared /
mkdir -p /run/docker/plugins /run/lock

# Addresses are usable at once, without a second of duplicate detection.
for conf in all default; do
	echo 0 >/proc/sys/net/ipv6/conf/$conf/accept_dad
done
ip link set lo up
echo ready
exec cat >/dev/null
