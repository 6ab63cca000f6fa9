#!/bin/sh
# Puts a managed plugin together from bin/gvlan, and creates it where an
# engine runs: build.sh [NAME], NAME being gvlan-swarm:latest unless given.
# The name must not be gvlan: Docker would find the managed plugin in place of
# the socket plugin and lose every plain network.
set -eu
cd "$(dirname "$0")"
name=${1:-gvlan-swarm:latest}
case $name in gvlan | gvlan:*) echo "a managed plugin must not be called gvlan: try gvlan-swarm:latest" >&2; exit 2 ;; esac

rm -rf build
./bundle.sh ../../bin/gvlan build
echo "built deploy/plugin/build"

if docker version >/dev/null 2>&1; then
	docker plugin create "$name" build
	echo "now: docker plugin set $name GVLAN_ETCD_ENDPOINTS=... && docker plugin enable $name"
else
	echo "no engine answers here: run 'docker plugin create $name deploy/plugin/build' where one does"
fi
