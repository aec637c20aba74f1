package platform

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Distro is an operating system distribution, as in /etc/os-release.
type Distro struct {
	Name    string
	Version string
}

// Target describes the image that a build is for (platform.md, "Target Data").
// A field that is not known is empty.
type Target struct {
	OS, Arch, Variant string
	Distro            Distro
}

// ParseTarget reads os/arch[/variant][:distro[@version]].
func ParseTarget(s string) (Target, error) {
	system, distro, hasDistro := strings.Cut(s, ":")
	parts := strings.Split(system, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") || hasDistro && distro == "" {
		return Target{}, fmt.Errorf("%q is no target such as linux/arm64/v8:debian@12", s)
	}
	t := Target{OS: parts[0], Arch: parts[1]}
	if len(parts) == 3 {
		t.Variant = parts[2]
	}
	t.Distro.Name, t.Distro.Version, _ = strings.Cut(distro, "@")
	return t, nil
}

// Platform is the target as os/arch or os/arch/variant; empty if it is not
// known.
func (t Target) Platform() string {
	if t.OS == "" || t.Arch == "" {
		return ""
	}
	if t.Variant != "" {
		return t.OS + "/" + t.Arch + "/" + t.Variant
	}
	return t.OS + "/" + t.Arch
}

// Variables are the target as modules see it (buildpack.md, "Targets"); only
// what is known is set.
func (t Target) Variables() map[string]string {
	vars := map[string]string{}
	for name, value := range map[string]string{
		"CNB_TARGET_OS":             t.OS,
		"CNB_TARGET_ARCH":           t.Arch,
		"CNB_TARGET_ARCH_VARIANT":   t.Variant,
		"CNB_TARGET_DISTRO_NAME":    t.Distro.Name,
		"CNB_TARGET_DISTRO_VERSION": t.Distro.Version,
	} {
		if value != "" {
			vars[name] = value
		}
	}
	return vars
}

// OnThisMachine fills in the operating system and the architecture, where they are not
// known, with those of the machine that the program runs on: a build is for another only
// where somebody says so. The variant of that machine's architecture is no part of it,
// since nobody asked for it.
func (t Target) OnThisMachine() Target {
	if t.OS == "" {
		t.OS = runtime.GOOS
	}
	if t.Arch == "" {
		t.Arch = runtime.GOARCH
	}
	return t
}

// WithDistroFrom fills in missing distribution data from an os-release file,
// since the build image, in which the programs run, and the run image are of
// one distribution. Only for Linux; a file that cannot be read changes nothing,
// nor does one of another distribution.
func (t Target) WithDistroFrom(osRelease string) Target {
	if t.OS != "linux" || t.Distro.Name != "" && t.Distro.Version != "" {
		return t
	}
	here := readDistro(osRelease)
	if t.Distro.Name != "" && t.Distro.Name != here.Name || t.Distro.Version != "" && t.Distro.Version != here.Version {
		return t
	}
	t.Distro = here
	return t
}

// DistroLabels are the labels that a base image of the distribution of an os-release file
// has for it (platform.md, "Target Data"); those that are not known are left out.
func DistroLabels(osRelease string) map[string]string {
	labels := map[string]string{}
	here := readDistro(osRelease)
	for name, value := range map[string]string{
		"io.buildpacks.base.distro.name":    here.Name,
		"io.buildpacks.base.distro.version": here.Version,
	} {
		if value != "" {
			labels[name] = value
		}
	}
	return labels
}

func readDistro(osRelease string) Distro {
	var d Distro
	f, err := os.Open(osRelease)
	if err != nil {
		return d
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			d.Name = value
		case "VERSION_ID":
			d.Version = value
		}
	}
	return d
}
