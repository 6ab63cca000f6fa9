#!/bin/sh
# Prints the version of what is built from this tree, as `gvlan version` and the
# packages have it:
#
#   0.2.0                            the commit with the tag v0.2.0
#   0.2.0+git.1093.3f2a9c1d0b7e      a later one, the 1093rd, by its hash
#   0.2.0+git.1093.3f2a9c1d0b7e.dirty  a tree with changes that are in no commit
#
# Without any tag, as in a clone that fetched none, the newest version that
# CHANGELOG.md closes counts as the last tag. VERSION in the environment wins: so
# builds who has no .git. dpkg and rpm sort these in the order of the commits.
set -eu
cd "$(dirname "$0")/../.."

if [ -n "${VERSION:-}" ]; then
	echo "$VERSION"
	exit
fi
version=$(sed -n 's/^## \[\([0-9][^]]*\)\] - .*/\1/p' CHANGELOG.md | head -n 1)
if ! git rev-parse --quiet --verify HEAD >/dev/null 2>&1; then
	echo "$version+unknown"
	exit
fi
dirty=
[ -z "$(git status --porcelain)" ] || dirty=dirty

if tag=$(git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null); then
	echo "${tag#v}${dirty:++$dirty}"
	exit
fi
if tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null); then
	version=${tag#v}
fi
echo "$version+git.$(git rev-list --count HEAD).$(git rev-parse --short=12 HEAD)${dirty:+.$dirty}"
