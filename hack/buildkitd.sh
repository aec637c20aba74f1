#!/usr/bin/env bash
# Builds buildkitd, the daemon, in the version that go.mod names, once, and
# prints its path. The acceptance tests run it as the engine that is reached
# through an address.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

buildkit_program buildkitd
