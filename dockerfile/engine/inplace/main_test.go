//go:build linux

package inplace_test

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	contentlocal "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/inplace"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/enginetest"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

// container is a root filesystem that the engine works on as if it was the container's.
// Its state directory is a volume, as it were: it can be handed on to another.
type container struct {
	t    *testing.T
	root string
	log  *enginetest.Log
	// reads is a file that is read in each result, as for who looks a user up.
	reads string
	// engine is the one that was opened last.
	engine *inplace.Engine
}

const stateInRoot = "kaniko/cache/graft"

// newContainer makes a root filesystem from the same "image" every time: busybox, a
// user, and a file with each kind of metadata.
func newContainer(t *testing.T) *container {
	t.Helper()
	needs.Root(t)
	busybox, err := exec.LookPath("busybox")
	needs.That(t, err == nil, "the program busybox (package busybox-static)")
	c := &container{t: t, root: t.TempDir(), log: &enginetest.Log{}}
	c.log.ShowOnFailure(t)
	for _, dir := range []string{"bin", "dev", "etc", "proc", "root", "home/app", "data/deep", "kaniko"} {
		c.mkdir(dir, 0o755)
	}
	c.mkdir("tmp", 0o777|os.ModeSticky)
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	c.write("bin/busybox", string(program), 0o755)
	list, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields(string(list)) {
		if name != "busybox" {
			c.must(os.Symlink("busybox", c.path("bin/"+name)))
		}
	}
	c.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n", 0o644)
	c.write("etc/group", "root:x:0:\napp:x:1000:\nextra:x:1001:app\n", 0o644)
	c.write("data/one", "one\n", 0o644)
	c.write("data/deep/two", "two\n", 0o600)
	c.must(os.Lchown(c.path("home/app"), 1000, 1000))
	c.must(unix.Mknod(c.path("dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	c.must(os.Chmod(c.path("dev/null"), 0o666))
	c.must(os.Chmod(c.root, 0o755))
	when := time.Unix(1e9, 0)
	for _, name := range []string{"bin/busybox", "etc/passwd", "etc/group", "data/one", "data/deep/two"} {
		c.must(os.Chtimes(c.path(name), when, when))
	}
	return c
}

func (c *container) path(name string) string { return filepath.Join(c.root, name) }

func (c *container) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *container) mkdir(name string, mode os.FileMode) {
	c.t.Helper()
	c.must(os.MkdirAll(c.path(name), 0o755))
	c.must(os.Chmod(c.path(name), mode))
}

func (c *container) write(name, data string, mode os.FileMode) {
	c.t.Helper()
	c.must(os.WriteFile(c.path(name), []byte(data), mode))
}

func (c *container) read(name string) string {
	c.t.Helper()
	data, err := os.ReadFile(c.path(name))
	c.must(err)
	return string(data)
}

// handOver gives the container's state directory to another, as a volume goes from one
// container to the next.
func (c *container) handOver(to *container) {
	c.t.Helper()
	if c.engine != nil {
		c.must(c.engine.Close())
	}
	c.must(os.RemoveAll(to.path("kaniko")))
	c.must(os.Rename(c.path("kaniko"), to.path("kaniko")))
}

// The base image, of which nothing exists but its description.
var (
	baseLayer  = ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageLayerGzip, Digest: digest.FromString("layer"), Size: 5}
	baseDiffID = digest.FromString("diff")
	baseDigest = digest.FromString("manifest")
	baseConfig = ocispecs.Image{
		Platform: ocispecs.Platform{OS: "linux", Architecture: "amd64"},
		RootFS:   ocispecs.RootFS{Type: "layers", DiffIDs: []digest.Digest{baseDiffID}},
	}
)

func base() llb.State {
	return llb.Image("registry.example.com/base@" + baseDigest.String())
}

// open opens an engine on a container; it is closed with the test.
func (c *container) open(change ...func(*inplace.Options)) *inplace.Engine {
	c.t.Helper()
	opts := inplace.Options{Root: c.root, StateDir: c.path(stateInRoot), Log: c.log.Write}
	for _, f := range change {
		f(&opts)
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	e, err := inplace.Open(ctx, opts)
	if err != nil {
		c.t.Fatal(err)
	}
	c.engine = e
	c.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			c.t.Errorf("closing: %v", err)
		}
	})
	if err := e.SetBase(c.t.Context(), baseDigest, []ocispecs.Descriptor{baseLayer}, baseConfig, baseBlobs{}); err != nil {
		c.t.Fatal(err)
	}
	return e
}

// baseBlobs has the base's layer, for who wants to read it after all.
type baseBlobs struct{}

func (baseBlobs) ReaderAt(_ context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	if desc.Digest != baseLayer.Digest {
		return nil, errdefs.ErrNotFound
	}
	return memory{strings.NewReader("layer")}, nil
}

type memory struct{ *strings.Reader }

func (memory) Close() error { return nil }

// solved is what came of a solve.
type solved struct {
	enginetest.Seen
	// layers are the added layers as tar files, lowest first, ids their digests.
	layers [][]byte
	ids    []digest.Digest
}

// run solves a state, and receives the layers that it adds.
func (c *container) run(e *inplace.Engine, state llb.State, more ...func(*client.SolveOpt)) (solved, error) {
	c.t.Helper()
	return c.runContext(c.t.Context(), e, state, more...)
}

func (c *container) runContext(ctx context.Context, e *inplace.Engine, state llb.State, more ...func(*client.SolveOpt)) (solved, error) {
	c.t.Helper()
	def, err := state.Marshal(ctx, llb.LinuxAmd64)
	c.must(err)
	inner, err := contentlocal.NewStore(c.t.TempDir())
	c.must(err)
	store := &receiver{inner}
	opt := client.SolveOpt{
		Exports: []client.ExportEntry{{Type: client.ExporterOCI, OutputStore: store,
			Attrs: map[string]string{"tar": "false", "compression": "uncompressed", "oci-mediatypes": "true"}}},
		LocalMounts:   map[string]fsutil.FS{},
		FrontendAttrs: map[string]string{},
		Internal:      true,
	}
	for _, f := range more {
		f(&opt)
	}
	bk, err := e.Client(ctx)
	c.must(err)
	status := make(chan *client.SolveStatus)
	seen := enginetest.Watch(status)
	resp, err := bk.Build(ctx, opt, "", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		req := gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true}
		if imports := gw.BuildOpts().Opts["cache-imports"]; imports != "" {
			if err := json.Unmarshal([]byte(imports), &req.CacheImports); err != nil {
				return nil, err
			}
		}
		res, err := gw.Solve(ctx, req)
		if err != nil || c.reads == "" {
			return res, err
		}
		ref, err := res.SingleRef()
		if err != nil {
			return nil, err
		}
		_, err = ref.ReadFile(ctx, gateway.ReadRequest{Filename: c.reads})
		return res, err
	}, status)
	result := solved{Seen: <-seen}
	if err != nil {
		return result, err
	}
	var manifest ocispecs.Manifest
	store.json(ctx, c.t, digest.Digest(resp.ExporterResponse[exptypes.ExporterImageDigestKey]), &manifest)
	if len(manifest.Layers) == 0 || manifest.Layers[0].Digest != baseLayer.Digest {
		c.t.Fatalf("the image does not begin with the base: %v", manifest.Layers)
	}
	for _, l := range manifest.Layers[1:] {
		data, err := content.ReadBlob(ctx, store, l)
		c.must(err)
		result.layers = append(result.layers, data)
		result.ids = append(result.ids, l.Digest)
	}
	return result, nil
}

// receiver is a store that has the base.
type receiver struct{ content.Store }

func (r *receiver) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var w content.WriterOpts
	for _, o := range opts {
		if err := o(&w); err != nil {
			return nil, err
		}
	}
	if w.Desc.Digest == baseLayer.Digest {
		return nil, errdefs.ErrAlreadyExists
	}
	return r.Store.Writer(ctx, opts...)
}

func (r *receiver) json(ctx context.Context, t *testing.T, dgst digest.Digest, into any) {
	t.Helper()
	ra, err := r.ReaderAt(ctx, ocispecs.Descriptor{Digest: dgst})
	if err != nil {
		t.Fatal(err)
	}
	defer ra.Close()
	if err := json.NewDecoder(io.NewSectionReader(ra, 0, ra.Size())).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// sh is a RUN.
func sh(command string) llb.RunOption {
	return llb.Args([]string{"/bin/sh", "-c", command})
}

func withSecret(id, value string) func(*client.SolveOpt) {
	return func(o *client.SolveOpt) {
		o.Session = append(o.Session, session.Attachable(secretsprovider.FromMap(map[string][]byte{id: []byte(value)})))
	}
}

func TestMain(m *testing.M) {
	logs.Capture(nil)
	os.Exit(m.Run())
}
