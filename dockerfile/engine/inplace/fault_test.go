//go:build linux

package inplace_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ctdsnapshots "github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/moby/buildkit/client/llb"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"

	"github.com/graft-cnb/graft/dockerfile/engine"
	"github.com/graft-cnb/graft/dockerfile/engine/inplace"
)

// TestFailedStep tells the exit code, leaves the root half changed, and says so to
// whoever comes next in the container. What was done before is cached.
func TestFailedStep(t *testing.T) {
	c := newContainer(t)
	good := base().Run(sh("echo good > /good")).Root()
	_, err := c.run(c.open(), good.Run(sh("echo bad > /bad; exit 7")).Root())
	var exit *gwpb.ExitError
	if !errors.As(err, &exit) || exit.ExitCode != 7 {
		t.Fatalf("the error is %v", err)
	}
	c.must(c.engine.Close())
	_, err = inplace.Open(t.Context(), inplace.Options{Root: c.root, StateDir: c.path(stateInRoot)})
	var refused *engine.UnavailableError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "start again in a new container") {
		t.Errorf("in the same container the error is %v", err)
	}

	fresh := newContainer(t)
	c.handOver(fresh)
	got, err := fresh.run(fresh.open(), good.Run(sh("exec 2>&1; cat /good; ls /bad")).Root().Run(sh("true")).Root())
	if !errors.As(err, &exit) || len(got.Cached) != 1 || got.Output != "good\nls: /bad: No such file or directory\n" {
		t.Errorf("in a new container %q are cached, and the output is %q: %v", got.Cached, got.Output, err)
	}
}

// sleepTime is a time to sleep that no other process sleeps.
func sleepTime() string { return fmt.Sprintf("1000%09d", rand.IntN(1e9)) }

// TestCancelledStep kills what runs, all of it, at once.
func TestCancelledStep(t *testing.T) {
	c := newContainer(t)
	mark := sleepTime()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Lstat(c.path("started")); err == nil {
				cancel()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	_, err := c.runContext(ctx, c.open(), base().Run(sh("setsid sleep "+mark+" & sleep "+mark+" & touch /started; wait")).Root())
	if !errors.Is(err, context.Canceled) && grpcerrors.Code(err) != codes.Canceled {
		t.Errorf("it did not end with the context, but with %v", err)
	}
	if _, err := os.Lstat(c.path("started")); err != nil {
		t.Errorf("it has not begun: %v", err)
	}
	c.must(c.engine.Close())
	nothingRuns(t, mark)
}

// TestDaemonsEndWithTheirStep kills what a RUN leaves running, in whatever session and
// with whatever parent, also if it holds the RUN's output open.
func TestDaemonsEndWithTheirStep(t *testing.T) {
	c := newContainer(t)
	mark := sleepTime()
	state := base().Run(sh(strings.ReplaceAll("setsid sh -c 'sleep MARK & sleep MARK' & (setsid setsid sleep MARK &) ; sleep MARK & echo done", "MARK", mark))).Root().
		Run(sh("echo next > /next")).Root()
	got, err := c.run(c.open(), state)
	if err != nil || got.Output != "done\n" || len(got.layers) != 2 {
		t.Errorf("the output is %q, with %d layers: %v", got.Output, len(got.layers), err)
	}
	nothingRuns(t, mark)
}

// nothingRuns looks for processes with a word in their arguments.
func nothingRuns(t *testing.T, word string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if line, err := os.ReadFile(file); err == nil && strings.Contains(string(line), "\x00"+word) {
			t.Errorf("still running: %q", line)
		}
	}
}

// TestKilledEngine finds the cache usable after an engine that did not end: what was
// in progress is gone, what was done is there.
func TestKilledEngine(t *testing.T) {
	c := newContainer(t)
	good := base().Run(sh("echo good > /good")).Root()
	e := c.open()
	if _, err := c.run(e, good.Run(sh("exit 1")).Root()); err == nil {
		t.Fatal("it succeeded")
	}
	// As it is when the process is killed: nothing is closed, nothing noted.
	killed := newContainer(t)
	c.must(os.CopyFS(killed.path("copy"), os.DirFS(c.path("kaniko"))))
	c.must(os.RemoveAll(killed.path("kaniko")))
	c.must(os.Rename(killed.path("copy"), killed.path("kaniko")))
	got, err := killed.run(killed.open(), good.Run(sh("cat /good")).Root())
	if err != nil || got.Output != "good\n" || len(got.Cached) != 1 {
		t.Errorf("the output is %q, %q are cached: %v", got.Output, got.Cached, err)
	}
}

// TestDamagedCache drops a layer that is not what it was, and what rests on it, and
// builds them again; a database that cannot be read costs the whole cache. A file was read
// in the result, as for its user: the view that was made for that has gone with the engine,
// and once kept what it was a view of from being dropped, in this run and all that follow.
func TestDamagedCache(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(t *testing.T, state string)
		cached int
		warns  string
	}{
		"poisoned layer": {func(t *testing.T, state string) {
			blob := blobWith(t, state, "second")
			data, err := os.ReadFile(blob)
			check(t, err)
			check(t, os.Chmod(blob, 0o644))
			check(t, os.WriteFile(blob, []byte(strings.ReplaceAll(string(data), "second", "hacked")), 0o644))
		}, 1, "is damaged: it is dropped"},
		"truncated layer": {func(t *testing.T, state string) {
			check(t, os.Truncate(blobWith(t, state, "second"), 600))
		}, 1, "is damaged: it is dropped"},
		"missing layer": {func(t *testing.T, state string) {
			check(t, os.Remove(blobWith(t, state, "first")))
		}, 0, "is damaged: it is dropped"},
		"missing layers": {func(t *testing.T, state string) {
			check(t, os.RemoveAll(filepath.Join(state, "content")))
		}, 0, "is damaged: it is dropped"},
		"truncated database": {func(t *testing.T, state string) {
			check(t, os.Truncate(filepath.Join(state, "metadata_v2.db"), 5000))
		}, 0, "starting with an empty one"},
		// A crash can leave such a thing. Each run once failed at it.
		"state on record alone": {loseState, 1, ""},
		// The databases are right, and what they are of cannot be changed: that once was
		// the end of every run.
		"content that is no directory": {func(t *testing.T, state string) {
			blobs := filepath.Join(state, "content", "blobs", "sha256")
			check(t, os.RemoveAll(blobs))
			check(t, os.WriteFile(blobs, nil, 0o644))
		}, 0, "starting with an empty one"},
		"lost keys": {func(t *testing.T, state string) {
			check(t, os.Remove(filepath.Join(state, "cache.db")))
		}, 0, "starting with an empty one"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t)
			c.reads = "/etc/passwd"
			state := base().Run(sh("echo first > /first")).Root().Run(sh("echo second > /second")).Root()
			prunes := func(o *inplace.Options) { o.CacheTTL = time.Hour }
			if _, err := c.run(c.open(prunes), state); err != nil {
				t.Fatal(err)
			}
			for n := range 2 {
				fresh := newContainer(t)
				c.handOver(fresh)
				if n == 0 {
					test.damage(t, fresh.path(stateInRoot+"/inplace"))
				} else {
					test.cached = 2 // it is whole again
				}
				got, err := fresh.run(fresh.open(), state.Run(sh("cat /first /second"), llb.IgnoreCache).Root())
				if err != nil || got.Output != "first\nsecond\n" || steps(got.Cached) != test.cached {
					t.Errorf("run %d: the output is %q, %q are cached: %v", n+1, got.Output, got.Cached, err)
				}
				if n == 0 && !strings.Contains(fresh.log.String(), test.warns) {
					t.Errorf("the log does not say %q:\n%s", test.warns, fresh.log)
				}
				c = fresh
			}
		})
	}
}

// loseState removes the newest state from what holds the snapshots, and leaves it on record.
func loseState(t *testing.T, state string) {
	t.Helper()
	snapshots, err := storage.NewMetaStore(filepath.Join(state, "snapshots", "metadata.db"))
	check(t, err)
	defer snapshots.Close()
	check(t, snapshots.WithTransaction(t.Context(), true, func(ctx context.Context) error {
		var newest string
		var when time.Time
		err := storage.WalkInfo(ctx, func(_ context.Context, info ctdsnapshots.Info) error {
			if info.Kind == ctdsnapshots.KindCommitted && info.Created.After(when) {
				newest, when = info.Name, info.Created
			}
			return nil
		})
		if err == nil {
			_, _, err = storage.Remove(ctx, newest)
		}
		return err
	}))
}

// TestBadPages gives the cache up where a page of a database is not what it was, within
// the run. Libraries panic on one: that once was the end of every run, since the mark by
// which the next one would have looked was taken away while the process broke down.
func TestBadPages(t *testing.T) {
	state := base().Run(sh("echo first > /first")).Root().Run(sh("echo second > /second")).Root()
	whole := newContainer(t)
	if _, err := whole.run(whole.open(), state); err != nil {
		t.Fatal(err)
	}
	whole.must(whole.engine.Close())
	page := int64(os.Getpagesize())
	for _, name := range []string{"containerdmeta.db", "metadata_v2.db", "snapshots/metadata.db", "cache.db", "history.db"} {
		for n := range int64(8) {
			t.Run(fmt.Sprintf("%s %d", name, n), func(t *testing.T) {
				c := newContainer(t)
				c.must(os.RemoveAll(c.path("kaniko")))
				c.must(os.CopyFS(c.path("kaniko"), os.DirFS(whole.path("kaniko"))))
				f, err := os.OpenFile(c.path(stateInRoot+"/inplace/"+name), os.O_WRONLY, 0)
				c.must(err)
				_, err = f.WriteAt(make([]byte, page), n*page)
				c.must(errors.Join(err, f.Close()))
				got, err := c.run(c.open(), state.Run(sh("cat /first /second"), llb.IgnoreCache).Root())
				if err != nil || got.Output != "first\nsecond\n" {
					t.Errorf("the output is %q: %v", got.Output, err)
				}
				if given := c.log.Has("starting with an empty one"); given == (steps(got.Cached) > 0) {
					t.Errorf("%q are cached, and the log says\n%s", got.Cached, c.log)
				}
			})
		}
	}
}

// steps counts the RUNs among some steps.
func steps(all []string) (n int) {
	for _, name := range all {
		if strings.HasPrefix(name, "/bin/sh") {
			n++
		}
	}
	return n
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// blobWith finds the stored layer that has a text.
func blobWith(t *testing.T, state, text string) (found string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(state, "content/blobs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "\n"+text) || strings.HasPrefix(string(data), text) {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		t.Fatalf("no stored layer has %q: %v", text, err)
	}
	return found
}

// TestStepThatDestroysMuch lets a RUN delete what the container lives by.
func TestStepThatDestroysMuch(t *testing.T) {
	c := newContainer(t)
	state := base().Run(sh("rm /etc/passwd /bin/ls /bin/cat; rm -rf /data /tmp")).Root().
		Run(sh("echo still > /here")).Root()
	got, err := c.run(c.open(), state)
	if err != nil || len(got.layers) != 2 {
		t.Errorf("%d layers were added: %v", len(got.layers), err)
	}
	_, err = c.run(c.engine, state.Run(sh("true"), llb.User("app")).Root())
	if err == nil || !strings.Contains(err.Error(), "app") {
		t.Errorf("a user that is not there any more: %v", err)
	}
}

// TestContainerOfAnotherImage is refused before anything runs.
func TestContainerOfAnotherImage(t *testing.T) {
	config := baseConfig
	config.Config.Env = []string{"PATH=/bin", "JAVA_HOME=/opt/java", "JAVA_VERSION=21"}
	config.Config.Labels = map[string]string{"distro": "debian"}
	set := func(env []string, distro string) func(*inplace.Options) {
		return func(o *inplace.Options) { o.Environ, o.Labels = env, map[string]string{"distro": distro} }
	}
	for name, test := range map[string]struct {
		options func(*inplace.Options)
		want    string
	}{
		"its own":              {set([]string{"PATH=/usr/bin", "JAVA_HOME=/elsewhere", "JAVA_VERSION=21", "MORE=1"}, "debian"), ""},
		"with one less":        {set([]string{"JAVA_HOME=/opt/java"}, "debian"), ""},
		"of unknown system":    {set([]string{"JAVA_HOME=/opt/java", "JAVA_VERSION=21"}, ""), ""},
		"other variables":      {set([]string{"PATH=/bin", "NODE_VERSION=22"}, "debian"), "lacks JAVA_HOME, JAVA_VERSION"},
		"another distribution": {set([]string{"JAVA_HOME=/opt/java", "JAVA_VERSION=21"}, "alpine"), `says "debian", and this is "alpine"`},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContainer(t)
			opts := inplace.Options{Root: c.root, StateDir: c.path(stateInRoot)}
			test.options(&opts)
			e, err := inplace.Open(t.Context(), opts)
			c.must(err)
			defer e.Close()
			err = e.SetBase(t.Context(), baseDigest, []ocispecs.Descriptor{baseLayer}, config, nil)
			var refused *engine.UnavailableError
			switch {
			case test.want == "" && err != nil:
				t.Errorf("it was refused: %v", err)
			case test.want != "" && (!errors.As(err, &refused) || !strings.Contains(err.Error(), test.want)):
				t.Errorf("the error is %v, and does not say %q", err, test.want)
			}
		})
	}
}
