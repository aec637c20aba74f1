#!/usr/bin/env bash
# Removes what the demo and the tests keep between runs: base images, buildkitd,
# the demo and its engine's cache.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

cache=$(cache_dir)
say "removing base, bin, demo and engine below $cache"
remove=(rm -rf "${cache:?}"/{base,bin,demo,engine})
if [ "$(id -u)" != 0 ] && [ -e "$cache/engine" ]; then
	# The engine of an ordinary user has files of that user's subordinate ids.
	remove=(unshare --map-auto --map-root-user "${remove[@]}")
fi
"${remove[@]}"
