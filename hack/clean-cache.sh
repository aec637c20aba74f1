#!/usr/bin/env bash
# Removes what demo, tests and benchmarks keep between runs: base images, BuildKit's
# programs, the demo and its engine's cache, a benchmark's images in Docker; and what a
# benchmark that was killed left.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

cache=$(cache_dir)
say "removing base, bin, demo, docker, engine and bench-* below $cache"
remove=(rm -rf "${cache:?}"/{base,bin,demo,docker,engine,bench-*})
if [ "$(id -u)" != 0 ] && [ -e "$cache/engine" ]; then
	# The engine of an ordinary user has files of that user's subordinate ids.
	remove=(unshare --map-auto --map-root-user "${remove[@]}")
fi
"${remove[@]}"
