package chain_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
	"github.com/graft-cnb/graft/dockerfile/engine"
	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

// engineState is the state directory of the embedded engine for all tests.
var engineState string

func TestMain(m *testing.M) {
	embedded.Init()
	dir, err := os.MkdirTemp("", "graft-chain-test-")
	if err != nil {
		log.Fatal(err)
	}
	engineState = filepath.Join(dir, "state")
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

// patience is how long is waited for what happens in a moment on a machine that has
// nothing else to do.
const patience = time.Minute

// neverSeen is an image whose layers the engine cannot have: neither of another test nor
// of an earlier run of the same one.
func neverSeen(t *testing.T, image v1.Image) v1.Image {
	t.Helper()
	// Times in a layer are whole seconds.
	image, err := mutate.Time(image, time.Unix(rand.Int64N(1<<31), 0))
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// harness is an applier whose engine and log a test can look at.
type harness struct {
	*chain.Applier
	opened int

	mu       sync.Mutex
	warnings []string
	progress bytes.Buffer
}

// newHarness has no engine: opening one fails the test.
func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{}
	h.Applier = &chain.Applier{
		Engine: func(context.Context) (chain.Engine, error) {
			h.opened++
			return nil, fmt.Errorf("this test must do without an engine")
		},
		Warn: func(format string, args ...any) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.warnings = append(h.warnings, fmt.Sprintf(format, args...))
		},
	}
	return h
}

// withEngine uses the embedded engine, or the one at BUILDKIT_HOST.
func withEngine(t *testing.T) *harness {
	t.Helper()
	address := os.Getenv("BUILDKIT_HOST")
	if address == "" {
		needs.That(t, os.Geteuid() == 0, "root, or BUILDKIT_HOST")
		_, err := exec.LookPath("runc")
		needs.That(t, err == nil, "runc, or BUILDKIT_HOST")
	}
	h := newHarness(t)
	h.Engine = func(ctx context.Context) (chain.Engine, error) {
		h.opened++
		return engine.Open(ctx, address, engine.Options{StateDir: engineState})
	}
	h.Progress = chain.Progress{Mode: "plain", Output: &h.progress}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("progress:\n%s", h.progress.String())
		}
	})
	return h
}

// baseOptions change the base image of a test.
type baseOptions struct {
	user   string
	env    []string
	labels map[string]string
	build  []string
	docker bool
	noHist bool
}

// makeBase is a small image with a shell, users and a history in which some
// entries belong to no layer.
func makeBase(t *testing.T, o baseOptions) v1.Image {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		// Good enough for tests that run nothing; the others need the real one.
		busybox = []byte("#!/bin/false\n")
	}
	image := empty.Image
	if o.docker {
		image = mutate.MediaType(image, types.DockerManifestSchema2)
		image = mutate.ConfigMediaType(image, types.DockerConfigJSON)
	} else {
		image = mutate.MediaType(image, types.OCIManifestSchema1)
		image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	}
	layerType := types.OCILayer
	if o.docker {
		layerType = types.DockerLayer
	}
	shell := []entry{{"bin/", "", 0o755}, {"bin/busybox", string(busybox), 0o755}, {"tmp/", "", 0o1777}}
	for _, applet := range []string{"sh", "cat", "id", "echo", "test", "ls", "mkdir", "env", "sleep", "stat", "chown", "touch", "true", "false", "seq", "wc", "rm"} {
		shell = append(shell, entry{"bin/" + applet, "->busybox", 0o777})
	}
	etc := []entry{
		{"etc/", "", 0o755},
		{"etc/passwd", "root:x:0:0::/root:/bin/sh\nadmin:x:0:0::/root:/bin/sh\ncnb:x:1001:1000::/home/cnb:/bin/sh\n", 0o644},
		{"etc/group", "root:x:0:\nstaff:x:50:\ncnb:x:1000:\n", 0o644},
	}
	empties := []v1.History{{CreatedBy: "ENV nothing", EmptyLayer: true}}
	image = add(t, image, layerType, shell, v1.History{CreatedBy: "a shell"}, empties...)
	image = add(t, image, layerType, etc, v1.History{CreatedBy: "accounts"}, v1.History{CreatedBy: "USER cnb", EmptyLayer: true})
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config.User = o.user
	file.Config.Env = []string{"PATH=/bin", "CNB_USER_ID=1001", "CNB_GROUP_ID=1000"}
	if o.env != nil {
		file.Config.Env = o.env
	}
	file.Config.Labels = map[string]string{"from": "base"}
	file.Config.OnBuild = o.build
	for k, v := range o.labels {
		file.Config.Labels[k] = v
	}
	if o.noHist {
		file.History = nil
	}
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

type entry struct {
	name, content string
	mode          int64
}

// add appends a layer with its history entry, and entries of no layer.
func add(t *testing.T, image v1.Image, mt types.MediaType, files []entry, h v1.History, empties ...v1.History) v1.Image {
	t.Helper()
	data := makeTar(t, files)
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}, tarball.WithMediaType(mt))
	if err != nil {
		t.Fatal(err)
	}
	adds := []mutate.Addendum{{Layer: l, History: h, MediaType: mt}}
	for _, e := range empties {
		adds = append(adds, mutate.Addendum{History: e})
	}
	image, err = mutate.Append(image, adds...)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func makeTar(t *testing.T, files []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: f.mode, ModTime: time.Unix(1e9, 0)}
		switch {
		case strings.HasSuffix(f.name, "/"):
			h.Typeflag = tar.TypeDir
		case strings.HasPrefix(f.content, "->"):
			h.Typeflag, h.Linkname = tar.TypeSymlink, f.content[2:]
		default:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(f.content))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.WriteString(w, f.content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// asLayout writes an image as a layout and gives its name as a base.
func asLayout(t *testing.T, image v1.Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.AppendImage(image); err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir
}

// startRegistry is a registry in this process; the second result counts
// requests by "METHOD path".
func startRegistry(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// push puts an image into a registry.
func push(t *testing.T, ref string, image v1.Image) {
	t.Helper()
	r, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(r, image); err != nil {
		t.Fatal(err)
	}
}

// steps makes Dockerfiles of extensions a, b, c...; each gets an empty context.
func steps(t *testing.T, kind dockerfile.Kind, contents ...string) []dockerfile.Step {
	t.Helper()
	var out []dockerfile.Step
	dir := t.TempDir()
	for n, c := range contents {
		id := string(rune('a' + n))
		ctx := filepath.Join(dir, id, "context")
		if err := os.MkdirAll(ctx, 0o755); err != nil {
			t.Fatal(err)
		}
		out = append(out, dockerfile.Step{
			Extension: "ext/" + id,
			Path:      filepath.Join(dir, id, string(kind)+".Dockerfile"),
			Content:   []byte(c),
			Context:   ctx,
		})
	}
	return out
}

// run applies Dockerfiles of kind build to a base and reads the whole result.
func apply(t *testing.T, h *harness, app dockerfile.Application) extended {
	t.Helper()
	if app.Extended == "" {
		app.Extended = filepath.Join(t.TempDir(), "extended", string(app.Kind))
	}
	out := filepath.Join(t.TempDir(), "whole")
	app.Outputs = append(app.Outputs, "oci:"+out)
	app.BuildID = "11111111-2222-3333-4444-555555555555"
	applied, err := h.Apply(t.Context(), app)
	if err != nil {
		t.Fatalf("Apply: %v", err)
	}
	return readExtended(t, app.Extended, out, applied[0])
}
