#!/usr/bin/env bash
# Builds buildkitd, the daemon, in the version that go.mod names, once, and
# prints its path. The acceptance tests run it as the engine that is reached
# through an address.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

module=github.com/moby/buildkit
version=$(cd "$root" && go list -m -f '{{.Version}}' "$module")
bin=$(cache_dir)/bin
program=$bin/buildkitd-$version-$(go env GOVERSION)

if [ ! -x "$program" ]; then
	lock "$bin/.lock"
	if [ ! -x "$program" ]; then # built while we waited
		say "building buildkitd $version (once, some minutes)"
		# In its own directory of the module cache: so it is made of the modules
		# that it was released with, and those that only the daemon needs stay
		# out of our go.mod.
		(cd "$root" && go mod download "$module")
		source=$(cd "$root" && go list -m -f '{{.Dir}}' "$module")
		(cd "$source" && CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath \
			-ldflags "-s -w -X $module/version.Version=$version" \
			-o "$program.partial" ./cmd/buildkitd)
		mv "$program.partial" "$program"
	fi
fi
echo "$program"
