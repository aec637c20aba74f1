#!/usr/bin/env bash
# Installs the programs that the demo and the tests need and that Go cannot
# build. As root on Debian or a relative it calls apt-get; everywhere else it
# says in one line what is missing.
#
# usage: setup.sh [-without-debootstrap]
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

# A program, and the Debian package that has it.
needs=(
	"runc runc"           # runs the RUN steps of the embedded engine
	"newuidmap uidmap"    # lets an ordinary user have that engine
	"debootstrap debootstrap" # makes the base image
)
if [ "${1:-}" = -without-debootstrap ] || [ "$(id -u)" != 0 ]; then
	unset 'needs[-1]'
fi

programs=() packages=()
for need in "${needs[@]}"; do
	read -r program package <<<"$need"
	if ! command -v "$program" >/dev/null; then
		programs+=("$program") packages+=("$package")
	fi
done
if [ ${#programs[@]} = 0 ]; then
	exit 0
fi

if ! command -v apt-get >/dev/null; then
	die "missing: ${programs[*]}: install them with this system's package manager (in Debian the packages are ${packages[*]})"
fi
if [ "$(id -u)" != 0 ]; then
	die "missing: ${programs[*]}: install them with: sudo apt-get install ${packages[*]}"
fi

say "installing ${packages[*]} (for ${programs[*]})"
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${packages[@]}")
# The package lists of a fresh machine may be missing or too old.
if ! "${install[@]}" >/dev/null 2>&1; then
	say "updating the package lists"
	apt-get update -qq >&2 || die "apt-get update failed: see above; or install ${packages[*]} by hand"
	"${install[@]}" >&2 || die "apt-get could not install ${packages[*]}: see above"
fi
