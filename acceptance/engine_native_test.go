package acceptance

import (
	"path/filepath"
	"strings"
	"testing"
)

// Where overlayfs does not work (it cannot name a directory with a comma), files are
// copied instead, with a warning that says what it costs; where it works there is none.
func TestStateDirectoryWithoutOverlayfs(t *testing.T) {
	base := smallBase(t, nil)
	build := func(state string) outcome {
		s := newScene(t, "run", "oci:"+base, embeddedIn(t, state))
		s.step("one", "USER root", "RUN rm /data/old/file && echo new >/tmp/new", "USER 7")
		o := s.succeed()
		if files := s.files(openLayout(t, base)); files["tmp/new"] != "new\n" {
			t.Errorf("the files are %v", files)
		}
		return o
	}
	const warning = "Warning: overlayfs does not work in the state directory"
	copying := filepath.Join(t.TempDir(), "with,comma")
	if o := build(copying); !strings.Contains(o.stderr, warning+" "+copying) || !strings.Contains(o.stderr, "slow") {
		t.Errorf("no warning: %v", o)
	} else if !strings.Contains(o.stdout, "(native)") {
		t.Errorf("the engine is not said to copy: %v", o)
	}
	working := filepath.Join(t.TempDir(), "without")
	needOverlayfs(t, working)
	if o := build(working); strings.Contains(o.stderr, warning) {
		t.Errorf("a warning: %v", o)
	}
}

// Records that nobody used for as long as -kaniko-cache-ttl says are dropped, and others
// are not.
func TestCacheAge(t *testing.T) {
	base := "oci:" + smallBase(t, nil)
	for age, kept := range map[string]bool{"1ms": false, "1h": true} {
		t.Run(age, func(t *testing.T) {
			e := embeddedIn(t, t.TempDir())
			build := func(file string) outcome {
				s := newScene(t, "run", base, e)
				s.env["CNB_KANIKO_CACHE_TTL"] = age
				s.step("one", "RUN touch /tmp/"+file, "USER 7")
				return s.succeed()
			}
			build("one")
			build("another") // meanwhile nobody uses what there is of one
			if o := build("one"); (len(o.cached()) > 0) != kept {
				t.Errorf("cached: %v, wanted %v: %v", !kept, kept, o)
			}
		})
	}
}
