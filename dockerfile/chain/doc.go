// Package chain applies generated Dockerfiles to a base image: all of them as
// one build graph, solved once. The FROM of a Dockerfile is the state and the
// configuration that the Dockerfile before it ended with.
//
// The Dockerfiles are converted here, in the client, first without any engine.
// So the configuration of the extended image (its user, labels, environment,
// history) is known and checked before anything runs, and a chain that adds no
// layer never starts an engine at all. Only the added layers are taken from the
// engine; manifest and configuration are written by package result.
//
// The package never reads the network for a base's layers itself (unless the
// engine cannot), never decides which engine solves, and never hands credentials
// to anything but the session.
package chain
