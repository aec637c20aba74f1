//go:build linux

package embedded_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
)

// A RUN is executed and its result exported; a second engine on the same state
// directory finds it in the cache.
func TestRunIsCachedInTheStateDirectory(t *testing.T) {
	needRoot(t)
	state := t.TempDir()
	for i, wantCached := range []bool{false, true} {
		out := t.TempDir()
		begin := time.Now()
		e := open(t, embedded.Options{StateDir: state})
		ready := time.Since(begin)
		result, err := run(t.Context(), e, "echo made > /out/file; id -u; echo said", out)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(out, "file"))
		if err != nil || string(content) != "made\n" {
			t.Errorf("engine %d: the file is %q (%v)", i, content, err)
		}
		if cached := slices.Contains(result.cached, "run"); cached != wantCached {
			t.Errorf("engine %d: RUN cached: %v, want %v", i, cached, wantCached)
		}
		if said := strings.Contains(result.output, "said"); said == wantCached {
			t.Errorf("engine %d: output of RUN: %q", i, result.output)
		}
		t.Logf("ready after %v, everything after %v: %s", ready, time.Since(begin), e.Description())
	}
}
