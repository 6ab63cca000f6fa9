# Runs as process 1 of namespaces (mount, pid, cgroup) nested in a machine's, takes
# away what a machine shares with this computer, and becomes the init it is given: one
# that mounts, empties folders, moves processes and writes devices, as systemd does,
# finds nothing of this computer's. So does systemd.io/CONTAINER_INTERFACE ask.
#
#   $1 the lab's id
#   $2 ... the init and its arguments
set -eu
id=$1
shift

mount --make-rprivate /
# The rbinds of this computer's /sys/fs/cgroup and /dev go, and the shared folders.
[ -z "${GOCOVERDIR-}" ] || umount -l "$GOCOVERDIR"
umount -l -R /sys /dev /run /tmp
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp

mount -t proc proc /proc
# Of the kernel's settings only the network's are a namespace's own.
mount --bind /proc/sys /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,ro /proc/sys
if [ -e /proc/sysrq-trigger ]; then
	mount --bind /proc/sysrq-trigger /proc/sysrq-trigger
	mount -o remount,bind,ro /proc/sysrq-trigger
fi

mount -t sysfs sysfs /sys
mount -o remount,bind,ro /sys
# In a cgroup namespace this is the machine's own group, whatever the path says.
mount -t cgroup2 cgroup2 /sys/fs/cgroup

mount -t tmpfs -o mode=755 dev /dev
while read -r name minor; do
	mknod -m 666 "/dev/$name" c 1 "$minor"
done <<-END
	null 3
	zero 5
	full 7
	random 8
	urandom 9
END
mknod -m 666 /dev/tty c 5 0
mkdir /dev/pts /dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr

# The first boot starts Docker alone: this computer's own root may have other daemons,
# and its Docker disabled. What is enabled afterwards stays.
if [ ! -L /etc/systemd/system/getty.target ]; then
	wants=/etc/systemd/system/multi-user.target.wants
	mkdir -p $wants
	find $wants -type l -delete
	ln -s /lib/systemd/system/containerd.service /lib/systemd/system/docker.service $wants/
fi
# Nothing is to be fetched, trimmed or logged in to, and the kernel has one list of FUSE mounts.
for unit in apt-daily apt-daily-upgrade dpkg-db-backup fstrim; do
	ln -sfn /dev/null "/etc/systemd/system/$unit.timer"
done
for unit in getty.target sys-fs-fuse-connections.mount; do
	ln -sfn /dev/null "/etc/systemd/system/$unit"
done

mount --make-rshared /
# Better none than one that is let into this computer.
grep -qx 0::/ /proc/self/cgroup
if grep -E ' - (cgroup|devtmpfs) ' /proc/self/mountinfo; then
	exit 1
fi
: >/run/apart
# What would reach the kernel itself: clock, modules, ports, log.
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm,-mac_admin,-mac_override \
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=lab GVLAN_LAB="$id" "$@" </dev/null
