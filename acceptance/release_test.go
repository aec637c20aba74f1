package acceptance

import (
	"archive/tar"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// releaseVersion is the version of the release that tests make.
const releaseVersion = "v0.0.0-test"

// releaseTime is the commit's time in it.
var releaseTime = time.Unix(1700000000, 0)

// released is the directory of the release that tests share, once it is made.
var released struct {
	sync.Once
	dir string
	err error
}

// release makes a release for this machine's architecture, once, and returns the
// directory with its archives.
func release(t *testing.T) string {
	t.Helper()
	for program, pkg := range map[string]string{"make": "make", "gcc": "gcc libc6-dev", "pkg-config": "pkg-config"} {
		needProgram(t, program, pkg)
	}
	need(t, exec.Command("pkg-config", "--exists", "libseccomp").Run() == nil, "libseccomp (Debian: libseccomp-dev)")
	released.Do(func() {
		released.dir = filepath.Join(filepath.Dir(programs), "release")
		released.err = makeRelease(released.dir, runtime.GOARCH)
	})
	check(t, released.err)
	return released.dir
}

// makeRelease runs make release.
func makeRelease(dir, architectures string) error {
	c := exec.Command("make", "--no-print-directory", "release", "VERSION="+releaseVersion, "ARCHITECTURES="+architectures)
	c.Dir = ".."
	c.Env = append(os.Environ(), "DIST="+dir, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", releaseTime.Unix()))
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("make release: %w: %s", err, out)
	}
	return nil
}

func archiveName(arch string) string {
	return "graft-" + releaseVersion + "-linux-" + arch + ".tgz"
}

// releasedPrograms unpacks the release, and returns the directory with the programs.
func releasedPrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	_, contents := readArchive(t, filepath.Join(release(t), archiveName(runtime.GOARCH)))
	for name, content := range contents {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, name), content, 0o755))
	}
	return filepath.Join(dir, "lifecycle")
}

// readArchive returns the entries of an archive by name, and the files' contents.
func readArchive(t *testing.T, path string) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	file, err := os.Open(path)
	check(t, err)
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	check(t, err)
	headers, contents := map[string]*tar.Header{}, map[string][]byte{}
	for r := tar.NewReader(unzipped); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		check(t, err)
		headers[h.Name] = h
		if h.Typeflag == tar.TypeReg {
			contents[h.Name], err = io.ReadAll(r)
			check(t, err)
		}
	}
}

// What a release is made of: the phases, which need nothing of where they are put, and
// nothing that tells when or where they were built.
func TestRelease(t *testing.T) {
	dir := release(t)
	archive := filepath.Join(dir, archiveName(runtime.GOARCH))
	checkArchive(t, archive, runtime.GOARCH)

	sums := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	sums.Dir = dir
	if out, err := sums.CombinedOutput(); err != nil || !strings.Contains(string(out), archiveName(runtime.GOARCH)+": OK") {
		t.Errorf("the checksums: %v: %s", err, out)
	}

	lifecycle := releasedPrograms(t)
	for _, program := range []string{"detector", "generator", "extender"} {
		c := exec.Command(filepath.Join(lifecycle, program), "-version")
		if out, err := c.Output(); err != nil || !strings.Contains(string(out), releaseVersion) {
			t.Errorf("%s -version says %q (%v)", program, out, err)
		}
	}

	again := t.TempDir()
	check(t, makeRelease(again, runtime.GOARCH))
	if got, want := mustDigest(t, filepath.Join(again, archiveName(runtime.GOARCH))), mustDigest(t, archive); got != want {
		t.Errorf("the same commit gave two archives: %s and %s", want, got)
	}
}

// The other architecture is cross compiled; what its extender lacks then is said.
func TestReleaseOfTheOtherArchitecture(t *testing.T) {
	need(t, os.Getenv("GRAFT_REQUIRE_ALL") != "", "some minutes, which only a run that requires everything takes")
	release(t) // what it takes is the same
	other := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	dir := t.TempDir()
	check(t, makeRelease(dir, other))
	checkArchive(t, filepath.Join(dir, archiveName(other)), other)
}

// checkArchive demands the layout of a release, and programs that are static.
func checkArchive(t *testing.T, archive, arch string) {
	t.Helper()
	headers, contents := readArchive(t, archive)
	want := map[string]int64{
		"lifecycle/": 0o755, "lifecycle/LICENSE.graft": 0o644, "lifecycle/NOTICES.graft": 0o644,
		"lifecycle/detector": 0o755, "lifecycle/generator": 0o755, "lifecycle/extender": 0o755,
	}
	if got := slices.Sorted(maps.Keys(headers)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("the archive holds %q", got)
	}
	// The licences of what is linked in ask for it.
	notices := []string{"github.com/moby/buildkit v", "Mozilla Public License"}
	if arch == runtime.GOARCH {
		notices = append(notices, "libseccomp, linked into the extender", "GNU LESSER GENERAL PUBLIC LICENSE")
	}
	for _, text := range notices {
		if !strings.Contains(string(contents["lifecycle/NOTICES.graft"]), text) {
			t.Errorf("the notices do not say %q", text)
		}
	}
	machines := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}
	for name, mode := range want {
		h := headers[name]
		if h == nil {
			continue
		}
		if h.Mode != mode || h.Uid != 0 || h.Gid != 0 || !h.ModTime.Equal(releaseTime) {
			t.Errorf("%s has mode %o, owner %d:%d and time %v", name, h.Mode, h.Uid, h.Gid, h.ModTime)
		}
		if mode != 0o755 || h.Typeflag != tar.TypeReg {
			continue
		}
		program, err := elf.NewFile(strings.NewReader(string(contents[name])))
		check(t, err)
		if program.Machine != machines[arch] {
			t.Errorf("%s is for %v", name, program.Machine)
		}
		for _, segment := range program.Progs {
			if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
				t.Errorf("%s is not static: it has the segment %v", name, segment.Type)
			}
		}
	}
}

// packaging/Dockerfile lays the phases over a builder's. In builders those are links to
// one program, which serves the other phases: it must stay what it is. Pack looks for
// the phases in the last layer.
func TestReleaseOverABuilder(t *testing.T) {
	dist := release(t)
	ctl := newBuildctl(t)
	builder := builderLike(t)
	base := filepath.Join(t.TempDir(), "builder")
	writeLayout(t, base, builder)
	out := filepath.Join(t.TempDir(), "out")
	c := exec.Command(ctl.program, "--addr", ctl.daemon.address, "build", "--frontend", "dockerfile.v0",
		"--local", "dockerfile=../packaging", "--local", "context="+dist,
		"--opt", "build-arg:builder=the-builder",
		"--oci-layout", "layout="+base, "--opt", "context:the-builder=oci-layout://layout@"+digest(t, builder).String(),
		"--output", "type=oci,tar=false,dest="+out)
	if o := finish(t, c); o.code != 0 {
		t.Fatalf("building packaging/Dockerfile: %v", o)
	}

	image := openLayout(t, out)
	old, all := manifestOf(t, builder).Layers, manifestOf(t, image).Layers
	if len(all) != len(old)+1 {
		t.Errorf("%d layers are added to the builder, and not one", len(all)-len(old))
	}
	layers, err := image.Layers()
	check(t, err)
	_, contents := layerEntries(t, layers[len(layers)-1])
	for _, program := range []string{"detector", "generator", "extender"} {
		if contents["cnb/lifecycle/"+program] == "" {
			t.Errorf("the last layer lacks %s", program)
		}
	}
	was, is := configOf(t, builder).Config, configOf(t, image).Config
	if !reflect.DeepEqual(was, is) {
		t.Errorf("the builder's configuration was %+v and is %+v", was, is)
	}
	root := unpack(t, image)
	for _, program := range []string{"detector", "generator", "extender"} {
		c := exec.Command("/cnb/lifecycle/"+program, "-version")
		c.Dir, c.SysProcAttr = "/", &syscall.SysProcAttr{Chroot: root}
		if said, err := c.Output(); err != nil || !strings.Contains(string(said), program+" version "+releaseVersion) {
			t.Errorf("%s -version says %q (%v)", program, said, err)
		}
	}
	if said, err := os.ReadFile(filepath.Join(root, "cnb/lifecycle/analyzer")); err != nil || string(said) != lifecycleProgram {
		t.Errorf("the analyzer is now %q (%v)", said, err)
	}
}

// lifecycleProgram is the content of a builder's own phases.
const lifecycleProgram = "the lifecycle's\n"

// builderLike is an image with phases as builders have them.
func builderLike(t *testing.T) v1.Image {
	t.Helper()
	headers := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "cnb/lifecycle/", Mode: 0o755},
		{Name: "cnb/lifecycle/lifecycle", Mode: 0o755, Size: int64(len(lifecycleProgram))},
	}
	for _, phase := range []string{"analyzer", "detector", "extender"} {
		headers = append(headers, tar.Header{Typeflag: tar.TypeSymlink, Name: "cnb/lifecycle/" + phase, Linkname: "lifecycle", Mode: 0o777})
	}
	return withLayer(t, smallImage(t, nil), tarLayer(t, headers, map[string]string{"cnb/lifecycle/lifecycle": lifecycleProgram}))
}
