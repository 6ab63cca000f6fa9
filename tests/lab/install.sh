#!/bin/sh
# Makes this machine ready for the lab: Debian 12, root. Safe to run again; when
# everything is there it does nothing and takes a few milliseconds.
#
#   GVLAN_LAB_CACHE   where the newer engines' root file systems and axe-core are kept
#                     (default /var/cache/gvlan-lab)
set -eu

cache=${GVLAN_LAB_CACHE:-/var/cache/gvlan-lab}

# The machine's own suite gives engine 20.10 and the systemd beside it, User Mode Linux,
# Prometheus, routers (FRR, BIRD), a browser, Ansible (whose role in deploy is played), rpm
# (what is in the package) and the tools that look at the LAN; docker-compose is the Python
# one that goes with 20.10.
packages="docker.io systemd docker-compose tini busybox-static debootstrap user-mode-linux
	iproute2 iptables nftables iputils-ping iputils-arping iperf3 tcpdump dnsutils dnsperf
	ca-certificates util-linux prometheus frr bird2 chromium rpm ansible-lint python3-apt"
command -v npm >/dev/null || packages="$packages npm"

# axe-core looks for what shuts people out of a page: tests/browser. Its licence
# (MPL 2.0) is not this repository's.
axe=4.14.1
axe_sha512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5

missing() {
	for p in $packages; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
	done
}

# deny_services makes every maintainer script's request to start a service fail
# politely (policy-rc.d, Debian Policy 9.3.3): the lab starts its own engines.
deny_services() {
	printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
	chmod 755 "$1/usr/sbin/policy-rc.d"
}

install_packages() {
	want=$(missing)
	[ -n "$want" ] || return 0
	policy=
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		deny_services ""
		policy=/usr/sbin/policy-rc.d
	fi
	apt-get update -q
	# shellcheck disable=SC2086 # a list of words is meant
	DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $want
	[ -z "$policy" ] || rm -f "$policy"
	# policy-rc.d stops the start now; these stop the one at the next boot.
	if [ -d /run/systemd/system ]; then
		systemctl disable --now docker.service docker.socket containerd.service prometheus.service \
			frr.service bird.service
	fi
}

# mirror prints the first deb.debian.org style mirror of the machine's own apt sources.
mirror() {
	{
		sed -n 's/^URIs:[[:space:]]*//p' /etc/apt/sources.list.d/*.sources
		sed -n 's/^deb[[:space:]]\(\[[^]]*\][[:space:]]*\)*\([^[:space:]]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list
	} 2>/dev/null | tr ' ' '\n' | grep '/debian/*$' | head -n 1
}

# install_root makes the root of a Debian suite with the docker.io of its own and
# further packages. The stamp, which names what is in it, is written last, so that an
# interrupted run or a root made for less is redone from nothing.
install_root() {
	root=$cache/$1
	base="docker.io docker-cli iproute2 iptables ca-certificates"
	[ "$(cat "$root/.complete" 2>/dev/null)" != "$base $2" ] || return 0
	from=$(mirror)
	[ -n "$from" ] || from=http://deb.debian.org/debian
	scripts=/usr/share/debootstrap/scripts
	[ -e "$scripts/$1" ] || ln -s sid "$scripts/$1"
	rm -rf "$root"
	mkdir -p "$root"
	debootstrap --variant=minbase --no-merged-usr \
		--include="$(echo $base | tr ' ' ,)" "$1" "$root" "$from"
	deny_services "$root"
	if [ -n "$2" ]; then
		# shellcheck disable=SC2086 # a list of words is meant
		DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -qy --no-install-recommends $2
	fi
	chroot "$root" apt-get clean
	echo "$base $2" >"$root/.complete"
}

# install_axe fetches the pinned axe-core, and nothing of another sum.
install_axe() {
	to=$cache/axe-core
	[ "$(cat "$to/.complete" 2>/dev/null)" != "$axe" ] || return 0
	rm -rf "$to"
	mkdir -p "$to"
	(cd "$to" && npm pack --silent "axe-core@$axe" >/dev/null)
	echo "$axe_sha512  $to/axe-core-$axe.tgz" | sha512sum --check --quiet
	tar -xzf "$to/axe-core-$axe.tgz" -C "$to" --strip-components=1 package/axe.min.js package/LICENSE
	rm "$to/axe-core-$axe.tgz"
	echo "$axe" >"$to/.complete"
}

mkdir -p "$cache"
# One installer at a time; the second finds everything done.
exec 9>"$cache/.lock"
flock 9
install_packages
install_root trixie ""            # docker.io 26.1
install_root forky docker-compose # docker.io 28.5, which depends on systemd
install_axe
