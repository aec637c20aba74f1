package platform

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"
)

// extenderWith gives the extender's inputs for a command line and variables, and its exit
// code.
func extenderWith(t *testing.T, env map[string]string, args ...string) (ExtenderInputs, Code) {
	t.Helper()
	var in ExtenderInputs
	lookup := func(name string) string {
		if name == "CNB_PLATFORM_API" {
			return NewestPlatformAPI
		}
		return env[name]
	}
	world := World{Args: append([]string{"extender", "-state-dir", t.TempDir()}, args...), Env: lookup, Out: io.Discard, Err: io.Discard}
	code := RunExtender(context.Background(), world, func(_ context.Context, got ExtenderInputs) error {
		in = got
		return nil
	})
	return in, code
}

// A registry that was named as people copy it, with a scheme or a slash, was accepted as
// insecure and then was none; Docker Hub was one only under one of its names.
func TestInsecureRegistriesAsPeopleWriteThem(t *testing.T) {
	hub := []string{"index.docker.io", "docker.io", "registry-1.docker.io"}
	for given, want := range map[string][]string{
		"localhost:5000":               {"localhost:5000"},
		"http://localhost:5000":        {"localhost:5000"},
		"HTTPS://registry.example/":    {"registry.example"},
		"registry.example//":           {"registry.example"},
		"https://registry.example/v2/": {"registry.example"},
		"[::1]:5000":                   {"[::1]:5000"},
		"docker.io":                    hub,
		"https://index.docker.io/v1/":  hub,
		"registry-1.docker.io":         hub,
	} {
		for way, inputs := range map[string]func() (ExtenderInputs, Code){
			"flag": func() (ExtenderInputs, Code) { return extenderWith(t, nil, "-insecure-registry", given) },
			"variable": func() (ExtenderInputs, Code) {
				return extenderWith(t, map[string]string{"CNB_INSECURE_REGISTRIES": given})
			},
		} {
			if in, code := inputs(); code != CodeOK || !slices.Equal(in.InsecureRegistries, want) {
				t.Errorf("%s %s: %q, exit code %d", way, given, in.InsecureRegistries, code)
			}
		}
	}
	for _, bad := range []string{"http://", "/", "registry.example/repository", "user@registry.example", "ftp://registry.example", "registry.example:port", "*.example"} {
		if in, code := extenderWith(t, nil, "-insecure-registry", bad); code != CodeUsage {
			t.Errorf("%q is read as %q, exit code %d", bad, in.InsecureRegistries, code)
		}
	}
}

// What cannot be is bad usage at once, and not found out after the build, or never: each of
// these was taken.
func TestBadExtenderInputs(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		variable string
		args     []string
	}{
		{"SOURCE_DATE_EPOCH=253402300800", nil}, // a year of five digits
		{"SOURCE_DATE_EPOCH=9223372036854775807", nil},
		{"", []string{"-output", "registry:registry.example/app" + digest}},
		{"", []string{"-preflight", "-buildkit", ","}},
		{"BUILDKIT_HOST= , ", []string{"-preflight"}},
		{"", []string{"-base", "oci:one", "-base", "oci:other"}},
	} {
		name, value, _ := strings.Cut(c.variable, "=")
		if _, code := extenderWith(t, map[string]string{name: value}, c.args...); code != CodeUsage {
			t.Errorf("%s %q: exit code %d", c.variable, c.args, code)
		}
	}
}

// The same base twice was another than itself.
func TestTheSameBaseTwice(t *testing.T) {
	in, code := extenderWith(t, nil, "-base", "oci:one", "-base", "oci:one")
	if code != CodeOK || in.Images[0].Base != "oci:one" {
		t.Errorf("exit code %d, %+v", code, in.Images)
	}
	last, code := extenderWith(t, map[string]string{"SOURCE_DATE_EPOCH": "253402300799"})
	if code != CodeOK || last.Epoch.Year() != 9999 {
		t.Errorf("exit code %d, %v", code, last.Epoch)
	}
}
