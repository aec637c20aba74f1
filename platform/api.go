package platform

import (
	"fmt"
	"regexp"
	"strconv"
)

// API is what a Platform API version means for the programs, as data
// (platform.md, "Platform API Version"). It is made once from the version;
// nothing else compares versions.
type API struct {
	// Version is the version as the platform gave it, like "0.12".
	Version string
	// Extensions: image extensions exist (0.10).
	Extensions bool
	// ExtensionsExperimental: CNB_EXPERIMENTAL_MODE decides whether image
	// extensions may be used (0.10 to 0.12).
	ExtensionsExperimental bool
	// BuildConfig: operators can set variables in <build-config>/env (0.11).
	BuildConfig bool
	// ExtendRun: the run image can be extended, not only switched (0.12).
	ExtendRun bool
	// RunFile: the run images that the platform knows are in run.toml (0.12).
	RunFile bool
	// Targets: [[targets]] of a module decide whether it can take part (0.12).
	Targets bool
	// KeepSameRunImage: a run.Dockerfile that names the run image already in
	// use leaves its reference and target as they are (0.12).
	KeepSameRunImage bool
	// GeneratedByExtension: generated files lie at
	// <generated>/<escaped id>/<kind>.Dockerfile and may have a build context,
	// rather than at <generated>/<kind>/<escaped id>/Dockerfile (0.13).
	GeneratedByExtension bool
	// SystemBuildpacks: system.toml adds buildpacks to every group (0.15).
	SystemBuildpacks bool
	// ExecEnv: modules can be bound to execution environments (0.15).
	ExecEnv bool

	minor int
}

const newestPlatformMinor = 15

// NewestPlatformAPI is the version that is assumed when a platform gives none.
var NewestPlatformAPI = fmt.Sprintf("0.%d", newestPlatformMinor)

var versionPattern = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$`)

// minorOf returns the minor number of a version of the form 0.<minor>, the only
// major version that any of the programs supports.
func minorOf(version string) (int, bool) {
	m := versionPattern.FindStringSubmatch(version)
	if m == nil || m[1] != "0" {
		return 0, false
	}
	minor, err := strconv.Atoi(m[2])
	return minor, err == nil
}

// ParseAPI turns a Platform API version into data, for a program that supports
// 0.<oldest> to the newest. The error carries CodePlatformAPI.
func ParseAPI(version string, oldest int) (API, error) {
	minor, ok := minorOf(version)
	if !ok || minor < oldest || minor > newestPlatformMinor {
		return API{}, WithCode(CodePlatformAPI, fmt.Errorf(
			"unsupported Platform API %q: CNB_PLATFORM_API must be 0.%d to %s", version, oldest, NewestPlatformAPI))
	}
	return API{
		Version:                version,
		Extensions:             minor >= 10,
		ExtensionsExperimental: minor >= 10 && minor < 13,
		BuildConfig:            minor >= 11,
		ExtendRun:              minor >= 12,
		RunFile:                minor >= 12,
		Targets:                minor >= 12,
		KeepSameRunImage:       minor >= 12,
		GeneratedByExtension:   minor >= 13,
		SystemBuildpacks:       minor >= 15,
		ExecEnv:                minor >= 15,
		minor:                  minor,
	}, nil
}

// BuildpackAPI is what a module's Buildpack API version means, as data
// (buildpack.md, "Buildpack API Compatibility").
type BuildpackAPI struct {
	Version string
	// PathVariables: bin/detect gets CNB_BUILD_PLAN_PATH and
	// CNB_PLATFORM_DIR besides its arguments (0.8).
	PathVariables bool
	// TargetVariables: the module gets CNB_TARGET_* (0.10).
	TargetVariables bool
	// ExecEnv: the module gets CNB_EXEC_ENV (0.12).
	ExecEnv bool
}

const (
	oldestBuildpackMinor = 7
	oldestExtensionMinor = 9
	newestBuildpackMinor = 12
)

// ParseBuildpackAPI turns a module's Buildpack API version into data. An
// extension needs a newer one than a buildpack. The error carries
// CodeBuildpackAPI; whoever calls adds which module it is.
func ParseBuildpackAPI(version string, extension bool) (BuildpackAPI, error) {
	oldest := oldestBuildpackMinor
	if extension {
		oldest = oldestExtensionMinor
	}
	minor, ok := minorOf(version)
	if !ok || minor < oldest || minor > newestBuildpackMinor {
		return BuildpackAPI{}, WithCode(CodeBuildpackAPI, fmt.Errorf(
			"unsupported Buildpack API %q: it must be 0.%d to 0.%d", version, oldest, newestBuildpackMinor))
	}
	return BuildpackAPI{
		Version:         version,
		PathVariables:   minor >= 8,
		TargetVariables: minor >= 10,
		ExecEnv:         minor >= 12,
	}, nil
}
