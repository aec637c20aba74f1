package result

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Without an exchange the result is replaced all the same, and put back when
// that fails.
func TestReplaceWithoutExchange(t *testing.T) {
	dir := t.TempDir()
	stage, err := NewStage(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stage.Close()
	target, staged := filepath.Join(dir, "run"), filepath.Join(stage.path, "extended")
	for _, d := range []string{filepath.Join(target, "old"), filepath.Join(staged, "new")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p := &pendingExtended{stage: stage, staged: filepath.Join(stage.path, "missing"), target: target}
	if err := p.replace(errors.New("no exchange here")); err == nil {
		t.Error("what was not staged was handed over")
	}
	if _, err := os.Stat(filepath.Join(target, "old")); err != nil {
		t.Errorf("the earlier result was not put back: %v", err)
	}
	p.staged = staged
	if err := p.replace(errors.New("no exchange here")); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(target); len(entries) != 1 || entries[0].Name() != "new" {
		t.Errorf("the result has %v", entries)
	}
}
