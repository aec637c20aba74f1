#!/usr/bin/env bash
# Prints the licences of everything that a released program is made of: the modules of
# its packages, Go itself, and with "static" the C libraries that the extender's own OCI
# runtime takes. Each text stands once, after the list of those that it is for. A module
# without a licence is an error.
#
# usage: notices.sh TAGS [static]     for GOOS and GOARCH; TAGS as for go build
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"
cd "$root"
tags=$1 static=${2:-}

# library prints the licence of the C library $1, whose source is at $2, as a package of one
# of these names brings it.
library() {
	local name=$1 source=$2 file package
	shift 2
	for package in "$@" "${name##* }"; do
		for file in /usr/share/doc/"$package"/copyright /usr/share/licenses/"$package"/*; do
			if [ -e "$file" ]; then
				printf '%s, linked into the extender (source: %s)\t%s\n' "$name" "$source" "$file"
				return
			fi
		done
	done
	die "no package says the licence of $name in /usr/share/doc or /usr/share/licenses ($*)"
}

# found prints "NAME<tab>FILE" for every licence of everything.
found() {
	local name dir files
	(
		printf 'Go %s\t%s\n' "$(go env GOVERSION)" "$(go env GOROOT)"
		go list -deps -tags "$tags" -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{"\t"}}{{.Dir}}{{end}}{{end}}' ./cmd/... |
			LC_ALL=C sort -u
	) | while IFS=$'\t' read -r name dir; do
		files=$(find "$dir" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) | LC_ALL=C sort)
		[ -n "$files" ] || die "$name has no licence in $dir"
		while read -r file; do
			printf '%s\t%s\n' "$name" "$file"
		done <<<"$files"
	done
	if [ -n "$static" ]; then
		library libseccomp https://github.com/seccomp/libseccomp libseccomp-dev
		library 'the GNU C library' https://sourceware.org/glibc libc6-dev glibc
		# Debian's own texts only refer to it.
		if [ -e /usr/share/common-licenses/LGPL-2.1 ]; then
			printf 'libseccomp and the GNU C library\t/usr/share/common-licenses/LGPL-2.1\n'
		fi
	fi
}

declare -A names files
order=()
all=$(found) # so that its failure is ours
while IFS=$'\t' read -r name file; do
	sum=$(sha256sum <"$file")
	[ -n "${names[$sum]:-}" ] || order+=("$sum")
	names[$sum]+="$name"$'\n'
	files[$sum]=$file
done <<<"$all"

rule=$(printf '%.0s-' {1..78})
echo "graft is licensed under the Apache License 2.0 (LICENSE.graft). Its programs contain"
echo "the following, under the licences after each list. Go modules can be had from the"
echo "Go module proxy in the versions named."
for sum in "${order[@]}"; do
	printf '\n%s\n%s%s\n\n' "$rule" "${names[$sum]}" "$rule"
	cat "${files[$sum]}"
done
