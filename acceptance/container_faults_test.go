package acceptance

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// faultsInContainers are what goes wrong while an image is extended in a container: each
// ends with the right exit code and clear words, leaves nothing half-written and nothing
// running, and the cache can be used after.
func faultsInContainers(t *testing.T, p *buildPlatform, e containerEngine) {
	kaniko := t.TempDir() // one cache for all
	tests := map[string]func(*testing.T, *appBuild){
		"a RUN that fails":         runThatFails,
		"a RUN that leaves daemon": runThatLeavesDaemons,
		"a RUN that is killed":     runThatIsKilled,
		"a RUN that destroys":      runThatDestroys,
		"a RUN without a builder":  runThatRemovesTheBuilder,
		"a RUN that looks around":  runThatLooksAround,
		"told to end":              toldToEnd,
		"killed":                   killedInContainer,
		"a disk that is full":      fullResult,
	}
	if e.ownCache {
		tests["a damaged cache"] = damagedCache
		tests["a poisoned cache"] = poisonedCache
		tests["a cache that is full"] = fullCache
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := p.newBuild(t, e)
			b.kaniko = kaniko
			test(t, b)
			if left := p.docker.docker(t, "ps", "--all", "--quiet"); left != "" {
				t.Errorf("containers are left: %s", left)
			}
		})
	}
}

// step generates what an extension with these lines after FROM would, for either image,
// in place of detector and generator.
func (b *appBuild) step(lines ...string) {
	b.t.Helper()
	for _, kind := range []string{"build", "run"} {
		b.write("layers/generated/one/"+kind+".Dockerfile", "ARG base_image\nFROM ${base_image}\nUSER 0:0\n"+
			strings.Join(lines, "\n")+"\nUSER 1001:1000\n")
	}
	b.write("layers/group.toml", "[[group-extensions]]\nid = \"one\"\nversion = \"1\"\napi = \"0.10\"\n")
	b.giveToBuilder("layers")
	b.restore()
}

func (b *appBuild) write(name, content string) {
	b.t.Helper()
	check(b.t, os.MkdirAll(filepath.Dir(b.path(name)), 0o755))
	check(b.t, os.WriteFile(b.path(name), []byte(content), 0o644))
}

// fail runs a command that has to end with a code and with these texts on its stderr,
// without a result.
func (b *appBuild) fail(c *exec.Cmd, code int, texts ...string) {
	b.t.Helper()
	o := finish(b.t, c)
	if o.code != code {
		b.t.Errorf("wanted exit code %d: %v", code, o)
	}
	for _, text := range texts {
		if !strings.Contains(o.stderr, text) {
			b.t.Errorf("stderr does not say %q: %v", text, o)
		}
	}
	b.noResult()
}

// noResult demands that nothing is where exporters look.
func (b *appBuild) noResult() {
	b.t.Helper()
	entries, err := os.ReadDir(b.path("layers/extended/run"))
	if err == nil && len(entries) > 0 {
		b.t.Errorf("a failure left %v in <extended>/run", entries)
	}
}

// extendRun extends the run image, which must succeed, and returns what the layers that
// were added hold.
func (b *appBuild) extendRun() map[string]string {
	b.t.Helper()
	b.finish(b.extender("run"))
	entries, err := os.ReadDir(b.path("layers/extended/run"))
	check(b.t, err)
	if len(entries) != 1 {
		b.t.Fatalf("<extended>/run holds %v", entries)
	}
	image := openLayout(b.t, b.path("layers/extended/run/"+entries[0].Name()))
	layers, err := image.Layers()
	check(b.t, err)
	files := map[string]string{}
	for _, layer := range layers[len(manifestOf(b.t, b.run).Layers):] {
		_, contents := layerEntries(b.t, layer)
		for name, content := range contents {
			files[strings.TrimPrefix(name, "/")] = content
		}
	}
	return files
}

func runThatFails(t *testing.T, b *appBuild) {
	b.step("RUN echo half >/srv/half", "RUN echo to stderr >&2; exit 7")
	b.fail(b.extender("run"), 102, "run.Dockerfile:5", "exit code 7", "to stderr")
	b.step("RUN echo whole >/srv/whole")
	files := b.extendRun()
	if files["srv/whole"] != "whole\n" || files["srv/half"] != "" {
		t.Errorf("after a failure the image holds %q", files)
	}
}

// What a RUN leaves running ends with it, and is not waited for.
func runThatLeavesDaemons(t *testing.T, b *appBuild) {
	mark := uniqueSeconds()
	b.step(fmt.Sprintf("RUN sleep %s & setsid -f sleep %s; echo done >/srv/done", mark, mark))
	if files := b.extendRun(); files["srv/done"] != "done\n" {
		t.Errorf("the image holds %q", files)
	}
	if left := processesWith(t, mark); len(left) > 0 {
		t.Errorf("a RUN has left %q", left)
	}
}

func runThatIsKilled(t *testing.T, b *appBuild) {
	b.step("RUN sh -c 'kill -9 $$'")
	b.fail(b.extender("run"), 102, "run.Dockerfile:4", "exit code 137")
}

// Of the credentials that the extender has a RUN sees nothing, and nothing of them stays.
func runThatLooksAround(t *testing.T, b *appBuild) {
	b.step("RUN (env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline) >/srv/seen 2>/dev/null; true")
	checkNoSecret(t, "what a RUN has seen", []byte(b.extendRun()["srv/seen"]))
	for _, dir := range []string{b.path("layers"), b.kaniko} {
		check(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			checkNoSecret(t, path, content)
			return err
		}))
	}
}

// Without a builder there is nothing to hand over to.
func runThatRemovesTheBuilder(t *testing.T, b *appBuild) {
	b.step("RUN rm -rf /cnb/lifecycle")
	b.fail(b.extender("build"), 102, "handing over to the builder", "/cnb/lifecycle/builder")
}

// A RUN may take away what the extender itself lives on.
func runThatDestroys(t *testing.T, b *appBuild) {
	b.step("RUN rm -rf /cnb/lifecycle /etc/passwd /etc/group /etc/ssl", "RUN echo still >/srv/there")
	if files := b.extendRun(); files["srv/there"] != "still\n" {
		t.Errorf("the image holds %q", files)
	}
}

// begin starts the extender on a RUN that never ends, and returns when it runs.
func (b *appBuild) begin() (extender *exec.Cmd, name, mark string) {
	b.t.Helper()
	mark = uniqueSeconds()
	name = "graft-test-" + mark
	b.step("RUN echo one >/srv/one", "RUN sleep "+mark)
	b.options = append(b.options, "--name", name)
	extender = b.extender("run")
	check(b.t, extender.Start())
	b.t.Cleanup(func() { endProcesses(b.t, name) })
	eventually(b.t, "the RUN runs", func() bool { return len(processesWith(b.t, "sleep\x00"+mark)) > 0 })
	return extender, name, mark
}

// ended waits for the extender that was begun, and for what it has started.
func (b *appBuild) ended(extender *exec.Cmd, mark string) (code int) {
	b.t.Helper()
	await(b.t, extender)
	nothingLeft(b.t, "the RUN's processes", func() []string { return processesWith(b.t, "sleep\x00"+mark) })
	b.noResult()
	b.options = b.options[:len(b.options)-2]
	return extender.ProcessState.ExitCode()
}

func toldToEnd(t *testing.T, b *appBuild) {
	extender, name, mark := b.begin()
	b.docker.docker(t, "kill", "--signal", "TERM", name)
	if code := b.ended(extender, mark); code != 143 {
		t.Errorf("an extender that was told to end has exit code %d", code)
	}
}

// After kill -9 a new container goes on with the same cache.
func killedInContainer(t *testing.T, b *appBuild) {
	extender, name, mark := b.begin()
	b.docker.docker(t, "kill", name)
	if code := b.ended(extender, mark); code != 128+int(syscall.SIGKILL) {
		t.Errorf("an extender that was killed has exit code %d", code)
	}
	b.step("RUN echo one >/srv/one", "RUN echo two >/srv/two")
	if files := b.extendRun(); files["srv/one"] != "one\n" || files["srv/two"] != "two\n" {
		t.Errorf("after a kill the image holds %q", files)
	}
}

// A cache of which every file is cut short is no obstacle.
func damagedCache(t *testing.T, b *appBuild) {
	spoilCache(t, b, func(path string, size int64) error { return os.Truncate(path, size/2) })
}

// Nor is one whose blobs hold something else: what is in the image then is what the
// Dockerfile says.
func poisonedCache(t *testing.T, b *appBuild) {
	spoilCache(t, b, func(path string, size int64) error {
		if !strings.Contains(path, "/blobs/") {
			return nil
		}
		return os.WriteFile(path, bytes.Repeat([]byte("x"), int(size)), 0o600)
	})
}

func spoilCache(t *testing.T, b *appBuild, spoil func(path string, size int64) error) {
	b.step("RUN echo one >/srv/one")
	b.extendRun()
	spoilt := 0
	check(t, filepath.WalkDir(filepath.Join(b.kaniko, "cache/graft"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		spoilt++
		return spoil(path, info.Size())
	}))
	if spoilt == 0 {
		t.Error("there is no cache to spoil")
	}
	if files := b.extendRun(); files["srv/one"] != "one\n" {
		t.Errorf("with a cache that was spoilt the image holds %q", files)
	}
}

// A disk that fills up is named as what it is, whichever it is.
func fullResult(t *testing.T, b *appBuild) {
	fullDisk(t, b, "--mount", "type=tmpfs,tmpfs-size=30m,destination=/layers/extended")
}

func fullCache(t *testing.T, b *appBuild) {
	fullDisk(t, b, "--mount", "type=tmpfs,tmpfs-size=30m,destination=/full", "--env", "CNB_KANIKO_DIR=/full")
}

// fullDisk extends the run image where there is not enough room, and where there is.
func fullDisk(t *testing.T, b *appBuild, small ...string) {
	b.step("RUN head -c 60000000 /dev/urandom >/srv/large")
	roomy := b.options
	b.options = slices.Concat(roomy, small)
	b.fail(b.extender("run"), 102, "no space left on device")
	b.options = roomy
	if files := b.extendRun(); len(files["srv/large"]) != 60000000 {
		t.Errorf("with room for it the image holds %d bytes", len(files["srv/large"]))
	}
}
