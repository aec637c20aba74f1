#!/usr/bin/env bash
# Makes what the tests run on, and runs them all. Arguments go to go test.
#
# What the tests find in the environment:
#   GRAFT_TEST_BASE        directory of an OCI image layout: a Debian base image
#                          whose apt works; its user is 1001:1000
#   GRAFT_TEST_BUILDKITD   path of a buildkitd of the version in go.mod
#   GRAFT_TEST_BUILDCTL    path of a buildctl of the same version
#   GRAFT_TEST_SEED        a number from the message of a test of random changes,
#                          which it then repeats
#   GRAFT_REQUIRE_ALL=1    a test that lacks something fails; it never skips
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

cd "$root"
required=''
if [ "${CI:-}" = true ] || [ "${REQUIRE:-}" = 1 ]; then
	required=1
fi

# made runs a script of the set-up, which prints what it has made. If it cannot,
# that is the end when all is required, and else the tests that need it skip.
made() {
	if "$@"; then
		return
	fi
	[ -z "$required" ] || die "everything is required, and $1 failed: see above"
	say "$1 failed: tests that need what it makes are skipped"
}

made hack/setup.sh runc newuidmap busybox dockerd docker gcc pkg-config libseccomp jq
GRAFT_TEST_BASE=$(made hack/base-image.sh)
GRAFT_TEST_BUILDKITD=$(made hack/buildkitd.sh)
GRAFT_TEST_BUILDCTL=$(made hack/buildctl.sh)
export GRAFT_TEST_BASE GRAFT_TEST_BUILDKITD GRAFT_TEST_BUILDCTL
export GRAFT_REQUIRE_ALL=$required

# The engine as the release has it, with its own OCI runtime; below, as go build
# makes it.
if command -v gcc >/dev/null && pkg-config --exists libseccomp 2>/dev/null; then
	CGO_ENABLED=1 go vet -tags seccomp ./dockerfile/engine/...
	CGO_ENABLED=1 go test -count=1 -timeout 45m -tags seccomp,netgo,osusergo "$@" ./dockerfile/engine/...
else
	say "NOT TESTED: the extender's own OCI runtime, which needs gcc, pkg-config and libseccomp-dev"
fi

if [ "$(id -u)" != 0 ] || ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
	say "NOT TESTED: builds in containers, as platforms make them, which need root, dockerd and docker (docker.io)"
fi

# The programs as users run them, which start daemons and containers, are tested
# when all else is and by themselves: beside other tests everything takes long.
acceptance=$(go list ./acceptance) all=$(go list ./...)
mapfile -t others < <(grep -vxF "$acceptance" <<<"$all")

# Never from the cache of test results: Go does not see what the programs that a
# test starts depend on.
go test -count=1 -timeout 45m "$@" "${others[@]}"
exec go test -count=1 -timeout 45m "$@" "$acceptance"
