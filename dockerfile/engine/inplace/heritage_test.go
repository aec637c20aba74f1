//go:build linux

package inplace_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"
)

// TestUmaskIsTheImages gives a RUN, and the directories that are made for it, the modes
// that they have with any engine. They once depended on the umask of whoever started the
// program, which is back once the engine is closed.
func TestUmaskIsTheImages(t *testing.T) {
	c := newContainer(t)
	context := t.TempDir()
	c.must(os.WriteFile(filepath.Join(context, "file"), nil, 0o644))
	local, err := fsutil.NewFS(context)
	c.must(err)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	cache := llb.AddMount("/mounted/deep/cache", llb.Scratch(), llb.AsPersistentCacheDir("umask", llb.CacheMountShared))
	state := base().
		File(llb.Copy(llb.Local("context"), "/file", "/copied/deep/", &llb.CopyInfo{CreateDestPath: true})).
		File(llb.Mkdir("/made/deep", 0o755, llb.WithParents(true))).
		Run(sh("umask; touch /file; mkdir /dir; stat -c '%a %n' /file /dir /copied /copied/deep /made /made/deep /mounted /mounted/deep /work /work/dir"), llb.Dir("/work/dir"), cache).Root()
	got, err := c.run(c.open(), state, func(o *client.SolveOpt) { o.LocalMounts["context"] = local })
	if err != nil {
		t.Fatal(err)
	}
	want := "0022\n644 /file\n"
	for _, dir := range []string{"/dir", "/copied", "/copied/deep", "/made", "/made/deep", "/mounted", "/mounted/deep", "/work", "/work/dir"} {
		want += "755 " + dir + "\n"
	}
	if got.Output != want {
		t.Errorf("the output is\n%snot\n%s", got.Output, want)
	}
	c.must(c.engine.Close())
	if now := unix.Umask(0o077); now != 0o077 {
		t.Errorf("the umask is %#o when the engine is closed", now)
	}
}

// TestRunInheritsNoFiles keeps from a RUN what the platform has opened for this program:
// it could once write the report. Whatever takes the program's place inherits that again.
func TestRunInheritsNoFiles(t *testing.T) {
	c := newContainer(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "report"))
	c.must(err)
	defer file.Close()
	inherited, err := unix.Dup(int(file.Fd())) // without FD_CLOEXEC, as from a shell
	c.must(err)
	defer unix.Close(inherited)
	got, err := c.run(c.open(), base().Run(sh(fmt.Sprintf("(echo written >&%d) 2>/dev/null || echo closed", inherited))).Root())
	if err != nil || got.Output != "closed\n" {
		t.Errorf("the output is %q: %v", got.Output, err)
	}
	if data, err := os.ReadFile(file.Name()); err != nil || len(data) > 0 {
		t.Errorf("a RUN has written %q: %v", data, err)
	}
	c.must(c.engine.Close())
	if flags, err := unix.FcntlInt(uintptr(inherited), unix.F_GETFD, 0); err != nil || flags != 0 {
		t.Errorf("the descriptor's flags are %#x when the engine is closed: %v", flags, err)
	}
}
