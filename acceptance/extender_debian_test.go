package acceptance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// debianScene is a chain of two extensions that does to a Debian image what
// extensions do: packages, contexts, heredocs, links, deletions, modes, users.
func debianScene(t *testing.T, base string, e engine) *scene {
	t.Helper()
	s := newScene(t, "run", "oci:"+base, e)
	s.extension("example/packages", `ARG base_image
FROM ${base_image}
ARG build_id
ARG user_id
ARG group_id
USER root
ENV DEBIAN_FRONTEND=noninteractive GREETING="hello world"
LABEL org.example.greeting="${GREETING}" org.example.one=1
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends hello \
    && rm -rf /var/lib/apt/lists /var/cache/apt/* /var/log/apt /var/log/dpkg.log /var/cache/ldconfig
COPY --chown=33:33 --chmod=640 . /opt/context
WORKDIR /opt/work/dir
RUN <<EOF
set -e
echo "$GREETING for $user_id:$group_id" >greeting
ln greeting ../hard
mkdir -p sub/empty
printf 'a\tb\n' >'sub/a name with spaces'
EOF
RUN echo "$build_id" >/dev/null
USER ${user_id}:${group_id}
`, map[string]string{
		"context/.dockerignore":  "*.log\n!keep.log\nsecret\n**/tmp\n",
		"context/keep.log":       "kept",
		"context/drop.log":       "dropped",
		"context/secret/key":     "dropped",
		"context/dir/tmp/file":   "dropped",
		"context/dir/file":       "kept",
		"context/dir/inner/file": "kept as well",
	})
	check(t, os.Symlink("dir/file", s.path("layers/generated/example_packages/context/link")))
	s.extension("links", `ARG base_image
FROM ${base_image}
USER 0:0
RUN ln /opt/work/hard /opt/work/third && ln -s ../dir/greeting /opt/work/dir/soft && ln -s /nowhere /opt/dangling \
    && rm /usr/share/common-licenses/GPL-3 && rm -rf /opt/work/dir/sub && mkdir /opt/work/dir/sub && echo new >/opt/work/dir/sub/new
RUN cp /bin/true /usr/local/bin/setuid && chown 33:44 /usr/local/bin/setuid && chmod 4755 /usr/local/bin/setuid \
    && mkdir -m 2775 /srv/shared && mkdir -m 1777 /srv/sticky && mkfifo /srv/fifo && chmod 0700 /usr/share/doc/hello
USER cnb
`, nil)
	return s
}

const debianLayers = 7 // that the chain adds

// uuidText finds a build_id in a text.
var uuidText = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// unpacked is a whole image and its file tree.
type unpacked struct {
	name  string
	image v1.Image
	root  string
	tree  map[string]string
}

func unpackLayout(t *testing.T, name, dir string) unpacked {
	t.Helper()
	u := unpacked{name: name, image: openLayout(t, dir)}
	validateImage(t, u.image)
	u.root = unpack(t, u.image)
	u.tree = fileTree(t, u.root)
	return u
}

// sameImage demands the same config (but for digests of layers and what build_id
// touches) and the same file tree of two images.
func sameImage(t *testing.T, a, b unpacked) {
	t.Helper()
	describe := func(u unpacked) (config, history string) {
		file := configOf(t, u.image)
		text, err := json.MarshalIndent(file.Config, "", " ")
		check(t, err)
		for _, h := range file.History {
			history += h.CreatedBy + "\n"
		}
		return string(text), uuidText.ReplaceAllString(history, "<build_id>")
	}
	configA, historyA := describe(a)
	configB, historyB := describe(b)
	if configA != configB {
		t.Errorf("the configs differ:\n%s: %s\n%s: %s", a.name, configA, b.name, configB)
	}
	if historyA != historyB {
		t.Errorf("the histories differ:\n%s: %s\n%s: %s", a.name, historyA, b.name, historyB)
	}
	compareTrees(t, a.name, a.tree, b.name, b.tree)
}

// The embedded engine and a daemon make the same image of a real base.
func TestEnginesAgreeOnDebian(t *testing.T) {
	base := debian(t)
	e := embedded(t)
	s := debianScene(t, base, e)
	s.succeed("-output", "oci:"+s.path("whole"))
	checkLayers(t, s, openLayout(t, base), debianLayers)
	own := unpackLayout(t, e.name, s.path("whole"))
	checkDebian(t, own)

	e = buildkitd(t)
	s = debianScene(t, base, e)
	s.succeed("-output", "oci:"+s.path("whole"))
	checkLayers(t, s, openLayout(t, base), debianLayers)
	sameImage(t, own, unpackLayout(t, e.name, s.path("whole")))
}

// checkDebian looks whether the chain did to the image what its Dockerfiles say.
func checkDebian(t *testing.T, u unpacked) {
	t.Helper()
	for path, want := range map[string]string{
		"opt/context/keep.log":  "-rw-r----- 33:33 ",
		"opt/context/link":      "Lrwxrwxrwx 33:33 -> dir/file",
		"opt/context/dir/inner": "d",
		"opt/work/dir/soft":     "Lrwxrwxrwx 0:0 -> ../dir/greeting",
		"opt/work/hard":         "-rw-r--r-- 0:0 is opt/work/dir/greeting",
		"opt/work/dir/sub/new":  "-rw-r--r-- 0:0 ",
		"usr/local/bin/setuid":  "urwxr-xr-x 33:44 ",
		"srv/shared":            "dgrwxrwxr-x 0:0",
		"srv/sticky":            "dtrwxrwxrwx 0:0",
		"srv/fifo":              "prw-r--r-- 0:0",
		"usr/share/doc/hello":   "drwx------ 0:0",
	} {
		if got := u.tree[path]; !strings.HasPrefix(got, want) {
			t.Errorf("%s is %q, wanted %q", path, got, want)
		}
	}
	for _, path := range []string{
		"opt/work/dir/sub/empty", "opt/work/dir/sub/a name with spaces", "usr/share/common-licenses/GPL-3",
		"opt/context/drop.log", "opt/context/secret", "opt/context/dir/tmp",
	} {
		if got, ok := u.tree[path]; ok {
			t.Errorf("%s is there: %s", path, got)
		}
	}
	greeting, err := os.ReadFile(filepath.Join(u.root, "opt/work/dir/greeting"))
	check(t, err)
	if string(greeting) != "hello world for 1001:1000\n" {
		t.Errorf("the heredoc wrote %q", greeting)
	}
	config := configOf(t, u.image).Config
	if config.User != "cnb" || config.Labels["org.example.greeting"] != "hello world" || config.WorkingDir != "/opt/work/dir" {
		t.Errorf("the config is %+v", config)
	}
	// The package that was asked for runs in the extended image.
	c := exec.Command("/usr/bin/hello")
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: u.root}
	c.Dir = "/"
	if said, err := c.CombinedOutput(); err != nil || string(said) != "Hello, world!\n" {
		t.Errorf("hello says %q (%v)", said, err)
	}
}
