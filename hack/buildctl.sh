#!/usr/bin/env bash
# Builds buildctl, BuildKit's own client, in the version that go.mod names, once,
# and prints its path. What it makes of a Dockerfile is what the acceptance tests
# hold the extender's result against, and make bench its time.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

buildkit_program buildctl
