//go:build linux

package inplace_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/tonistiigi/fsutil"
)

// TestChain runs steps on the container's own root: nothing is pulled, each step adds
// the layer of what it changed, and a new container with the same cache gets them
// without running or looking at anything.
func TestChain(t *testing.T) {
	c := newContainer(t)
	state := base().
		Run(sh("echo first > /first; rm /data/one; echo said first")).Root().
		Run(sh("cat /first > /second; mkdir -p /new/dir; chmod 700 /new/dir")).Root()
	first, err := c.run(c.open(), state)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.layers) != 2 {
		t.Fatalf("%d layers were added", len(first.layers))
	}
	if got, want := names(t, first.layers[0]), []string{"data/", "data/.wh.one", "first"}; !slices.Equal(got, want) {
		t.Errorf("the first layer has %q, not %q", got, want)
	}
	if got, want := names(t, first.layers[1]), []string{"new/", "new/dir/", "second"}; !slices.Equal(got, want) {
		t.Errorf("the second layer has %q, not %q", got, want)
	}
	if first.Output != "said first\n" {
		t.Errorf("the output is %q", first.Output)
	}
	if got := c.read("second"); got != "first\n" {
		t.Errorf("/second is %q", got)
	}

	fresh := newContainer(t)
	c.handOver(fresh)
	e := fresh.open()
	again, err := fresh.run(e, state)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.ids, first.ids) || len(again.Cached) != 2 {
		t.Errorf("in a new container only %q are cached, and the layers are %v, not %v", again.Cached, again.ids, first.ids)
	}
	if _, err := os.Lstat(fresh.path("second")); err == nil {
		t.Error("layers were applied that nothing needed")
	}
	if err := e.FastForward(t.Context(), again.ids); err != nil {
		t.Fatal(err)
	}
	sameTree(t, c.root, fresh.root)
}

// TestChainGoesOn runs a step on cached ones: they are applied before it.
func TestChainGoesOn(t *testing.T) {
	c := newContainer(t)
	state := base().Run(sh("echo 1 > /log; ln /log /link")).Root()
	if _, err := c.run(c.open(), state); err != nil {
		t.Fatal(err)
	}
	fresh := newContainer(t)
	c.handOver(fresh)
	got, err := fresh.run(fresh.open(), state.Run(sh("echo 2 >> /log")).Root())
	if err != nil {
		t.Fatal(err)
	}
	if log := fresh.read("link"); log != "1\n2\n" || len(got.layers) != 2 || len(got.Cached) != 1 {
		t.Errorf("/link is %q, %d layers were added, %q are cached", log, len(got.layers), got.Cached)
	}
}

// TestSecretIsOfOneRun gives a secret to the RUN that asks for it, and to nobody else.
func TestSecretIsOfOneRun(t *testing.T) {
	c := newContainer(t)
	c.mkdir("dev/shm", 0o777)
	const look = "ls -la /run /run/secrets /dev/shm 2>&1; cat /run/secrets/key 2>&1; true"
	state := base().
		Run(sh("cat /run/secrets/key; stat -L -c %a:%u /run/secrets/key"), llb.User("app"), llb.AddSecret("/run/secrets/key", llb.SecretID("key"), llb.SecretFileOpt(1000, 1000, 0o400))).
		Run(sh(look)).Root()
	got, err := c.run(c.open(), state, withSecret("key", "the secret\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Output, "the secret\n400:1000\n") || strings.Count(got.Output, "the secret") != 1 {
		t.Errorf("the output is %q", got.Output)
	}
	for n, layer := range got.layers {
		if strings.Contains(string(layer), "the secret") || slices.ContainsFunc(names(t, layer), func(name string) bool { return strings.Contains(name, "key") }) {
			t.Errorf("layer %d holds the secret: %q", n, names(t, layer))
		}
	}
	c.nowhere("the secret")
}

// ADD of an archive stays in its destination, whatever links the archive makes; and no
// program that a RUN has put there is called to decompress it, which would get this
// process' environment.
func TestArchivesOfOthers(t *testing.T) {
	c := newContainer(t)
	context := t.TempDir()
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	w := tar.NewWriter(zipped)
	for _, h := range []tar.Header{
		{Typeflag: tar.TypeSymlink, Name: "way", Linkname: c.path("data")},
		{Typeflag: tar.TypeReg, Name: "way/evil", Mode: 0o644},
		{Typeflag: tar.TypeReg, Name: "file", Mode: 0o644},
	} {
		c.must(w.WriteHeader(&h))
	}
	c.must(errors.Join(w.Close(), zipped.Close()))
	c.must(os.WriteFile(filepath.Join(context, "a.tar.gz"), packed.Bytes(), 0o644))
	t.Setenv("PATH", c.path("bin")+":"+os.Getenv("PATH")) // as in a container
	t.Setenv("CREDENTIAL", "a credential")
	state := base().
		Run(sh("for p in unpigz pigz igzip xz; do rm -f /bin/$p; printf '#!%s/bin/sh\\nenv >>%s/taken\\n' " + c.root + " " + c.root + " >/bin/$p; chmod 755 /bin/$p; done")).Root().
		File(llb.Copy(llb.Local("context"), "a.tar.gz", "/opt/", &llb.CopyInfo{AttemptUnpack: true, CreateDestPath: true}))
	got, err := c.run(c.open(), state, func(o *client.SolveOpt) {
		fs, err := fsutil.NewFS(context)
		c.must(err)
		o.LocalMounts["context"] = fs
	})
	if err != nil {
		t.Fatal(err)
	}
	if all := names(t, got.layers[1]); !slices.Contains(all, "opt/file") || !slices.Contains(all, "opt/way") {
		t.Errorf("the layer holds %q", all)
	}
	if _, err := os.Lstat(c.path("data/evil")); err == nil {
		t.Error("a file was made outside of the destination")
	}
	if env, err := os.ReadFile(c.path("taken")); err == nil {
		t.Errorf("a program of a RUN was called, with %s", env)
	}
}

// TestSharedCache starts warm from a cache that another machine wrote, compressed or not:
// layers are fetched, and applied before something runs on them.
func TestSharedCache(t *testing.T) {
	for _, form := range []string{"uncompressed", "gzip", "zstd"} {
		t.Run(form, func(t *testing.T) {
			shared := t.TempDir()
			state := base().Run(sh("echo 1 > /log")).Root().Run(sh("echo 2 >> /log")).Root()
			c := newContainer(t)
			_, err := c.run(c.open(), state, func(o *client.SolveOpt) {
				o.CacheExports = []client.CacheOptionsEntry{{Type: "local", Attrs: map[string]string{
					"dest": shared, "mode": "max", "compression": form}}}
			})
			if err != nil {
				t.Fatal(err)
			}
			from := func(o *client.SolveOpt) {
				o.CacheImports = []client.CacheOptionsEntry{{Type: "local", Attrs: map[string]string{"src": shared}}}
			}
			for name, goOn := range map[string]bool{"goes on": true, "ends": false} {
				other, next := newContainer(t), state
				if goOn {
					next = state.Run(sh("cat /log")).Root()
				}
				e := other.open()
				got, err := other.run(e, next, from)
				if err != nil {
					t.Fatal(err)
				}
				if len(got.Cached) != 2 || goOn && got.Output != "1\n2\n" {
					t.Errorf("%s: %q are cached, and the output is %q", name, got.Cached, got.Output)
				}
				if err := other.forward(e, got); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				sameTree(t, c.root, other.root)
			}
		})
	}
}
