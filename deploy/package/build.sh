#!/bin/sh
# Builds what is handed to others, from this tree into bin/release:
#
#   build.sh packages   a deb and an rpm for each architecture
#   build.sh release    those, and for each architecture the static binary with what
#                       comes beside it (.tar.gz), the managed plugin for swarm, and the
#                       list of modules that are in the binary (CycloneDX); SHA256SUMS
#
# ARCHS="amd64 arm64" says for which. The same commit gives the same bytes, in whatever
# folder, zone and language and at whatever time: no path and no clock comes in, and
# every file has the commit's time. From the environment come also, where git is not to be asked, VERSION
# and SOURCE_DATE_EPOCH; OUT, the folder; and BINARY, instead of building one.
set -eu
cd "$(dirname "$0")/../.."
umask 022
# The manual has the month in words, SHA256SUMS an order; and Go would take these over.
export LC_ALL=C TZ=UTC GOOS='' GOARCH='' GOFLAGS='' GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT=''

what=${1:-packages}
case $what in packages | release) ;; *) echo "usage: build.sh packages|release" >&2; exit 2 ;; esac
VERSION=$(deploy/package/version.sh)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export VERSION SOURCE_DATE_EPOCH CGO_ENABLED=0
out=${OUT:-bin/release}

if [ "$what" = release ]; then
	case $VERSION in
	*dirty) echo "$VERSION is not released: commit the changes of this tree, or take them away" >&2; exit 1 ;;
	*+git.*) # between two versions, by the count of commits
		if [ "$(git rev-parse --is-shallow-repository 2>/dev/null)" = true ]; then
			echo "$VERSION is not released: this clone has not all commits, which the version counts: git fetch --unshallow --tags" >&2
			exit 1
		fi
		;;
	*+*) ;;
	*)
		grep -qF "## [$VERSION] - " CHANGELOG.md || {
			echo "$VERSION is not released: CHANGELOG.md does not close it with a heading \"## [$VERSION] - DATE\"" >&2
			exit 1
		}
		;;
	esac
fi

# What a build has beside the sources has a mod file of its own, so that the product
# does not need it. It runs here, whatever architecture is built for; the list of
# modules has its sum, so no path comes into it either.
tool() { GOFLAGS='-trimpath -buildvcs=false' go tool -modfile=deploy/package/tools.mod "$@"; }

# pack FOLDER NAME makes NAME.tar.gz of a folder in STAGE.
pack() {
	tar --sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
		--mtime="@$SOURCE_DATE_EPOCH" -C "$STAGE" -cf - "$1" | gzip -9n >"$STAGE/out/$2.tar.gz"
}

STAGE=$(mktemp -d)
export STAGE
trap 'rm -rf "$STAGE"' EXIT
mkdir "$STAGE/out"

# The manual and the completions are the same for every architecture.
go run -trimpath -buildvcs=false ./cmd/manual "$STAGE/share"
find "$STAGE/share/man" -type f -exec gzip -9n {} +
find "$STAGE/share" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +

for ARCH in ${ARCHS:-amd64 arm64}; do
	export ARCH
	if [ -n "${BINARY:-}" ]; then
		cp "$BINARY" "$STAGE/gvlan"
	else
		GOOS=linux GOARCH=$ARCH go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o "$STAGE/gvlan" ./cmd/gvlan
	fi
	for kind in deb rpm; do
		tool nfpm package --config deploy/package/nfpm.yaml --packager $kind --target "$STAGE/out"
	done
	[ "$what" = release ] || continue

	name=gvlan_${VERSION}_linux_$ARCH
	mkdir "$STAGE/$name"
	cp -R "$STAGE/gvlan" "$STAGE/share" LICENSE README.md CHANGELOG.md SECURITY.md deploy/gvlan.service deploy/gvlan.toml "$STAGE/$name/"
	pack "$name" "$name"

	rm -rf "$STAGE/gvlan-plugin"
	deploy/plugin/bundle.sh "$STAGE/gvlan" "$STAGE/gvlan-plugin"
	pack gvlan-plugin "gvlan-plugin_${VERSION}_$ARCH"

	tool cyclonedx-gomod bin -json -std -noserial -notimestamp -version "v$VERSION" -output "$STAGE/out/$name.cdx.json" "$STAGE/gvlan"
done

if [ "$what" = release ]; then
	(cd "$STAGE/out" && sha256sum -- *) >"$STAGE/SHA256SUMS"
	mv "$STAGE/SHA256SUMS" "$STAGE/out/"
fi
mkdir -p "$out"
cp "$STAGE"/out/* "$out/"
(cd "$STAGE/out" && ls) | sed "s|^|$out/|"
