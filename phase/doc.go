// Package phase holds what the three programs do, files in and files out: an
// order becomes a group and a build plan (Detector), a group and its plan become
// Dockerfiles (Generator), and those become an extended image (Extender). In a
// platform's container of the build image the builder then takes over (Handover).
//
// A phase gets plain values and never reads a flag, a variable of the
// environment or a version; it never ends the process, which the Handover gives
// away; and how Dockerfiles are applied is behind an interface, so that nothing in
// here knows BuildKit.
package phase
