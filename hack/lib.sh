# shellcheck shell=bash
# What the scripts in this directory share. Sourced, never run.

# A function whose output is taken ends with its first failure, as all else does.
shopt -s inherit_errexit

# Everything made here may be read by other users: modules run as one.
umask 022

# Debian keeps runc and debootstrap where an ordinary user does not look, and sudo
# does not look where Go is.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/go/bin"

# The checkout.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export root

# say reports progress. Standard output is for results.
say() {
	printf '==> %s\n' "$*" >&2
}

# die ends the script with one line that says what is wrong and what to do.
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# cache_dir prints the directory for what is worth keeping between runs: the
# base image, buildkitd, the demo. GRAFT_CACHE names another one.
cache_dir() {
	if [ -n "${GRAFT_CACHE:-}" ]; then
		realpath -m "$GRAFT_CACHE"
	elif [ "$(id -u)" = 0 ]; then
		echo /var/cache/graft
	else
		echo "${XDG_CACHE_HOME:-$HOME/.cache}/graft"
	fi
}

# lock waits until no other script holds the file $1, and then holds it, as file
# descriptor 9, until this script and all that inherited it have ended.
lock() {
	mkdir -p "$(dirname "$1")"
	exec 9>"$1"
	if ! flock -n 9; then
		say "waiting for another process that holds $1"
		flock 9
	fi
}

# buildkit_program builds the program $1 of BuildKit, in the version that go.mod
# names, unless that was done before, and prints its path.
buildkit_program() {
	local module=github.com/moby/buildkit version bin program source
	version=$(cd "$root" && go list -m -f '{{.Version}}' "$module")
	bin=$(cache_dir)/bin
	program=$bin/$1-$version-$(go env GOVERSION)
	if [ ! -x "$program" ]; then
		lock "$bin/.lock"
	fi
	if [ ! -x "$program" ]; then # not built while we waited
		say "building $1 $version (once, some minutes)"
		# In its own directory of the module cache: so it is made of the modules
		# that it was released with, and those that only the daemon needs stay
		# out of our go.mod.
		(cd "$root" && go mod download "$module")
		source=$(cd "$root" && go list -m -f '{{.Dir}}' "$module")
		(cd "$source" && CGO_ENABLED=0 GOWORK=off go build -mod=readonly -trimpath \
			-ldflags "-s -w -X $module/version.Version=$version" \
			-o "$program.partial" "./cmd/$1")
		mv "$program.partial" "$program"
	fi
	echo "$program"
}
