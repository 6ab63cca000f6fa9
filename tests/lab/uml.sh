#!/bin/sh
# Process 1 of a User Mode Linux kernel whose root is this machine's, by hostfs. It
# goes over to an overlay of it, so that nothing on this machine is written, loads the
# modules, runs the program, and says how that ended on the console's last line.
# "command" beside this file is the program, as a shell script.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
dir=${0%/*}
modules=/usr/lib/uml/modules/$(uname -r)
root=/mnt/root

stop() {
	sync
	echo o >/proc/sysrq-trigger
	sleep 60
}
fail() {
	echo "uml.sh: cannot $*"
	stop
}

mount -t proc proc /proc
mount -t tmpfs -o mode=755 lab /mnt || fail mount a tmpfs

# modprobe wants /lib/modules/RELEASE, which this machine does not have: it gets a
# root of its own with that and a static busybox.
mkdir -p "/mnt/load/lib/modules/$(uname -r)" /mnt/load/proc /mnt/load/sys /mnt/upper /mnt/work $root
cp /bin/busybox /mnt/load/
mount --bind "$modules" "/mnt/load/lib/modules/$(uname -r)" || fail find the modules
mount --bind /proc /mnt/load/proc
mount -t sysfs sysfs /mnt/load/sys
# The parameters keep dummy and bonding from making links of their own.
for some in "-a ipv6 overlay 8021q veth bridge macvlan ipvlan" "dummy numdummies=0" "bonding max_bonds=0"; do
	# shellcheck disable=SC2086 # several words
	chroot /mnt/load /busybox modprobe $some || fail load $some
done

mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work lab $root || fail mount the overlay
mkdir -p $root/proc $root/sys $root/dev $root/run $root/old "$root/lib/modules"
ln -s "$modules" "$root/lib/modules/"
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t devtmpfs dev $root/dev
mkdir -p $root/dev/pts $root/dev/shm $root/dev/mqueue
mount -t devpts devpts $root/dev/pts
for place in /run /dev/shm /tmp/gvlan-lab /var/lib/docker; do
	mkdir -p $root$place
	mount -t tmpfs tmpfs $root$place
done
# The directory of the run is this machine's own, so that results can be left there.
mount -t hostfs -o "$dir" run "$root/mnt" || fail share the run directory

# Control groups of version 1, one hierarchy for each controller this kernel has.
mount -t tmpfs -o mode=755 cgroup $root/sys/fs/cgroup
awk '!/^#/ && $4 == 1 { print $1 }' /proc/cgroups | while read -r controller; do
	mkdir "$root/sys/fs/cgroup/$controller"
	mount -t cgroup -o "$controller" cgroup "$root/sys/fs/cgroup/$controller"
done

cd $root
pivot_root . old || fail change the root
umount -l /old
hostname uml
ip link set lo up
cd /mnt
sh ./command
status=$?
echo
echo "uml.sh: exit $status"
stop
