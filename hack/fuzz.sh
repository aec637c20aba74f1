#!/usr/bin/env bash
# Runs every fuzz target for FUZZTIME (60s) and stops at the first finding, which
# Go leaves in the package's testdata/fuzz.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
time=${FUZZTIME:-60s}
# A package without targets prints nothing but its "ok" line.
for package in $(go list ./platform ./buildmodule/... ./phase ./dockerfile ./dockerfile/rootfs); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		say "$package $target for $time"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
	done
done
