package platform_test

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/graft-cnb/graft/platform"
)

// The extender of the run image makes and removes directories in <layers> while that of
// the build image gives it to the build user: the hand-over failed now and then.
func TestOwnWhileOthersRemove(t *testing.T) {
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 1001, 1000
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			stage := filepath.Join(dir, fmt.Sprintf(".stage-%d", n))
			err := os.MkdirAll(filepath.Join(stage, "a/b/c"), 0o755)
			if err == nil {
				err = os.WriteFile(filepath.Join(stage, "a/file"), nil, 0o600)
			}
			if err == nil {
				err = os.RemoveAll(stage)
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for range 2000 {
		if err := (platform.BuildUser{UID: &uid, GID: &gid}).Own(dir); err != nil {
			t.Errorf("giving it away: %v", err)
			break
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "file"))
	if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != uid {
		t.Errorf("the file is %v (%v)", info, err)
	}
	if err := (platform.BuildUser{UID: &uid, GID: &gid}).Own(filepath.Join(dir, "none")); err == nil {
		t.Error("a directory that is not there is no error")
	}
}
