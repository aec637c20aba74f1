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

# The build user, which modules run as (they never run as root). The base image
# that is made here has the same.
uid=1001 gid=1000

# show prints a command as it could be typed, a long one with a flag to a line,
# and runs it.
show() {
	local line text='' word
	line=$(printf ' %q' "$@")
	for word in "$@"; do
		case $word in
		-*) text+=" \\"$'\n'"    $(printf %q "$word")" ;;
		*) text+=" $(printf %q "$word")" ;;
		esac
	done
	if [ ${#line} -lt 80 ]; then
		text=$line
	fi
	printf '\n$%s\n' "$text"
	"$@" 9>&- # nothing that it leaves behind may hold our lock
}

# title starts a new part of the output.
title() {
	if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
		printf '\n\033[1m%s\033[0m\n' "$*"
	else
		printf '\n%s\n' "$*"
	fi
}

# prepare lays out what a platform finds in a builder. It is a copy in the cache
# directory, because the checkout may lie where the build user cannot go.
prepare() {
	mkdir -p "$demo/bin"
	rm -rf "$demo"/{app,base,cnb,layers,platform,images,rootfs}
	mkdir -p "$demo"/{cnb,layers,platform/env,images}
	cp -R "$root/examples/app" "$demo/app"
	cp -R "$root/examples/"{buildpacks,extensions,order.toml} "$demo/cnb/"
	chmod -R u=rwX,go=rX "$demo/app" "$demo/cnb"
	if [ -n "$layout" ]; then
		ln -s "$layout" "$demo/base"
	fi
	printf '[[images]]\nimage = "%s"\n' "$base" >"$demo/cnb/run.toml"
	if [ "$(id -u)" = 0 ]; then
		chown -R "$uid:$gid" "$demo/app" "$demo/layers"
	fi
	(cd "$root" && go build -o "$demo/bin/image" ./acceptance/cmd/image)
}

# extend runs the extender for the image kind $1. It finds an image of a registry
# in analyzed.toml; one in a layout has to be named.
extend() {
	show extender -kind "$1" -app app -layers layers ${layout:+-base "$base"} -output "oci:images/$1" \
		${BUILDKIT:+-buildkit "$BUILDKIT"} -progress "${PROGRESS:-plain}" 2>&1 | tee "$1.log"
}

# inside runs a program of the unpacked image, as the image's user.
inside() {
	if [ "$(id -u)" = 0 ]; then
		show chroot --userspec="$uid:$gid" rootfs "$@"
	else
		show unshare --map-root-user chroot rootfs "$@"
	fi
}

# from_cache says, from the plain progress of the image kind $1, how many of the
# steps that make layers were not run again.
from_cache() {
	awk -v kind="$1" '
		$2 ~ /^\[/ && $3 ~ /^(ADD|COPY|RUN|WORKDIR)$/ && !($1 in step) { step[$1]; steps++ }
		$2 == "CACHED" && $1 in step { cached++ }
		END { printf steps ? "%s image %d of %d" : "%s image unknown", kind, cached, steps }' "$1.log"
}

# facts says how the demo went and where everything lies.
facts() {
	title "Done in $((SECONDS - started)) seconds"
	cat <<EOF
The Dockerfiles        $demo/layers/generated
The extended images    $demo/images/run, $demo/images/build (whole, as OCI layouts)
Only what was added    $demo/layers/extended
The run image, open    $demo/rootfs
The base image         ${layout:-$base}
Steps from cache       $(from_cache run), $(from_cache build)
EOF
}

# What the embedded engine needs.
if [ -z "${BUILDKIT:-}" ]; then
	"$root/hack/setup.sh" runc
	[ "$(id -u)" = 0 ] || "$root/hack/setup.sh" newuidmap
fi
layout=''
if [ -n "${BASE:-}" ]; then
	base=$BASE
else
	base=oci:base # a link to it
	layout=$("$root/hack/base-image.sh")
fi
lock "$(cache_dir)/.demo.lock"
prepare

cd "$demo"
export CNB_PLATFORM_API=0.15
# Where this is a container, it is not one of the build image, to be changed in place.
export CNB_IN_CONTAINER=false
# The embedded engine's cache is kept with everything else of the demo.
CNB_STATE_DIR=$(cache_dir)/engine
export CNB_STATE_DIR
printf '$ cd %s\n$ export CNB_PLATFORM_API=%s CNB_IN_CONTAINER=%s\n$ export CNB_STATE_DIR=%s\n$ export PATH=%s:%s\n' \
	"$demo" "$CNB_PLATFORM_API" "$CNB_IN_CONTAINER" "$CNB_STATE_DIR" "$root/bin:$demo/bin" "\$PATH"
export PATH="$root/bin:$demo/bin:$PATH"
user=()
if [ "$(id -u)" = 0 ]; then
	user=(-uid "$uid" -gid "$gid")
fi

title "0. What a platform's analyzer finds out about the base image: analyzed.toml"
show image analyze "$base" layers/analyzed.toml

title "1. Detection: order.toml becomes group.toml and plan.toml"
show detector -skip-generate -app app -layers layers -platform platform \
	-order cnb/order.toml -buildpacks cnb/buildpacks -extensions cnb/extensions \
	-run cnb/run.toml "${user[@]}"
show cat layers/group.toml

title "2. Generation: the extensions write Dockerfiles"
show generator -app app -layers layers -platform platform \
	-extensions cnb/extensions -run cnb/run.toml "${user[@]}"
show find layers/generated -type f

title "3. Extension of the run image"
extend run

title "4. Extension of the build image"
extend build

title "5. The application in the extended run image"
show image unpack oci:images/run rootfs
# The exporter of a platform would add the application as further layers.
mkdir -p rootfs/workspace
cp -R app/. rootfs/workspace/
inside sh /workspace/greet.sh

facts
