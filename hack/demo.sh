#!/usr/bin/env bash
# Runs detector, generator and extender on examples/, the way a platform does,
# and then the program that was installed in the extended run image. Every
# command is shown before it runs.
#
#   BASE=REFERENCE     extend this image of a registry; else a Debian made here
#   BUILDKIT=ADDRESS   extend with this buildkitd; else with the embedded engine
#   PROGRESS=plain     how the extender shows progress
set -euo pipefail
# shellcheck source=hack/lib.sh
source "$(dirname "$0")/lib.sh"

started=$SECONDS
demo=$(cache_dir)/demo
bin=$root/bin
image=$demo/bin/image

# The build user, which modules run as (they never run as root). The base image
# that is made here has the same.
uid=1001 gid=1000

# show prints a command, one flag with its value to a line, and runs it.
show() {
	local text='' word
	for word in "$@"; do
		case $word in
		-*) text+=" \\"$'\n'"    $(printf %q "$word")" ;;
		*) text+=" $(printf %q "$word")" ;;
		esac
	done
	printf '\n$%s\n' "$text"
	"$@"
}

# title starts a new part of the output.
title() {
	printf '\n\033[1m%s\033[0m\n' "$*"
}

# prepare lays out what a platform finds in a builder. It is a copy in the cache
# directory, because the checkout may lie where the build user cannot go.
prepare() {
	mkdir -p "$demo/bin"
	rm -rf "$demo"/{app,cnb,layers,platform,images,rootfs}
	mkdir -p "$demo"/{cnb,layers,platform/env,images}
	cp -R "$root/examples/app" "$demo/app"
	cp -R "$root/examples/"{buildpacks,extensions,order.toml} "$demo/cnb/"
	chmod -R u=rwX,go=rX "$demo/app" "$demo/cnb"
	printf '[[images]]\nimage = "%s"\n' "$base" >"$demo/cnb/run.toml"
	if [ "$(id -u)" = 0 ]; then
		chown -R "$uid:$gid" "$demo/app" "$demo/layers"
	fi
	(cd "$root" && go build -o "$image" ./acceptance/cmd/image)
}

# extend runs the extender for the image kind $1.
extend() {
	show "$bin/extender" -kind "$1" -app "$demo/app" -layers "$demo/layers" \
		-base "$base" -output "oci:$demo/images/$1" \
		${BUILDKIT:+-buildkit "$BUILDKIT"} -progress "${PROGRESS:-plain}" 2>&1 | tee "$demo/$1.log"
}

# inside runs a shell command in the unpacked image, as the image's user.
inside() {
	if [ "$(id -u)" = 0 ]; then
		show chroot --userspec="$uid:$gid" "$demo/rootfs" /bin/sh -c "$1"
	else
		show unshare --map-root-user chroot "$demo/rootfs" /bin/sh -c "$1"
	fi
}

# from_cache counts the steps of the image kind $1 that were not run again.
from_cache() {
	grep -c -E '^#[0-9]+ CACHED' "$demo/$1.log" || true
}

if [ -n "${BASE:-}" ]; then
	base=$BASE
	"$root/hack/setup.sh" -without-debootstrap
else
	"$root/hack/setup.sh"
	base=oci:$("$root/hack/base-image.sh")
fi
lock "$(cache_dir)/.demo.lock"
prepare

export CNB_PLATFORM_API=0.15
user=()
if [ "$(id -u)" = 0 ]; then
	user=(-uid "$uid" -gid "$gid")
fi

title "0. What a platform's analyzer finds out about the base image: analyzed.toml"
show "$image" analyze "$base" "$demo/layers/analyzed.toml"
printf '\n$ export CNB_PLATFORM_API=%s\n' "$CNB_PLATFORM_API"

title "1. Detection: order.toml becomes group.toml and plan.toml"
show "$bin/detector" -skip-generate -app "$demo/app" -layers "$demo/layers" \
	-platform "$demo/platform" -order "$demo/cnb/order.toml" \
	-buildpacks "$demo/cnb/buildpacks" -extensions "$demo/cnb/extensions" \
	-run "$demo/cnb/run.toml" "${user[@]}"
show cat "$demo/layers/group.toml"

title "2. Generation: the extensions write Dockerfiles"
show "$bin/generator" -app "$demo/app" -layers "$demo/layers" \
	-platform "$demo/platform" -extensions "$demo/cnb/extensions" \
	-run "$demo/cnb/run.toml" "${user[@]}"
show find "$demo/layers/generated" -type f

title "3. Extension of the run image"
extend run

title "4. Extension of the build image"
extend build

title "5. The application in the extended run image"
show "$image" unpack "oci:$demo/images/run" "$demo/rootfs"
# The exporter of a platform would add the application as further layers.
mkdir -p "$demo/rootfs/workspace"
cp -R "$demo/app/." "$demo/rootfs/workspace/"
inside "sh /workspace/greet.sh"

title "Done in $((SECONDS - started)) seconds"
cat <<EOF
The Dockerfiles        $demo/layers/generated
The extended images    $demo/images/run, $demo/images/build (whole, as OCI layouts)
Only what was added    $demo/layers/extended
The run image, open    $demo/rootfs
The base image         $base
Steps from cache       run image $(from_cache run), build image $(from_cache build)
EOF
