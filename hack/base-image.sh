#!/usr/bin/env bash
# Makes a Debian base image, once, and prints the directory of its OCI image
# layout. Needs root, debootstrap and a Debian mirror.
#
# The mirrors and the proxy are those of this machine's apt; without any, the
# public ones. DEBIAN_SUITE=trixie asks for another release than this
# machine's (or bookworm, if it is not Debian).
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

# The user of the base image, as in most base images for buildpacks.
uid=1001 gid=1000

# host_suite prints the release of this machine, or bookworm.
host_suite() {
	(
		ID='' VERSION_CODENAME=''
		# shellcheck disable=SC1091
		source /etc/os-release 2>/dev/null || true
		if [ "$ID" = debian ] && [ -n "$VERSION_CODENAME" ]; then
			echo "$VERSION_CODENAME"
		else
			echo bookworm
		fi
	)
}

# sources prints "URI SUITE" of every place that packages of the release come
# from, the release itself first. What apt of this machine is configured with
# is taken if it is plain http and holds no password.
sources() {
	local found
	# These are apt's own placeholders.
	# shellcheck disable=SC2016
	found=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
		awk -v s="$suite" '
			$1 !~ /^https?:/ || $1 ~ /@/ || $3 != "main" { next }
			$2 == s { print "1", $1, $2 }
			$2 == s "-updates" || $2 == s "-security" { print "2", $1, $2 }' |
		sort -u | cut -d' ' -f2-) || true
	if [ "$(head -n1 <<<"$found" | cut -d' ' -f2)" = "$suite" ]; then
		echo "$found"
		return
	fi
	echo "http://deb.debian.org/debian/ $suite"
	echo "http://deb.debian.org/debian/ $suite-updates"
	echo "http://deb.debian.org/debian-security/ $suite-security"
}

# proxy prints the proxy through which this machine reaches its mirrors.
proxy() {
	local configured=''
	eval "$(apt-config shell configured Acquire::http::Proxy 2>/dev/null || true)"
	configured=${configured:-${http_proxy:-}}
	if [ "$configured" != DIRECT ]; then
		echo "$configured"
	fi
}

# bootstrap makes the root file system $1.
bootstrap() {
	local include=()
	if [[ $mirror == https:* ]]; then
		include=(--include=ca-certificates)
	fi
	http_proxy=$proxy debootstrap --variant=minbase "${include[@]}" "$suite" "$1" "$mirror" \
		>"$work/debootstrap.log" 2>&1 ||
		die "debootstrap failed: $(tail -n3 "$work/debootstrap.log" | tr '\n' ' ')(mirror $mirror; DEBIAN_SUITE names another release, or take a base image from a registry: make demo BASE=reference)"
}

# configure turns the Debian in $1 into one for containers: apt works and is
# quiet, no service is started, a user who is not root.
configure() {
	local etc=$1/etc uri name
	rm -f "$etc/apt/sources.list"
	while read -r uri name; do
		printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n' "$uri" "$name"
	done <<<"$sources" >"$etc/apt/sources.list.d/debian.sources"
	if [ -n "$proxy" ]; then
		printf 'Acquire::http::Proxy "%s";\n' "$proxy" >"$etc/apt/apt.conf.d/90proxy"
	fi
	printf 'Acquire::Languages "none";\n' >"$etc/apt/apt.conf.d/90languages"
	echo force-unsafe-io >"$etc/dpkg/dpkg.cfg.d/unsafe-io" # a lost container is built again
	printf '#!/bin/sh\nexit 101\n' >"$1/usr/sbin/policy-rc.d"
	chmod 755 "$1/usr/sbin/policy-rc.d"
	chroot "$1" groupadd --gid "$gid" cnb
	chroot "$1" useradd --uid "$uid" --gid "$gid" --create-home --shell /bin/bash cnb
}

# clean removes from $1 what belongs to this machine or can be fetched again.
clean() {
	chroot "$1" apt-get clean
	rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/cache/ldconfig/aux-cache
	rm -rf "${1:?}"/dev/* "$1"/tmp/* "$1"/run/* # device files come from the runtime
	rm -f "$1"/etc/resolv.conf "$1"/etc/hostname
	find "$1/var/log" -type f -delete
	: >"$1/etc/machine-id"
}

# discard removes the directories given, in which a debootstrap that was killed
# may have left mounts.
discard() {
	local dir
	for dir in "$@"; do
		[ -d "$dir" ] || continue
		umount -q "$dir/rootfs/proc" "$dir/rootfs/sys" 2>/dev/null || true
		rm -rf --one-file-system "$dir"
	done
}

suite=${DEBIAN_SUITE:-$(host_suite)}
sources=$(sources)
proxy=$(proxy)
mirror=$(head -n1 <<<"$sources" | cut -d' ' -f1)
arch=$(dpkg --print-architecture 2>/dev/null || uname -m)

# What the image depends on is in its directory's name, so that a change gives
# a new image and never a stale one.
key=$(cat "$0" "$root"/acceptance/cmd/image/create.go - <<<"$sources$proxy" | sha256sum | cut -c1-12)
name=debian-$suite-$arch-$key

bases=$(cache_dir)/base
if [ -e "$bases/$name/index.json" ]; then
	echo "$bases/$name"
	exit 0
fi
if [ "$(id -u)" != 0 ]; then
	made_by_root=/var/cache/graft/base/$name
	if [ -r "$made_by_root/index.json" ]; then
		echo "$made_by_root"
		exit 0
	fi
	die "a Debian base image is made by root, once: sudo make base; or take one from a registry: make demo BASE=reference"
fi
"$root/hack/setup.sh" debootstrap

lock "$bases/.lock"
if [ -e "$bases/$name/index.json" ]; then # made while we waited
	echo "$bases/$name"
	exit 0
fi

discard "$bases"/.work.* # left by a run that was killed
work=$(mktemp -d "$bases/.work.XXXXXX")
trap 'discard "$work"' EXIT

say "making a base image of Debian $suite from $mirror (once, about a minute)"
bootstrap "$work/rootfs"
configure "$work/rootfs"
clean "$work/rootfs"
# shellcheck disable=SC1091,SC2031
version=$(source "$work/rootfs/etc/os-release" && printf %s "${VERSION_ID-}")
(cd "$root" && go run ./acceptance/cmd/image create -uid "$uid" -gid "$gid" \
	-distro debian -distro-version "$version" "$work/rootfs" "$work/layout")
mv "$work/layout" "$bases/$name"
say "made $bases/$name"
echo "$bases/$name"
