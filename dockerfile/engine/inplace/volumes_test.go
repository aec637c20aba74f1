//go:build linux

package inplace_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"
	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

// volume mounts something in the container, with a file in it.
func (c *container) volume(name string) {
	c.t.Helper()
	c.mkdir(name, 0o755)
	err := unix.Mount("tmpfs", c.path(name), "tmpfs", 0, "")
	needs.That(c.t, err == nil, "the permission to mount")
	c.t.Cleanup(func() { c.must(unix.Unmount(c.path(name), unix.MNT_DETACH)) })
	c.write(name+"/precious", "the platform's\n", 0o644)
}

// cacheAt is a mount that keeps what is written there.
func cacheAt(target string) llb.RunOption {
	return llb.AddMount(target, llb.Scratch(), llb.AsPersistentCacheDir("of "+target, llb.CacheMountShared))
}

// A mount whose target is a volume, holds one or is in one already is refused before
// anything runs: what was in the volume was removed with the mount.
func TestMountsAndVolumes(t *testing.T) {
	context := t.TempDir()
	if err := os.WriteFile(filepath.Join(context, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	first := base().Run(sh("echo ran > /ran")).Root()
	for name, c := range map[string]struct {
		mount llb.RunOption
		want  string
	}{
		"cache at a volume":    {cacheAt("/workspace"), "has something mounted at /workspace"},
		"tmpfs at a volume":    {llb.AddMount("/workspace", llb.Scratch(), llb.Tmpfs()), "has something mounted at /workspace"},
		"bind at a volume":     {llb.AddMount("/workspace", llb.Local("context"), llb.ForceNoOutput), "has something mounted at /workspace"},
		"cache above a volume": {cacheAt("/home"), "has something mounted at /home/app/m2"},
		"through a link":       {cacheAt("/way"), "has something mounted at /workspace"},
		"over a file in one":   {llb.AddSecret("/workspace/precious", llb.SecretID("key")), "in the container's volume /workspace already"},
		"over a directory":     {cacheAt("/workspace/sub"), "in the container's volume /workspace already"},
	} {
		t.Run(name, func(t *testing.T) {
			container := newContainer(t)
			container.volume("workspace")
			container.volume("home/app/m2")
			container.mkdir("workspace/sub", 0o755)
			container.write("workspace/sub/precious", "the platform's\n", 0o644)
			container.must(os.Symlink("workspace", container.path("way")))
			local, err := fsutil.NewFS(context)
			container.must(err)
			_, err = container.run(container.open(), first.Run(sh("ls"), c.mount).Root(), withSecret("key", "the secret\n"),
				func(o *client.SolveOpt) { o.LocalMounts["context"] = local })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v, and does not say %q", err, c.want)
			}
			for _, file := range []string{"workspace/precious", "workspace/sub/precious", "home/app/m2/precious"} {
				if content, err := os.ReadFile(container.path(file)); string(content) != "the platform's\n" {
					t.Errorf("%s is %q (%v)", file, content, err)
				}
			}
			if _, err := os.Lstat(container.path("ran")); err == nil {
				t.Error("something ran")
			}
		})
	}
}

// In a volume there is room for a mount where nothing stands, as for secrets where /run is
// one.
func TestMountInAVolume(t *testing.T) {
	c := newContainer(t)
	c.volume("run")
	got, err := c.run(c.open(), base().Run(sh("cat /run/secrets/key"), llb.AddSecret("/run/secrets/key", llb.SecretID("key"))).Root(), withSecret("key", "the secret\n"))
	if err != nil || got.Output != "the secret\n" {
		t.Errorf("the output is %q: %v", got.Output, err)
	}
	if left, err := os.ReadDir(c.path("run")); err != nil || len(left) != 1 || left[0].Name() != "precious" {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// A command may put something else where a mount's target lies. What is taken away is the
// mount, wherever it is then, and not what has its name.
func TestMountThatACommandMoves(t *testing.T) {
	c := newContainer(t)
	c.volume("workspace")
	c.mkdir("workspace/src", 0o755)
	c.write("workspace/src/precious", "the platform's\n", 0o644)
	c.mkdir("workspace/empty", 0o755)
	got, err := c.run(c.open(), base().
		Run(sh("mkdir -p /opt/x; echo kept > /opt/x/file")).
		Run(sh("mv /opt/x /opt/y && ln -s /workspace /opt/x"), cacheAt("/opt/x/src")).
		Run(sh("rm /opt/x; mv /opt/z /opt/moved && ln -s /workspace /opt/z"), llb.AddMount("/opt/z/empty/at", llb.Scratch(), llb.Tmpfs(), llb.ForceNoOutput)).Root())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.path("workspace/empty")); err != nil {
		t.Errorf("a directory of the volume was taken for one that was made for the mount: %v", err)
	}
	if content := c.read("workspace/src/precious"); content != "the platform's\n" {
		t.Errorf("the volume holds %q", content)
	}
	if _, err := os.Lstat(c.path("opt/y/src")); err == nil {
		t.Error("the mount is left where it was put")
	}
	if got := names(t, got.layers[1]); !slices.Equal(got, []string{"opt/", "opt/.wh.x", "opt/x", "opt/y/", "opt/y/file"}) && !slices.Equal(got, []string{"opt/", "opt/x", "opt/y/", "opt/y/file"}) {
		t.Errorf("the layer has %q", got)
	}
}

// What is in a mount can be copied as a whole, and a mount that is a link is never copied
// as one: it would lead nowhere in the image.
func TestCopiesOfMounts(t *testing.T) {
	context := t.TempDir()
	if err := os.MkdirAll(filepath.Join(context, "dir"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(context, "dir/file"), []byte("of the context\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	c := newContainer(t)
	local, err := fsutil.NewFS(context)
	c.must(err)
	withContext := func(o *client.SolveOpt) { o.LocalMounts["context"] = local }
	got, err := c.run(c.open(), base().Run(sh("cp -a /src /copy; cp -a /scratch /empty; find /src -type f; stat -c '%F %a' /scratch; echo more > /src/more; cp -a /cached/. /full"),
		llb.AddMount("/src", llb.Local("context"), llb.ForceNoOutput), llb.AddMount("/scratch", llb.Scratch(), llb.Tmpfs()), cacheAt("/cached")).Root(), withContext)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/src/dir/file\ndirectory 1777\n"; got.Output != want {
		t.Errorf("the output is %q, wanted %q", got.Output, want)
	}
	if got, want := names(t, got.layers[0]), []string{"copy/", "copy/dir/", "copy/dir/file", "empty/", "full/"}; !slices.Equal(got, want) {
		t.Errorf("the layer has %q, not %q", got, want)
	}

	for name, step := range map[string]llb.State{
		"cache":  base().Run(sh("cp -a /cached /copy"), cacheAt("/cached")).Root(),
		"secret": base().Run(sh("cp -a /run/secrets/key /copy"), llb.AddSecret("/run/secrets/key", llb.SecretID("key"))).Root(),
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t)
			if name == "secret" {
				c.mkdir("dev/shm", 0o777)
			}
			_, err := c.run(c.open(), step, withSecret("key", "the secret\n"))
			if err == nil || !strings.Contains(err.Error(), "/copy is a copy of a mount") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// A file that the container has mounted cannot be replaced, which is told before anything
// runs.
func TestCopyOntoAMountedFile(t *testing.T) {
	c := newContainer(t)
	c.volume("volume")
	c.write("etc/resolv.conf", "", 0o644)
	c.must(unix.Mount(c.path("volume/precious"), c.path("etc/resolv.conf"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { c.must(unix.Unmount(c.path("etc/resolv.conf"), unix.MNT_DETACH)) })
	e := c.open()
	for name, made := range map[string]*llb.FileAction{
		"by name":   llb.Mkfile("/etc/resolv.conf", 0o644, []byte("new")),
		"as a copy": llb.Copy(llb.Scratch().File(llb.Mkfile("/f", 0o644, nil)), "/f", "/etc/resolv.conf"),
	} {
		_, err := c.run(e, base().Run(sh("echo ran > /ran")).File(made))
		if err == nil || !strings.Contains(err.Error(), "/etc/resolv.conf cannot be replaced") {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	if _, err := os.Lstat(c.path("ran")); err == nil {
		t.Error("something ran")
	}
}
