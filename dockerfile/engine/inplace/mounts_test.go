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

	"github.com/graft-cnb/graft/dockerfile/engine/inplace"
	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

// TestMountsLeaveNothing mounts where something stands and where nothing does: the RUN
// sees the mount, what stood there is back afterwards as it was, and the layer holds
// neither.
func TestMountsLeaveNothing(t *testing.T) {
	c := newContainer(t)
	before := tree(t, c.root)
	cache := llb.AddMount("/data", llb.Scratch(), llb.AsPersistentCacheDir("things", llb.CacheMountShared))
	inner := llb.AddMount("/data/inner/tmp", llb.Scratch(), llb.Tmpfs())
	file := llb.AddMount("/etc/group", llb.Scratch().File(llb.Mkfile("/group", 0o644, []byte("mine:x:7:\n"))), llb.SourcePath("/group"), llb.ForceNoOutput)
	run := func(command string) llb.State {
		return base().Run(sh(command), cache, inner, file).Root()
	}
	first, err := c.run(c.open(), run("ls -A /data /data/inner/tmp; cat /etc/group; echo kept > /data/kept; echo gone > /data/inner/tmp/gone; mkdir /out; touch /out/file"))
	if err != nil {
		t.Fatal(err)
	}
	if first.Output != "/data:\ninner\n\n/data/inner/tmp:\nmine:x:7:\n" {
		t.Errorf("the output is %q", first.Output)
	}
	if got, want := names(t, first.layers[0]), []string{"out/", "out/file"}; !slices.Equal(got, want) {
		t.Errorf("the layer has %q, not %q", got, want)
	}
	after := tree(t, c.root)
	for name, was := range before {
		if after[name] != was {
			t.Errorf("%s was\n\t%s and is\n\t%s", name, was, after[name])
		}
	}
	if _, err := os.Lstat(c.path(".graft-aside")); err == nil {
		t.Error("the place for what stood in the way is still there")
	}

	fresh := newContainer(t)
	c.handOver(fresh)
	second, err := fresh.run(fresh.open(), run("cat /data/kept; ls -A /data/inner/tmp"))
	if err != nil {
		t.Fatal(err)
	}
	if second.Output != "kept\n" {
		t.Errorf("in the next container the output is %q", second.Output)
	}
}

// TestMountIsOpenToUsers lets a user other than root use a cache: the way to the state
// directory is open to them. A directory above its parent was once not looked at: where a
// platform kept one to itself, the RUN failed and nothing said why.
func TestMountIsOpenToUsers(t *testing.T) {
	mine := llb.Scratch().File(llb.Mkdir("/cache", 0o700, llb.WithUIDGID(1000, 1000)))
	state := base().Run(sh("echo mine > /home/app/.cache/file && cat /home/app/.cache/file"), llb.User("app"),
		llb.AddMount("/home/app/.cache", mine, llb.SourcePath("/cache"), llb.AsPersistentCacheDir("mine", llb.CacheMountShared))).Root()
	for name, test := range map[string]struct {
		closed  []string
		volume  bool
		skip    []string
		refused bool
	}{
		"open":              {},
		"directory of ours": {closed: []string{"kaniko", "kaniko/cache"}, skip: []string{"/kaniko"}},
		"volume":            {closed: []string{"kaniko", "kaniko/cache"}, volume: true},
		"of others":         {closed: []string{"kaniko"}, skip: []string{"/kaniko/cache"}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t)
			if test.volume {
				needs.That(t, unix.Mount(t.TempDir(), c.path("kaniko"), "", unix.MS_BIND, "") == nil, "the right to mount")
				t.Cleanup(func() { check(t, unix.Unmount(c.path("kaniko"), unix.MNT_DETACH)) })
			}
			for _, dir := range test.closed {
				c.mkdir(dir, 0o700)
			}
			got, err := c.run(c.open(func(o *inplace.Options) { o.Skip = test.skip }), state)
			if !test.refused && (err != nil || got.Output != "mine\n" || c.log.Has("WARN")) {
				t.Errorf("the output is %q: %v", got.Output, err)
			}
			if test.refused && (err == nil || !c.log.Has("cannot get through "+c.path("kaniko")+" ")) {
				t.Errorf("nothing says why: %v", err)
			}
		})
	}
}

// TestWritableBind lets a RUN write into a context; what it writes is thrown away.
func TestWritableBind(t *testing.T) {
	c := newContainer(t)
	dir := t.TempDir()
	c.must(os.WriteFile(filepath.Join(dir, "file"), []byte("of the context\n"), 0o644))
	local, err := fsutil.NewFS(dir)
	c.must(err)
	state := base().
		Run(sh("cat /mnt/file; echo more > /mnt/more; ls /mnt"), llb.AddMount("/mnt", llb.Local("context"), llb.ForceNoOutput)).
		Run(sh("ls -d /mnt; true")).Root()
	got, err := c.run(c.open(), state, func(o *client.SolveOpt) { o.LocalMounts["context"] = local })
	if err != nil {
		t.Fatal(err)
	}
	if want := "of the context\nfile\nmore\nls: /mnt: No such file or directory\n"; got.Output != want {
		t.Errorf("the output is %q, not %q", got.Output, want)
	}
	if _, err := os.Lstat(filepath.Join(dir, "more")); err == nil {
		t.Error("the context was changed")
	}
}

// TestCopyOntoRoot copies with a named owner, which is looked up in the container.
func TestCopyOntoRoot(t *testing.T) {
	c := newContainer(t)
	dir := t.TempDir()
	c.must(os.WriteFile(filepath.Join(dir, "file"), []byte("of the context\n"), 0o644))
	local, err := fsutil.NewFS(dir)
	c.must(err)
	state := base().File(llb.Copy(llb.Local("context"), "/file", "/opt/app/", &llb.CopyInfo{CreateDestPath: true}, llb.WithUser("app:extra"))).
		Run(sh("stat -c '%U %G %n' /opt/app/file")).Root()
	got, err := c.run(c.open(), state, func(o *client.SolveOpt) { o.LocalMounts["context"] = local })
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Output, "app extra /opt/app/file") {
		t.Errorf("the output is %q", got.Output)
	}
	if names := names(t, got.layers[0]); !slices.Equal(names, []string{"opt/", "opt/app/", "opt/app/file"}) {
		t.Errorf("the layer has %q", names)
	}
}

// TestWhatCannotBeDoneInPlace is refused before anything runs, with what to do.
func TestWhatCannotBeDoneInPlace(t *testing.T) {
	first := base().Run(sh("echo ran > /ran")).Root()
	other := llb.Image("registry.example.com/other@" + baseLayer.Digest.String())
	for name, test := range map[string]struct {
		state llb.State
		want  string
	}{
		"read-only bind": {first.Run(sh("true"), llb.AddMount("/mnt", llb.Local("context"), llb.Readonly)).Root(), "add rw to the mount"},
		"ssh":            {first.Run(sh("true"), llb.AddSSHSocket()).Root(), "--mount=type=ssh cannot be done in place"},
		"no network":     {first.Run(sh("true"), llb.Network(llb.NetModeNone)).Root(), "--network=none cannot be done in place"},
		"other image":    {first.File(llb.Copy(other, "/x", "/x")), "is not the base image that this container was made from"},
		"two branches":   {first.Run(sh("true"), llb.AddMount("/mnt", base().Run(sh("echo 2")).Root(), llb.ForceNoOutput)).Root(), "steps can only follow each other"},
		"base as source": {first.File(llb.Copy(base(), "/data", "/copy")), "steps can only follow each other"},
		"merge":          {llb.Merge([]llb.State{first, llb.Scratch().File(llb.Mkdir("/x", 0o755))}), "mergeop  is not supported"},
		"scratch":        {llb.Scratch().Run(sh("true")).Root(), "a RUN on anything but the base image"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t)
			local, err := fsutil.NewFS(t.TempDir())
			c.must(err)
			_, err = c.run(c.open(), test.state, func(o *client.SolveOpt) { o.LocalMounts["context"] = local })
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, and does not say %q", err, test.want)
			}
			if _, err := os.Lstat(c.path("ran")); err == nil {
				t.Error("something ran")
			}
		})
	}
}
