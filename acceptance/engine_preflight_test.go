package acceptance

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// newPreflight is a scene in which nothing but the engine could be used: no group, no
// base, no Dockerfile.
func newPreflight(t *testing.T, e engine) *scene {
	t.Helper()
	s := newScene(t, "run", "", e)
	s.args = []string{"-preflight"}
	check(t, os.Remove(s.path("layers/group.toml")))
	return s
}

// checkPreflight checks that it waited for nothing and made nothing.
func checkPreflight(t *testing.T, s *scene, o outcome) {
	t.Helper()
	if o.took > patience {
		t.Errorf("it took %v", o.took)
	}
	if made := s.listing(); len(made) > 1 { // the directory itself
		t.Errorf("it made %v", made)
	}
}

// -preflight says which engine would be used, with what isolation.
func TestPreflight(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		e := embeddedIn(t, filepath.Join(t.TempDir(), "state"))
		s := newPreflight(t, e)
		o := s.succeed()
		if !strings.HasPrefix(o.stdout, "Engine: embedded BuildKit v") || !strings.Contains(o.stdout, "RUN isolated in its own mount, pid") {
			t.Errorf("it does not say which engine: %v", o)
		}
		checkPreflight(t, s, o)
	})
	t.Run("in use", func(t *testing.T) {
		e := embeddedIn(t, t.TempDir())
		sleeper := startSleeper(t, e)
		s := newPreflight(t, e)
		o := s.succeed()
		if !strings.Contains(o.stdout, "RUN isolated in its own mount, pid") || !strings.Contains(o.stdout, "another process uses its state directory "+e.state) {
			t.Errorf("it does not say that the engine would wait: %v", o)
		}
		checkPreflight(t, s, o)
		check(t, sleeper.command.Process.Signal(os.Interrupt))
		sleeper.wait()
	})
	t.Run("daemons", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, as far as the kernel is concerned
		check(t, err)
		defer silent.Close()
		e := buildkitd(t)
		s := newPreflight(t, engine{address: "tcp://" + silent.Addr().String() + "," + e.address + ",unix:///nonexistent.sock"})
		o := s.succeed()
		if !strings.Contains(o.stdout, " at "+e.address+", RUN isolated by the daemon (oci worker)") {
			t.Errorf("it does not say which engine: %v", o)
		}
		for _, address := range []string{silent.Addr().String(), "unix:///nonexistent.sock"} {
			if !strings.Contains(o.stderr, address+" is passed over: ") {
				t.Errorf("it does not say that %s cannot be used: %v", address, o)
			}
		}
		checkPreflight(t, s, o)
	})
}

// It says line by line what is missing.
func TestPreflightFails(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		e := embedded(t)
		s := newPreflight(t, engine{state: filepath.Join("/proc", "no-state")})
		s.env["PATH"] = s.path("empty")
		o := s.fail(103, "  - the program runc is not in PATH", "  - the state directory cannot be made")
		checkPreflight(t, s, o)
		s = newPreflight(t, e)
		s.env["PATH"] = s.path("empty")
		checkPreflight(t, s, s.fail(103, "  - the program runc is not in PATH"))
	})
	t.Run("daemons", func(t *testing.T) {
		s := newPreflight(t, engine{address: "unix:///nonexistent/a,unix:///nonexistent/b"})
		checkPreflight(t, s, s.fail(103, "  - unix:///nonexistent/a: no connection", "  - unix:///nonexistent/b: no connection"))
		s = newPreflight(t, engine{address: "unix:///nonexistent/a"})
		checkPreflight(t, s, s.fail(103, "unix:///nonexistent/a cannot be used", "  - no connection"))
	})
}

// In a plain chroot / is no mount, which is told as what it is, with a remedy that works.
func TestPreflightInChroot(t *testing.T) {
	need(t, os.Geteuid() == 0, "root, to change the root directory")
	root := t.TempDir()
	for _, dir := range []string{"proc", "dev", "sys", "bin", "state"} {
		check(t, os.Mkdir(filepath.Join(root, dir), 0o755))
	}
	program, err := os.ReadFile(filepath.Join(programs, "extender"))
	check(t, err)
	for _, name := range []string{"extender", "runc"} { // preflight runs no runc
		check(t, os.WriteFile(filepath.Join(root, "bin", name), program, 0o755))
	}
	preflight := func(prepare string) outcome {
		// In a mount namespace of its own, so that no mount can be left of it.
		c := exec.Command("unshare", "-m", "sh", "-ec", prepare+`
			for dir in proc dev sys; do mount --rbind /$dir "$ROOT/$dir"; done
			exec chroot "$ROOT" /bin/extender -preflight`)
		c.Env = []string{"PATH=/bin:" + searchPath(), "ROOT=" + root, "CNB_PLATFORM_API=0.15", "CNB_STATE_DIR=/state"}
		return finish(t, c)
	}
	o := preflight("")
	if o.code != 103 || !strings.Contains(o.stderr, "is no mount point, as in a plain chroot") || strings.Contains(o.stderr, "not permitted") {
		t.Errorf("wanted 103 and the cause: %v", o)
	}
	if o := preflight(`mount --bind "$ROOT" "$ROOT"`); o.code != 0 {
		t.Errorf("the remedy does not help: %v", o)
	}
}
