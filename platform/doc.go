// Package platform is the contract between the programs and the platform that
// runs them: the Platform API version turned into data, the inputs resolved
// from flags, environment and defaults, the TOML files, the targets, the
// environment of modules, the user they run as, credentials, logs and exit
// codes.
//
// It never runs a module and knows nothing of Dockerfiles. A phase gets what it
// needs from here as plain values and never looks at a flag, a variable or a
// version by itself.
package platform
