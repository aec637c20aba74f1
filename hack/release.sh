#!/usr/bin/env bash
# Builds what is released, into dist/ (or $DIST): for each architecture an archive
# with lifecycle/{detector,generator,extender}, all static, the licences of all that they
# contain, and SHA256SUMS. `make release` calls it, with VERSION, TAGS, LDFLAGS and the
# list ARCHITECTURES.
#
# The extender contains its own OCI runtime: that takes a C compiler and a static
# libseccomp. For this machine's architecture both are required; for another one
# they may be missing, and then that extender needs runc, which is said. On Debian:
#   apt-get install gcc libc6-dev pkg-config libseccomp-dev
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross libseccomp-dev:arm64
#
# The same commit gives the same bytes, with the same Go and the same Debian: file
# times are the commit's (or SOURCE_DATE_EPOCH).
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"

: "${VERSION:?is set by make release}" "${TAGS:?}" "${LDFLAGS:?}"
read -ra architectures <<<"${ARCHITECTURES:?}"
dist=${DIST:-$root/dist}
declare -A triplet=([amd64]=x86_64-linux-gnu [arm64]=aarch64-linux-gnu)
own=$(go env GOHOSTARCH)

epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || true)}
[ -n "$epoch" ] || die "the commit's time is not to be had (git log): set SOURCE_DATE_EPOCH"

# Nothing of the builder's habits gets into the programs, be they variables or what
# go env -w has set; of that, only where modules come from and are kept stays.
for name in GOPROXY GONOPROXY GOPRIVATE GOINSECURE GOSUMDB GONOSUMDB GOMODCACHE GOCACHE GOTOOLCHAIN; do
	export "$name=$(go env "$name")"
done
unset GOFLAGS GOEXPERIMENT GOAMD64 GOARM64 CGO_CPPFLAGS CGO_LDFLAGS
export GOENV=off GOOS=linux CGO_CFLAGS=-O2

# toolchain says what is missing to build for architecture $1 with cgo, and sets cc
# and, for another architecture, where pkg-config looks.
toolchain() {
	local libs=/usr/lib/${triplet[$1]}
	cc=${triplet[$1]}-gcc
	unset PKG_CONFIG_LIBDIR
	if [ "$1" = "$own" ]; then
		command -v "$cc" >/dev/null || cc=gcc
	else
		export PKG_CONFIG_LIBDIR=$libs/pkgconfig
	fi
	command -v "$cc" >/dev/null || echo "the C compiler $cc"
	if ! command -v pkg-config >/dev/null; then
		echo "pkg-config"
	elif ! pkg-config --exists libseccomp; then
		echo "libseccomp for $1"
	elif command -v "$cc" >/dev/null && [ "$("$cc" -print-file-name=libseccomp.a)" = libseccomp.a ] && [ ! -e "$libs/libseccomp.a" ]; then
		echo "a static libseccomp for $1"
	fi
}

# build makes the programs for architecture $1 in directory $2.
build() {
	local arch=$1 to=$2 missing program common
	common=(-trimpath -buildvcs=false)
	for program in detector generator; do
		CGO_ENABLED=0 GOARCH=$arch go build "${common[@]}" -tags "$TAGS" -ldflags "$LDFLAGS -buildid=" \
			-o "$to/$program" "./cmd/$program"
	done
	missing=$(toolchain "$arch" | paste -sd, | sed 's/,/, /g')
	toolchain "$arch" >/dev/null # for what it sets
	if [ -z "$missing" ]; then
		say "$arch: the extender has its own OCI runtime"
		CGO_ENABLED=1 GOARCH=$arch CC=$cc go build "${common[@]}" -tags "$TAGS,seccomp,netgo,osusergo" \
			-ldflags "$LDFLAGS -buildid= -linkmode external -extldflags '-static -Wl,--build-id=none'" \
			-o "$to/extender" ./cmd/extender
		CGO_ENABLED=1 GOARCH=$arch CC=$cc hack/notices.sh "$TAGS,seccomp,netgo,osusergo" static >"$to/NOTICES.graft"
		return
	fi
	[ "$arch" != "$own" ] ||
		die "missing: $missing (apt-get install gcc libc6-dev pkg-config libseccomp-dev)"
	say "$arch: the extender has no OCI runtime of its own and needs runc, since this is missing: $missing"
	CGO_ENABLED=0 GOARCH=$arch go build "${common[@]}" -tags "$TAGS" -ldflags "$LDFLAGS -buildid=" \
		-o "$to/extender" ./cmd/extender
	CGO_ENABLED=0 GOARCH=$arch hack/notices.sh "$TAGS" >"$to/NOTICES.graft"
}

mkdir -p "$dist"
# An archive of another version beside these would be laid over a builder too.
rm -f "$dist"/graft-*.tgz "$dist/SHA256SUMS"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for arch in "${architectures[@]}"; do
	lifecycle=$work/$arch/lifecycle
	mkdir -p "$lifecycle"
	build "$arch" "$lifecycle"
	cp LICENSE "$lifecycle/LICENSE.graft"
	chmod 755 "$lifecycle" "$lifecycle"/{detector,generator,extender}
	chmod 644 "$lifecycle"/{LICENSE,NOTICES}.graft
	tar --create --directory "$work/$arch" --format=ustar --sort=name --mtime="@$epoch" \
		--owner=0 --group=0 --numeric-owner lifecycle | gzip -9n >"$dist/graft-$VERSION-linux-$arch.tgz"
done
(cd "$dist" && sha256sum -- graft-*.tgz >SHA256SUMS)
say "made in $dist: $(cd "$dist" && echo graft-*.tgz)"
