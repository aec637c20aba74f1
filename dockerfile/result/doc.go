// Package result turns a base image and the layers that were added to it into an
// extended image, and brings that image to where it was asked for: the directory
// <extended>/<kind> (with only the added layers), an OCI image layout, an archive, a
// registry, a Docker daemon, and the root directory of a container in use (package
// rootfs).
//
// What is handed over is verified first (every added layer's digest, size and
// diffID), is the same manifest everywhere, and appears at once: an earlier
// result stays as it was until the new one is complete. Layers of the base are
// referenced by the descriptors that the base has for them, and are copied as
// they are where a whole image is wanted.
//
// The package never runs anything and never decides what the image's
// configuration says.
package result
