#!/usr/bin/env bash
# Builds buildkitd, the daemon, in the version that go.mod names, once, and
# prints its path. The acceptance tests run it as the engine that is reached
# through an address.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

module=github.com/moby/buildkit
cd "$root"
version=$(go list -m -f '{{.Version}}' "$module")
bin=$(cache_dir)/bin
program=$bin/buildkitd-$version-$(go env GOVERSION)

if [ ! -x "$program" ]; then
	lock "$bin/.lock"
	if [ ! -x "$program" ]; then # built while we waited
		say "building buildkitd $version (once, some minutes)"
		CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X $module/version.Version=$version" \
			-o "$program.partial" "$module/cmd/buildkitd"
		mv "$program.partial" "$program"
	fi
fi
echo "$program"
