// Package buildmodule knows one buildpack or one image extension: its
// descriptor, where it lies in a directory of modules, which targets and
// execution environments it is for, and how its bin/detect and bin/generate are
// run.
//
// It knows nothing of groups or of a build plan as a whole; which modules take
// part is the resolver's business, in package phase.
package buildmodule
