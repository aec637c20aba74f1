package acceptance

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// -output oci-archive:FILE is the layout of -output oci:DIR as a tar file, which
// can be a base in its turn; the same image gives the same bytes.
func TestArchiveOutput(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		s.step("one", "RUN echo one >/tmp/one", "RUN true", "RUN true", "USER 7")
		archive := s.path("out/whole.tar")
		s.succeed("-output", "oci:"+s.path("whole"), "-output", "oci-archive:"+archive)
		unpacked := unpackTar(t, archive)
		validateImage(t, openLayout(t, unpacked))
		compareTrees(t, "oci:", contentTree(t, s.path("whole")), "oci-archive:", contentTree(t, unpacked))
		checkModes(t, s.path("out"))
		first := mustDigest(t, archive)
		s.succeed("-output", "oci-archive:"+archive)
		if again := mustDigest(t, archive); again != first {
			t.Errorf("the file was %s, and is %s", first, again)
		}

		next := newScene(t, "run", "oci-archive:"+archive, e)
		next.step("two", "RUN test -e /tmp/one && touch /tmp/two", "USER 7")
		next.succeed()
		checkLayers(t, next, openLayout(t, unpacked), 1)
	})
}

func unpackTar(t *testing.T, archive string) string {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("tar", "-xf", archive, "-C", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// contentTree is the content of every file by its path.
func contentTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	lines, err := describe(dir)
	check(t, err)
	tree := map[string]string{}
	for _, line := range lines {
		tree[line] = "there"
	}
	return tree
}

// A run that fails leaves the file that was there, and nothing beside it.
func TestFailedRunKeepsTheArchive(t *testing.T) {
	s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
	s.step("one", "ENV ONE=1", "USER 7")
	s.write("out/whole.tar", "of an earlier run")
	before := fileTree(t, s.path("out"))
	s.env["CNB_OUTPUT"] = "oci-archive:" + s.path("out/whole.tar") + ",registry:127.0.0.1:1/nobody/listens:here"
	s.fail(102, "push to 127.0.0.1:1/nobody/listens:here")
	compareTrees(t, "before", before, "after", fileTree(t, s.path("out")))

	s.env["CNB_OUTPUT"] = "oci-archive:" + filepath.Dir(s.path("out/whole.tar"))
	s.fail(102, "no regular file")
	s.env["CNB_OUTPUT"] = "oci-archive:"
	s.fail(3, "oci-archive:FILE")
	if _, err := os.Stat(s.path("layers/extended/run")); err == nil {
		t.Error("there is a result")
	}
}
