#!/bin/sh
# Builds what is handed to others, from this tree into bin/release:
#
#   build.sh packages   the deb and rpm of each architecture
#
# ARCHS="amd64 arm64" says for which. The same commit gives the same bytes, in
# whatever folder and at whatever time: no path and no clock comes in, and every
# file has the commit's time. VERSION and SOURCE_DATE_EPOCH in the environment
# win over what git says.
set -eu
cd "$(dirname "$0")/../.."
umask 022

what=${1:-packages}
ARCHS=${ARCHS:-amd64 arm64}
VERSION=$(deploy/package/version.sh)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export VERSION SOURCE_DATE_EPOCH CGO_ENABLED=0
out=${OUT:-bin/release}
tool="go tool -modfile=deploy/package/tools.mod"

STAGE=$(mktemp -d)
export STAGE
trap 'rm -rf "$STAGE"' EXIT
mkdir -p "$out"

# The manual and completions are the same for every architecture.
go run ./cmd/manual "$STAGE/share"
find "$STAGE/share/man" -type f -exec gzip -9n {} +
find "$STAGE/share" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +

for ARCH in $ARCHS; do
	export ARCH
	GOARCH=$ARCH go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o "$STAGE/gvlan" ./cmd/gvlan
	for kind in deb rpm; do
		GOARCH='' $tool nfpm package --config deploy/package/nfpm.yaml --packager $kind --target "$out"
	done
done
