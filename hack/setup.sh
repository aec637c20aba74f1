#!/usr/bin/env bash
# Installs programs that the demo and the tests need and that Go cannot build.
# As root on Debian or a relative it calls apt-get; everywhere else it says in
# one line what is missing.
#
# usage: setup.sh [program...]     without arguments, all of them
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

# The Debian package of each program.
declare -A package=(
	[debootstrap]=debootstrap  # makes the base image
	[runc]=runc                # runs the RUN steps of an engine
	[newuidmap]=uidmap         # lets an ordinary user have the embedded engine
	[busybox]=busybox-static   # is all that the images of small tests hold
	[dockerd]=docker.io        # is a platform's container engine, and has images
	[docker]=docker.io         # speaks to it
	[gcc]='gcc libc6-dev'      # builds the extender's own OCI runtime, with
	[pkg-config]=pkg-config
	[libseccomp]=libseccomp-dev
	[jq]=jq                    # packaging/pack.sh calls it
)
# Debian 13 has the command in a package of its own.
if command -v apt-cache >/dev/null && apt-cache show docker-cli >/dev/null 2>&1; then
	package[docker]=docker-cli
fi

# installed says whether the program $1 is there, and fit for its use.
installed() {
	local path
	if [ "$1" = libseccomp ]; then
		pkg-config --exists libseccomp 2>/dev/null
		return
	fi
	path=$(command -v "$1") || return
	# busybox has to run in an image that holds no library.
	[ "$1" != busybox ] || ! ldd "$path" >/dev/null 2>&1
}

if [ $# = 0 ]; then
	set -- "${!package[@]}"
fi
programs=() packages=()
for program in "$@"; do
	if ! installed "$program"; then
		# Some need two packages.
		# shellcheck disable=SC2206
		programs+=("$program") packages+=(${package[$program]})
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
