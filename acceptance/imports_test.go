package acceptance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	graft    = "github.com/graft-cnb/graft"
	buildkit = "github.com/moby/buildkit"
)

// dockerfileParser is the part of BuildKit that reads a Dockerfile and does
// nothing with it.
var dockerfileParser = []string{
	buildkit + "/frontend/dockerfile/command",
	buildkit + "/frontend/dockerfile/dockerignore",
	buildkit + "/frontend/dockerfile/instructions",
	buildkit + "/frontend/dockerfile/linter",
	buildkit + "/frontend/dockerfile/parser",
	buildkit + "/frontend/dockerfile/shell",
	buildkit + "/util/stack",
	buildkit + "/util/suggest",
}

// importRule forbids imports, direct and indirect. A pattern is an import
// path, or one followed by "/..." for the package and all below it.
type importRule struct {
	// room is the pattern of the packages that the rule binds.
	room string
	// never are the patterns of what these must not import.
	never []string
	// except are the patterns of what they may import all the same.
	except []string
	// tests says that test files are bound as well, in what they import directly.
	tests bool
	// because says what would be lost.
	because string
}

// importRules is the import graph. Who wants to change it changes what the
// rooms are for.
var importRules = []importRule{
	{
		room: graft + "/cmd/detector", never: []string{buildkit + "/..."}, except: dockerfileParser,
		because: "detection needs no engine, and platforms start it in every build",
	},
	{
		room: graft + "/cmd/generator", never: []string{buildkit + "/..."}, except: dockerfileParser,
		because: "generation checks Dockerfiles and never builds them",
	},
	{
		room:    graft + "/platform/...",
		never:   []string{graft + "/buildmodule/...", graft + "/dockerfile/...", graft + "/phase/..."},
		because: "the contract with the platform knows neither modules nor Dockerfiles nor phases",
	},
	{
		room: graft + "/buildmodule/...", never: []string{graft + "/phase/..."},
		because: "a module is run without knowing the group that it is in",
	},
	{
		room: graft + "/dockerfile", never: []string{buildkit + "/..."}, except: dockerfileParser,
		because: "the generator checks Dockerfiles with this package",
	},
	{
		room: graft + "/dockerfile/chain/...", never: []string{graft + "/dockerfile/engine/..."},
		because: "a build graph is the same whichever engine solves it",
	},
	{
		room: graft + "/dockerfile/engine/...", never: []string{graft + "/..."},
		except:  []string{graft + "/dockerfile/engine/...", graft + "/dockerfile/internal/...", graft + "/dockerfile/rootfs"},
		because: "an engine knows nothing of buildpacks and can be used without them",
	},
	{
		room: graft + "/dockerfile/rootfs/...", never: []string{graft + "/..."},
		except:  []string{graft + "/dockerfile/rootfs/..."},
		because: "what happens to a root filesystem is the same for engines and for results",
	},
	{
		room: graft + "/phase/...", never: []string{buildkit + "/client/..."},
		because: "a phase asks for Dockerfiles to be applied and does not know how",
	},
	{
		room: graft + "/acceptance/...", never: []string{graft + "/..."},
		except: []string{graft + "/acceptance/..."}, tests: true,
		because: "a test that shares code with what it tests shares its errors",
	},
}

// TestImportGraph holds every package of the module to the import graph.
func TestImportGraph(t *testing.T) {
	packages, err := listPackages(graft + "/...")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range importRules {
		t.Run(strings.TrimPrefix(rule.room, graft+"/"), func(t *testing.T) {
			bound := 0
			for _, p := range packages {
				if !matches(rule.room, p.ImportPath) {
					continue
				}
				bound++
				for _, imported := range rule.broken(p) {
					t.Errorf("%s imports %s, perhaps indirectly; it must not: %s (go list -deps shows the way)",
						p.ImportPath, imported, rule.because)
				}
			}
			if bound == 0 {
				t.Errorf("no package matches %s: the rule guards nothing", rule.room)
			}
		})
	}
}

// listedPackage is what go list tells about a package.
type listedPackage struct {
	ImportPath   string
	Deps         []string
	TestImports  []string
	XTestImports []string
}

// listPackages asks go list for the packages that match pattern, with all that
// they depend on.
func listPackages(pattern string) ([]listedPackage, error) {
	command := exec.Command("go", "list", "-json=ImportPath,Deps,TestImports,XTestImports", pattern)
	out, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("listing the packages %s: %w", pattern, err)
	}
	var packages []listedPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("listing the packages %s: %w", pattern, err)
		}
		packages = append(packages, p)
	}
}

// broken returns what p imports against the rule.
func (r importRule) broken(p listedPackage) []string {
	imported := p.Deps
	if r.tests {
		imported = slices.Concat(imported, p.TestImports, p.XTestImports)
	}
	var forbidden []string
	for _, path := range imported {
		if matchesAny(r.never, path) && !matchesAny(r.except, path) {
			forbidden = append(forbidden, path)
		}
	}
	return forbidden
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, path) })
}

// matches says whether an import path is pattern or, when that ends in "/...",
// below it.
func matches(pattern, path string) bool {
	below, ok := strings.CutSuffix(pattern, "/...")
	return path == below || ok && strings.HasPrefix(path, below+"/")
}

// TestImportRuleFindsViolations guards the guard: a rule that can find nothing
// would let the graph rot in silence.
func TestImportRuleFindsViolations(t *testing.T) {
	rule := importRule{never: []string{"a/..."}, except: []string{"a/ok/...", "a/one"}, tests: true}
	p := listedPackage{
		Deps:         []string{"a", "a/ok", "a/ok/deep", "a/one", "a/one/deep", "ab"},
		TestImports:  []string{"a/test"},
		XTestImports: []string{"a/xtest"},
	}
	want := []string{"a", "a/one/deep", "a/test", "a/xtest"}
	if got := rule.broken(p); !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
	rule.tests = false
	if got, want := rule.broken(p), []string{"a", "a/one/deep"}; !slices.Equal(got, want) {
		t.Errorf("without tests found %v, want %v", got, want)
	}
}
