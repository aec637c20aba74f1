#!/usr/bin/env bash
# Removes what the scripts in this directory keep between runs, and nothing
# else: not the state of the embedded engine, which the extender looks after.
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

cache=$(cache_dir)
say "removing base, bin and demo below $cache"
rm -rf "${cache:?}"/{base,bin,demo}
