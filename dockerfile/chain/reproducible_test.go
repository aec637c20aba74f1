package chain_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
	"github.com/graft-cnb/graft/dockerfile/engine"
)

// cold is a harness whose engine has an empty cache.
func cold(t *testing.T) *harness {
	t.Helper()
	h := withEngine(t)
	if os.Getenv("BUILDKIT_HOST") != "" {
		t.Skip("SKIPPED: an engine with an empty cache is the embedded one, and BUILDKIT_HOST is set")
	}
	state := filepath.Join(t.TempDir(), "state")
	h.Engine = func(ctx context.Context) (chain.Engine, error) {
		return engine.Open(ctx, "", engine.Options{StateDir: state})
	}
	return h
}

// Two cold runs give one manifest digest when timestamps are rewritten, and the
// base's layers are not touched by that.
func TestTwoColdRunsGiveOneManifest(t *testing.T) {
	image := makeBase(t, baseOptions{})
	old, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	app := dockerfile.Application{
		Kind: dockerfile.KindBuild, Base: asLayout(t, image),
		Steps: steps(t, dockerfile.KindBuild, from+"WORKDIR /made/by/workdir\nCOPY <<EOT file\ncontent\nEOT\nRUN echo x > file2\n"),
	}
	var digests []string
	for range 2 {
		h := cold(t)
		h.RewriteTimestamps = true
		e := apply(t, h, app)
		digests = append(digests, e.applied.Manifest)
		m, err := e.sparse.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for n, l := range old.Layers {
			if m.Layers[n].Digest != l.Digest {
				t.Errorf("layer %d of the base has become %s", n, m.Layers[n].Digest)
			}
		}
		time.Sleep(1100 * time.Millisecond) // times in a tar file are whole seconds
	}
	if digests[0] != digests[1] {
		t.Errorf("%v", digests)
	}
}

// The epoch is what is asked for.
func TestEpochDatesTheImage(t *testing.T) {
	h := newHarness(t)
	h.Epoch = time.Unix(1_700_000_000, 0).UTC()
	e := apply(t, h, dockerfile.Application{
		Kind: dockerfile.KindBuild, Base: asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"ENV A=1\n"),
	})
	if !e.config.Created.Time.Equal(h.Epoch) {
		t.Errorf("created %s", e.config.Created)
	}
}
