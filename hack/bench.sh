#!/usr/bin/env bash
# Makes what the benchmarks of the extender run on, and runs all benchmarks that
# compare programs. Arguments go to acceptance/cmd/bench.
#
# Without root those of the extender are left out, and said to be.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"

# large prints the directory of the base image with $1 files more, which have $2
# bytes together; it is made once.
large() {
	local image key
	key=$(sha256sum acceptance/cmd/image/grow.go | cut -c1-8)
	image=$bases/$(basename "$base")-$1-$2-$key
	if [ ! -e "$image/index.json" ]; then
		lock "$bases/.lock"
		rm -rf "$bases"/.debian-*-[0-9]*-[0-9]*-* # left by a run that was killed
		if [ ! -e "$image/index.json" ]; then # not made while we waited
			say "making a base image of $1 files (once, some minutes)"
			go run ./acceptance/cmd/image grow -files "$1" -bytes "$2" "oci:$base" "$image" >&2
		fi
	fi
	echo "$image"
}

bases=$(cache_dir)/base
mkdir -p "$bases"
# Two at a time would measure each other, and want the same images in Docker.
lock "$(cache_dir)/.bench.lock"
arguments=()
if [ "$(id -u)" = 0 ]; then
	hack/setup.sh runc dockerd docker
	base=$(hack/base-image.sh)
	some=$(large 10000 150000000)
	many=$(large 100000 1500000000)
	daemon=$(hack/buildkitd.sh)
	client=$(hack/buildctl.sh)
	# For containers, thus static.
	builder=$(cache_dir)/bin/bench-builder
	rootfs=$(cache_dir)/bin/bench-rootfs
	CGO_ENABLED=0 go build -o "$builder" ./acceptance/cmd/builder
	CGO_ENABLED=0 go test -c -o "$rootfs" ./dockerfile/rootfs
	arguments=(-base "$base" -some "$some" -many "$many" -buildkitd "$daemon" -buildctl "$client"
		-builder "$builder" -rootfs "$rootfs" -work "$(cache_dir)")
else
	say "the extender is not measured: only root can run a daemon"
fi
exec go run ./acceptance/cmd/bench -programs bin "${arguments[@]}" "$@"
