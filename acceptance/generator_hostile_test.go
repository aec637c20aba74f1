package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// hostile is an extension that generates what nobody should have to read. The
// script begins with a good build.Dockerfile in the output, $1, and in there.
type hostile struct {
	name, script string
	// refusal is what the one line of the error matches after the extension's id;
	// empty for what is handled.
	refusal string
}

var hostileSet = []hostile{
	{"Dockerfile of 2 GB", `truncate -s 2G build.Dockerfile`, `build\.Dockerfile: is larger than the limit of \d+ bytes$`},
	{"extend-config.toml of 1 GB", `truncate -s 1G extend-config.toml`, `extend-config\.toml: is larger than the limit of \d+ bytes$`},
	{"Dockerfile of many lines", `yes 'RUN a' | head -c 1000000 >>build.Dockerfile`, `build\.Dockerfile: has \d+ lines, and the limit is \d+$`},
	{"Dockerfile of wrong lines", `yes USER | head -n 19000 >>build.Dockerfile`, `build\.Dockerfile:3: `},
	{"as many lines as may be", `yes 'RUN a' | head -n 19000 >>build.Dockerfile`, ""},
	{"long heredoc", `{ echo 'RUN <<A'; yes 1234567890123456789012345678901234567890 | head -c 700000; echo; echo A; } >>build.Dockerfile`, ""},
	{"deep arrays", `{ printf 'a='; yes '[' | tr -d '\n' | head -c 1000000; } >extend-config.toml`, `extend-config\.toml:1: it is nested more than \d+ levels deep$`},
	{"deep tables", `{ printf 'a='; yes '{a=' | tr -d '\n' | head -c 900000; } >extend-config.toml`, `extend-config\.toml:1: it is nested`},
	{"long key", `{ printf '\na'; yes '.a' | tr -d '\n' | head -c 900000; echo '=1'; } >extend-config.toml`, `extend-config\.toml:2: it is nested`},
	{"brackets in strings", `{ printf '[[build.args]]\nname = "a"\nvalue = "'; yes '[.{' | tr -d '\n' | head -c 90000; echo '\""'; } >extend-config.toml`, ""},
	{"socket as Dockerfile", `rm build.Dockerfile; ` + socketAt("build.Dockerfile"), `build\.Dockerfile: is not a regular file$`},
	{"socket in a context", `mkdir context; ` + socketAt("context/s"), `context: context/s is neither a file nor a directory nor a link$`},
	{"link chain out", `mkdir context; cd context; p=z; for i in $(seq 30); do ln -s $p l$i; p=l$i; done; ln -s ../.. z`,
		`context: context/l\d+ is a link to \S+, which cannot be followed within the output`},
	{"endless link chain", `mkdir context; ln -s b context/a; ln -s a context/b`, `context: context/a is a link to b, which cannot be followed`},
	{"link to the parent of the app", `mkdir context; ln -s "$(dirname "$PWD_OF_APP")" context/link`, `context: context/link is a link to \S+, which is outside of the output$`},
	{"name that looks like a message", `mkdir context; ln -s /etc "$(printf 'context/a\nERROR: b\033[31m\377')"`,
		`context: "context/a\\nERROR: b\\x1b\[31m\\xff" is a link to /etc, which is outside`},
	{"tree that is too deep", deep(1600), `context: context/d/d/\S+/d/d has a name of more than \d+ bytes`},
	{"unreadable directory", `mkdir -p context/d/e; chmod 0 context/d`, `context: context/d cannot be copied: permission denied$`},
	{"unreadable file", `mkdir context; : >context/f; chmod 0 context/f`, `context: context/f cannot be copied: permission denied$`},
	{"tree of 1000 levels", deep(1000), ""},
	{"100,000 files", `mkdir context; perl -e 'for (0..1) { open(F, ">", "context/a$_") or die } for (3..100000) { link("context/a".($_ % 2), "context/f$_") or die }'`, ""},
	{"odd names", `mkdir context; perl -e 'for (1..46, 48..255) { open(F, ">", "context/..".chr($_).".") or die } mkdir "context/\xff\n"; symlink "\xfe", "context/\xff\n/\xfd" or die'`, ""},
	{"directories that cannot be removed", `mkdir -p a/b/c; chmod 0 a/b/c a/b a`, ""},
	{"names that only look like a way out", `mkdir -p context/...; : >context/..x; ln -s ..x context/link; ln -s .../../..x context/...link; ln -s . context/here`, ""},
}

// socketAt makes a socket.
func socketAt(path string) string {
	return `perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0) && bind(S, pack_sockaddr_un($ARGV[0])) or die "socket: $!"' ` + path
}

// deep makes a build context of directories in directories.
func deep(levels int) string {
	return fmt.Sprintf(`mkdir context; perl -e 'chdir "context"; for (1..%d) { mkdir "d"; chdir "d" or die }'`, levels)
}

// listContext lists the build context in the working directory, to the byte.
const listContext = `find context -printf '%y %p %l\0'`

// listing is where the extension lists its build context.
func (g *generation) listing() string { return filepath.Join(g.home, "listing") }

// checkContext checks that the context is what the extension had made.
func (g *generation) checkContext(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(g.generated("context")); os.IsNotExist(err) {
		return
	}
	c := exec.Command("sh", "-c", listContext)
	c.Dir = g.generated("")
	listed, err := c.Output()
	check(t, err)
	wanted, err := os.ReadFile(g.listing())
	check(t, err)
	want, got := strings.Split(string(wanted), "\x00"), strings.Split(string(listed), "\x00")
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 2 || !slices.Equal(want, got) {
		t.Errorf("the context has %d entries and not the %d that it had", len(got), len(want))
	}
}

// checkDetectorGivesTheSame lets the detector generate by itself, after the
// generator, and compares all that the two wrote.
func (g *generation) checkDetectorGivesTheSame(t *testing.T) {
	t.Helper()
	before := fileTree(t, g.path("layers"))
	check(t, os.RemoveAll(g.path("layers/generated")))
	requireCode(t, finish(t, g.command("detector")), 0)
	compareTrees(t, "the generator", before, "the detector", fileTree(t, g.path("layers")))
}

// maxMemory bounds what generation may take whatever an extension generates, in
// kilobytes.
const maxMemory = 150_000

// Output is untrusted: what cannot be accepted is refused with one line that
// names extension and path, what can be is copied as it is, and both take little
// memory and leave no temporary file.
func TestHostileOutput(t *testing.T) {
	needProgram(t, "perl", "perl-base")
	for _, h := range hostileSet {
		t.Run(h.name, func(t *testing.T) {
			t.Parallel()
			g := newGeneration(t, protections[0], true, "")
			g.write("extensions/evil/1/bin/generate", fmt.Sprintf("#!/bin/sh\nPWD_OF_APP=$PWD; cd \"$1\"\n"+writeDockerfile+
				"( %s )\n[ ! -d context ] || %s >%s 2>/dev/null || :\n", h.script, listContext, g.listing()))
			g.detect("generator")
			c := g.command("generator")
			peak := measured(t, c)
			o := finish(t, c)
			if memory := peak(); memory > maxMemory {
				t.Errorf("generation took %d kB of memory", memory)
			}
			if files, err := os.ReadDir(g.path("tmp")); err != nil || len(files) > 0 {
				t.Errorf("temporary files are left: %v, %v", files, err)
			}
			if h.refusal == "" {
				requireCode(t, o, 0)
				g.checkContext(t)
				g.checkDetectorGivesTheSame(t)
				return
			}
			requireCode(t, o, 92, `^ERROR: extension evil: `+h.refusal)
			if n := len(regexp.MustCompile(`(?m)^ERROR: extension`).FindAllString(o.stderr, -1)); n != 1 {
				t.Errorf("want one line of error, got %v", o)
			}
			if _, err := os.Stat(g.path("layers/generated")); err == nil {
				t.Error("something was generated")
			}
		})
	}
}
