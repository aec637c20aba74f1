package base_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// The file of a stream that is none of docker save stayed open.
func TestReadSavedLeavesNothingOpen(t *testing.T) {
	temp := t.TempDir()
	for what, stream := range map[string]string{"no tar file": strings.Repeat("no tar file ", 100), "an empty one": strings.Repeat("\x00", 1024)} {
		if _, err := base.ReadSaved(strings.NewReader(stream), temp); err == nil {
			t.Errorf("%s is read", what)
		}
	}
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range open {
		if file, err := os.Readlink(fd); err == nil && strings.HasPrefix(file, temp) {
			t.Errorf("%s is open", file)
		}
	}
}
