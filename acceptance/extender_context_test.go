package acceptance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
)

// What is called like a context and is none was passed over, and the application copied
// instead.
func TestContextThatIsAFile(t *testing.T) {
	for _, name := range []string{"context", "context.run"} {
		s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
		s.step("acme/one", "COPY . /copied/", "USER 7")
		s.write("layers/generated/acme_one/"+name, "a file")
		failAlone(t, s, 102, "extension acme/one", s.path("layers/generated/acme_one/"+name)+" is no directory")
	}
}

// A link in a context leads to nothing outside of it, however it is read.
func TestContextIsNotLeft(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		for name, c := range map[string]struct {
			line  string
			works bool
		}{
			"as a link":      {"COPY . /copied/", true},
			"followed":       {"COPY escape /copied/", false},
			"through a link": {"COPY out/marker /copied/", false},
			"upwards":        {"COPY ../../../../marker /copied/", false},
			"mounted":        {"RUN --mount=type=bind,target=/mnt cat /mnt/escape >/tmp/x", false},
			"mounted above":  {"RUN --mount=type=bind,source=../../..,target=/mnt cat /mnt/marker >/tmp/x", false},
		} {
			t.Run(name, func(t *testing.T) {
				s := newScene(t, "run", "oci:"+base, e)
				s.step("one", c.line, "USER 7")
				s.write("marker", "of the extender's machine")
				s.write("layers/generated/one/context/file", "of the context")
				check(t, os.Symlink(s.path("marker"), s.path("layers/generated/one/context/escape")))
				check(t, os.Symlink(s.dir, s.path("layers/generated/one/context/out")))
				o := s.run()
				if works := o.code == 0; works != c.works {
					t.Errorf("it works: %v, wanted %v: %v", works, c.works, o)
				}
				if strings.Contains(o.String(), "of the extender's machine") {
					t.Errorf("the log has the file: %v", o)
				}
				if o.code != 0 {
					return
				}
				for name, content := range s.files(openLayout(t, base)) {
					if strings.Contains(content, "of the extender's machine") {
						t.Errorf("%s is a file of the machine", name)
					}
				}
			})
		}
	})
}

// context.<kind> goes before context, and that before the application
// (image_extension.md, "Context Folders").
func TestWhichContext(t *testing.T) {
	base := smallBase(t, nil)
	s := newScene(t, "run", "oci:"+base, embedded(t))
	s.write("app/file", "app")
	for _, id := range []string{"none", "own", "kind"} {
		s.step(id, "COPY file /"+id, "USER 7")
	}
	s.write("layers/generated/own/context/file", "context")
	s.write("layers/generated/own/context.build/file", "context.build")
	s.write("layers/generated/kind/context.run/file", "context.run")
	s.succeed()
	files := s.files(openLayout(t, base))
	if files["none"] != "app" || files["own"] != "context" || files["kind"] != "context.run" {
		t.Errorf("none, own and kind are %q, %q and %q", files["none"], files["own"], files["kind"])
	}
}

// .dockerignore of the context counts for COPY and for a bind mount.
func TestDockerignore(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		s.step("one", "COPY . /copied", "RUN --mount=type=bind,target=/mnt ls /mnt >/tmp/ls", "USER 7")
		for name, content := range map[string]string{
			".dockerignore": "# comment\n*\n!kept\n!dir/kept\ndir/kept/not\n", "kept": "", "dropped": "",
			"dir/kept/file": "", "dir/kept/not": "", "dir/dropped": "",
		} {
			s.write("app/"+name, content)
		}
		s.succeed()
		files := s.files(openLayout(t, base))
		for name, wanted := range map[string]bool{
			"copied/kept": true, "copied/dropped": false, "copied/dir/kept/file": true, "copied/dir/kept/not": false, "copied/dir/dropped": false,
		} {
			if _, ok := files[name]; ok != wanted {
				t.Errorf("%s is there: %v, wanted %v", name, ok, wanted)
			}
		}
		if got := files["tmp/ls"]; got != "dir\nkept\n" {
			t.Errorf("the bind mount shows %q", got)
		}
	})
}

// Applications hold files that are no regular ones; those must not hold up a build.
func TestSpecialFilesInContext(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		s.step("one", "COPY . /copied", "USER 7")
		s.write("app/file", "content")
		s.write("app/a name\nof two lines", "content")
		check(t, syscall.Mkfifo(s.path("app/fifo"), 0o644))
		o := s.succeed()
		files := s.files(openLayout(t, base))
		if files["copied/file"] != "content" || files["copied/a name\nof two lines"] != "content" {
			t.Errorf("the layers hold %v: %v", files, o)
		}
	})
}

// COPY --from, and a mount, of another image: from a registry that wants a
// password.
func TestCopyFromAnotherImage(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		r := newRegistry(t, (*httptest.Server).Start)
		base := smallBase(t, nil)
		other := r.push(t, "other:tag", scriptBase(t, nil))
		s := newScene(t, "run", "oci:"+base, e)
		s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
		s.step("one", "COPY --from="+other+" /etc/passwd /copied", "USER root",
			"RUN --mount=type=bind,from="+other+",target=/mnt cat /mnt/etc/passwd >/mounted", "USER 7")
		s.succeed()
		files := s.files(openLayout(t, base))
		want := "root:x:0:0::/root:/bin/sh\ncnb:x:1001:1000::/:/bin/sh\n"
		if files["copied"] != want || files["mounted"] != want {
			t.Errorf("copied %q, mounted %q", files["copied"], files["mounted"])
		}
	})
}

// ADD of a URL.
func TestAddURL(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "from the web")
		}))
		t.Cleanup(server.Close)
		base := smallBase(t, nil)
		s := newScene(t, "run", "oci:"+base, e)
		s.step("one", "ADD --chmod=640 "+server.URL+"/file /added", "USER 7")
		s.succeed()
		if got := s.files(openLayout(t, base))["added"]; got != "from the web" {
			t.Errorf("the file is %q", got)
		}
	})
}
