// Package base finds the image that Dockerfiles extend and reads what has to be
// known of it before anything is built: its manifest, its configuration and its
// platform. The image is named by a registry reference or, with a prefix, by the
// directory of an OCI image layout, a tar file, or its name in a Docker daemon.
//
// Opening a base reads metadata only (but for a Docker daemon, which has no way to
// tell it apart from the layers). Layers stay where they are until somebody asks for
// one: the engine (which pulls by itself, or reads them through the Store), or an output
// that needs the whole image.
//
// The package never writes to a base, never chooses credentials (it asks the
// keychain it was given) and knows neither Dockerfiles nor engines.
package base
