#!/usr/bin/env bash
# Builds an application with pack and graft: lays graft over a builder and over the
# lifecycle image of the builder's version, pushes the builder, and calls pack.
#
# usage: packaging/pack.sh BUILDER NAME IMAGE [further arguments of pack build...]
#
#   BUILDER  the builder image to start from, such as paketobuildpacks/builder-ubi8-base
#   NAME     the name for the builder with graft, in a registry that you may push to
#            and that can be read without a password or with your docker login
#   IMAGE    the name of the application's image
#
#   DIST     the directory with a release's archives (default: dist, as of make release)
#
# It needs docker with BuildKit, jq and pack. docs/platforms.md says why it does what
# it does.
set -euo pipefail

if [ $# -lt 3 ]; then
	sed -n '/^# usage/,/^# It needs/{s/^# \{0,1\}//;p;}' "$0" >&2
	exit 3
fi
builder=$1 name=$2 image=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
dist=${DIST:-$here/../dist}

for program in docker jq pack; do
	command -v "$program" >/dev/null || {
		echo "pack.sh: the program $program is missing: install it" >&2
		exit 1
	}
done
if ! compgen -G "$dist/graft-*-linux-*.tgz" >/dev/null; then
	echo "pack.sh: no archive of graft in $dist: run make release, or set DIST to where a release's archives are" >&2
	exit 1
fi

# overlay lays graft over the image $1 and calls the result $2.
overlay() {
	DOCKER_BUILDKIT=1 docker build --quiet --file "$here/Dockerfile" --build-arg "builder=$1" --tag "$2" "$dist" >/dev/null
}

docker pull --quiet "$builder" >/dev/null
# pack takes the phases that it trusts from the lifecycle image of the builder's version.
version=$(docker inspect --format '{{index .Config.Labels "io.buildpacks.builder.metadata"}}' "$builder" |
	jq -r '.lifecycle.version // empty')
if [ -z "$version" ]; then
	echo "pack.sh: $builder does not say which lifecycle it has (label io.buildpacks.builder.metadata): is it a builder?" >&2
	exit 1
fi

overlay "$builder" "$name"
overlay "docker.io/buildpacksio/lifecycle:$version" "$name-lifecycle"
# The restorer asks the registry for the builder's manifest.
docker push --quiet "$name"

# A builder that is trusted would be run as one container, by the lifecycle's creator,
# which knows no phases of others.
exec pack build "$image" --builder "$name" --lifecycle-image "$name-lifecycle" \
	--trust-builder=false --pull-policy if-not-present "$@"
