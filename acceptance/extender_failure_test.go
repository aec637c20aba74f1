package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// failing is a scene with an earlier result that has to be left alone.
func failing(t *testing.T, s *scene) *scene {
	t.Helper()
	s.write("layers/extended/run/sha256:earlier/result", "of an earlier run")
	s.write("layers/whole/result", "of an earlier run")
	return s
}

// failAlone runs a scene that has to fail, and demands that it leaves everything
// as it was.
func failAlone(t *testing.T, s *scene, code int, texts ...string) outcome {
	t.Helper()
	before := s.listing()
	o := s.fail(code, texts...)
	compareTrees(t, "before", before, "after", s.listing())
	return o
}

// A RUN that fails is told with extension, file, line and what the command said
// last, whoever ran it.
func TestRunThatFails(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := failing(t, newScene(t, "run", "oci:"+smallBase(t, nil), e))
		s.step("fine", "USER root", "RUN echo fine")
		s.step("acme/bad", "# a comment", "RUN echo on stdout; echo on stderr >&2; \\", "    exit 42", "USER 7")
		o := failAlone(t, s, 102, "acme/bad", s.path("layers/generated/acme_bad/run.Dockerfile")+":4", "exit code 42",
			"on stdout", "on stderr", "RUN echo on stdout; echo on stderr", "^^^")
		if strings.Contains(o.stderr, "echo fine") {
			t.Errorf("the error names a command that did not fail: %v", o)
		}
		s.env["CNB_PROGRESS"] = "quiet" // what the command said must not depend on what was shown
		failAlone(t, s, 102, "acme/bad", "on stderr")
	})
}

// A COPY of what is not there is told in the same way.
func TestCopyOfNothing(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		s := failing(t, newScene(t, "run", "oci:"+smallBase(t, nil), e))
		s.step("one", "COPY missing-file /", "USER 7")
		failAlone(t, s, 102, "extension one", "run.Dockerfile:3", "COPY missing-file /", "missing-file")
	})
}

// A run image that ends as root is refused before an engine is looked for
// (image_extension.md, "Phase: Extension").
func TestRunImageThatEndsAsRoot(t *testing.T) {
	for _, user := range []string{"root", "0", "0:0", "root:1000", "0:1000", "00", "+0", "-0", "000:7"} {
		t.Run("USER "+user, func(t *testing.T) {
			s := failing(t, newScene(t, "run", "oci:"+smallBase(t, nil), engine{}))
			s.step("one", "RUN touch /x")
			s.step("two", "USER "+user)
			failAlone(t, s, 102, "extension two", "run.Dockerfile:3", "root", "USER "+user, "^^^")
		})
		t.Run("base "+user, func(t *testing.T) {
			base := smallBase(t, func(config *v1.Config) { config.User = user })
			s := failing(t, newScene(t, "run", "oci:"+base, engine{}))
			s.step("one", "RUN touch /x")
			failAlone(t, s, 102, "root", "USER")
		})
	}
	// What the Dockerfile language makes of these is root, too; and a number of more
	// than 32 bits has been root's in runtimes that cut it off.
	for _, user := range []string{`"0"`, `'root'`, "${nothing:-0}", ":5", "4294967296"} {
		t.Run("USER "+user, func(t *testing.T) {
			s := failing(t, newScene(t, "run", "oci:"+smallBase(t, nil), engine{}))
			s.step("one", "USER "+user)
			failAlone(t, s, 102, "extension one", "run.Dockerfile:3", "USER "+user)
		})
	}
	t.Run("no user", func(t *testing.T) {
		base := smallBase(t, func(config *v1.Config) { config.User = "" })
		s := failing(t, newScene(t, "run", "oci:"+base, engine{}))
		s.step("one", "RUN touch /x")
		failAlone(t, s, 102, "root")
	})
	t.Run("by user_id", func(t *testing.T) {
		base := smallBase(t, func(config *v1.Config) { config.User = "root" })
		s := failing(t, newScene(t, "run", "oci:"+base, engine{}))
		s.step("one", "ARG user_id", "USER ${user_id}")
		failAlone(t, s, 102, "extension one", "run.Dockerfile:4")
	})
	t.Run("root in between", func(t *testing.T) {
		s := newScene(t, "run", "oci:"+smallBase(t, nil), embedded(t))
		s.step("one", "USER root", "RUN touch /x", "USER 7")
		s.succeed()
	})
}

// Another name is looked up in the result: root may have many names.
func TestRunImageThatEndsAsAnotherName(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := "oci:" + smallBase(t, nil)
		s := failing(t, newScene(t, "run", base, e))
		s.step("one", "USER root", "RUN echo toor:x:0:0::/:/bin/sh >>/etc/passwd", "USER toor")
		failAlone(t, s, 102, "extension one", "run.Dockerfile:5", "toor")

		s = failing(t, newScene(t, "run", base, e))
		s.step("one", "USER nobody-knows")
		failAlone(t, s, 102, "extension one", "nobody-knows")

		s = newScene(t, "run", base, e)
		s.step("one", "USER root", "RUN echo new:x:77:77::/:/bin/sh >>/etc/passwd", "USER new")
		s.succeed()
	})
}

// Without runc there is no embedded engine: 103, and the program that is missing.
func TestNoRunc(t *testing.T) {
	need(t, os.Geteuid() == 0, "root")
	s := failing(t, newScene(t, "run", "oci:"+smallBase(t, nil), engine{state: filepath.Join(t.TempDir(), "state")}))
	s.step("one", "RUN true", "USER 7")
	s.env["PATH"] = s.path("home")
	o := failAlone(t, s, 103, "runc")
	for _, fine := range []string{"newuidmap", "CAP_SYS_ADMIN", "subuid", "state directory"} {
		if strings.Contains(o.stderr, fine) {
			t.Errorf("%s is not missing: %v", fine, o)
		}
	}
}

// An ordinary user is told of everything that is missing at once.
func TestOrdinaryUserWithoutAnything(t *testing.T) {
	need(t, os.Geteuid() == 0, "root, to become somebody else")
	base := filepath.Join(t.TempDir(), "base")
	writeLayout(t, base, smallImage(t, nil))
	state := filepath.Join(t.TempDir(), "state")
	check(t, os.Mkdir(state, 0o700))
	s := newScene(t, "run", "oci:"+base, engine{state: state})
	s.step("one", "RUN true", "USER 7")
	s.env["PATH"] = s.path("home")
	const nobody = 65432 // an id that no account has, and so no subordinate ids
	for _, dir := range []string{base, state, s.dir} {
		giveTo(t, dir, nobody, nobody)
	}
	c := s.command()
	c.SysProcAttr = asUser(nobody, nobody)
	o := finish(t, c)
	if o.code != 103 {
		t.Errorf("wanted exit code 103: %v", o)
	}
	for _, missing := range []string{"runc", "newuidmap", "newgidmap", "/etc/subuid", "/etc/subgid"} {
		if !strings.Contains(o.stderr, missing) {
			t.Errorf("%s is missing and not named: %v", missing, o)
		}
	}
}

// A daemon that is not there: 103, and its address.
func TestNoDaemon(t *testing.T) {
	for _, address := range []string{"unix:///nonexistent/buildkitd.sock", "tcp://127.0.0.1:1", "nonsense"} {
		t.Run(address, func(t *testing.T) {
			s := failing(t, newScene(t, "run", "oci:"+smallBase(t, nil), engine{address: address}))
			s.step("one", "RUN true", "USER 7")
			failAlone(t, s, 103, address)
		})
	}
}

// A state directory that cannot be made is no place for an engine.
func TestStateDirectoryThatIsAFile(t *testing.T) {
	needProgram(t, "runc", "runc")
	state := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(state, nil, 0o644))
	s := failing(t, newScene(t, "run", "oci:"+smallBase(t, nil), engine{state: state}))
	s.step("one", "RUN true", "USER 7")
	failAlone(t, s, 103, state)
}

// A place for the image that cannot be understood is bad usage.
func TestOutputThatIsNone(t *testing.T) {
	for _, output := range []string{"nowhere", "oci:", "registry:UPPER CASE"} {
		t.Run(output, func(t *testing.T) {
			s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
			s.env["CNB_OUTPUT"] = output
			s.fail(3, "CNB_OUTPUT")
			delete(s.env, "CNB_OUTPUT")
			s.args = append(s.args, "-output", output)
			s.fail(3, "-output")
		})
	}
}
