package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// buildID is the user that modules run as where the programs are started as root.
const buildID = 12345

// benchGenerator measures what protecting the app costs where the app is large.
func benchGenerator(programs string, pairs int) error {
	generator, err := filepath.Abs(filepath.Join(programs, "generator"))
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		fmt.Println("generator, app of 50,000 files: not measured, since only root can choose how the app is protected")
		return nil
	}
	// Landlock needs an app beside which modules need not write.
	dir, err := os.MkdirTemp("/var/lib", "graft-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := generation{dir: dir, generator: generator}
	if err := s.prepare(); err != nil {
		return err
	}
	for _, way := range []protection{
		{name: "a read-only bind mount", want: "; want at most 20 ms"},
		{name: "a read-only bind mount in a user namespace", want: "; want at most 20 ms", noAdmin: true},
		{name: "Landlock", want: "; want at most 20 ms", noNamespaces: true},
		{name: "comparison before and after", noNamespaces: true, beside: true},
	} {
		if err := s.check(way); err != nil {
			return err
		}
		differences, ratios, err := contrast(pairs, s.command("large", way), s.command("small", way))
		if err != nil {
			return err
		}
		fmt.Printf("%-80s %5.2f  (quartiles %.2f to %.2f), which is %+.1f ms (quartiles %+.1f to %+.1f%s)\n",
			"generator, app of 50,000 files / of 10 files, by "+way.name,
			ratios[len(ratios)/2], ratios[len(ratios)/4], ratios[len(ratios)*3/4],
			ms(differences[len(differences)/2]), ms(differences[len(differences)/4]), ms(differences[len(differences)*3/4]), way.want)
	}
	return nil
}

// protection is a way to protect the app, by what the programs are kept from.
type protection struct {
	name, want string
	// noAdmin keeps root from making mount namespaces of its own, and noNamespaces
	// everybody from making any.
	noAdmin, noNamespaces bool
	// beside lets temporary files lie beside the app, which Landlock cannot allow.
	beside bool
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// contrast runs two commands in turn and gives the differences and the ratios of
// their times, sorted.
func contrast(pairs int, a, b func() *exec.Cmd) (differences []time.Duration, ratios []float64, err error) {
	for i := range pairs + 1 {
		timeA, err := measure(a())
		if err != nil {
			return nil, nil, err
		}
		timeB, err := measure(b())
		if err != nil {
			return nil, nil, err
		}
		if i > 0 { // the first pair warms the caches
			differences = append(differences, timeA-timeB)
			ratios = append(ratios, float64(timeA)/float64(timeB))
		}
	}
	slices.Sort(differences)
	slices.Sort(ratios)
	return differences, ratios, nil
}

// generation is a group with one trivial extension, a large and a small app.
type generation struct{ dir, generator string }

func (s generation) prepare() error {
	module := "id = \"a\"\nversion = \"1\"\n"
	for name, content := range map[string]string{
		"layers/group.toml":             "[[group]]\nid = \"bp\"\nversion = \"1\"\n[[group-extensions]]\n" + module,
		"layers/plan.toml":              "",
		"layers/analyzed.toml":          "",
		"run.toml":                      "",
		"extensions/a/1/extension.toml": "api = \"0.10\"\n[extension]\n" + module,
		"extensions/a/1/bin/generate":   "#!/bin/sh\nexit 0\n",
	} {
		path := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			return err
		}
	}
	for app, files := range map[string]int{"large": 50_000, "small": 10} {
		for i := range files {
			dir := filepath.Join(s.dir, app, strconv.Itoa(i/100))
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// command is the generator on an app that is protected in that way.
func (s generation) command(app string, way protection) func() *exec.Cmd {
	return func() *exec.Cmd {
		id := strconv.Itoa(buildID)
		args := []string{
			s.generator, "-app", app, "-layers", "layers", "-extensions", "extensions", "-run", "run.toml",
			"-uid", id, "-gid", id, "-log-level", "debug",
		}
		temp := "/tmp"
		if way.beside {
			temp = s.dir
		}
		if way.noAdmin {
			args = append([]string{"setpriv", "--bounding-set=-sys_admin"}, args...)
		}
		if way.noNamespaces {
			args = append([]string{"/bin/sh", "-ec",
				`echo 0 >/proc/sys/user/max_user_namespaces; echo 0 >/proc/sys/user/max_mnt_namespaces; exec "$@"`, "sh"}, args...)
		}
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = s.dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CNB_PLATFORM_API=0.13", "TMPDIR=" + temp}
		if way.noNamespaces {
			same := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1 << 16}}
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags: syscall.CLONE_NEWUSER, UidMappings: same, GidMappings: same, GidMappingsEnableSetgroups: true,
			}
		}
		return cmd
	}
}

// check makes sure that the app is protected in the way that is to be measured.
func (s generation) check(way protection) error {
	mode := os.FileMode(0o755)
	if way.beside {
		mode = 0o777
	}
	if err := os.Chmod(s.dir, mode); err != nil {
		return err
	}
	out, err := s.command("small", way)().CombinedOutput()
	if err != nil {
		return fmt.Errorf("generator: %w\n%s", err, out)
	}
	if !strings.Contains(string(out), "is protected by "+way.name+"\n") {
		return fmt.Errorf("the app is not protected by %s here:\n%s", way.name, out)
	}
	return nil
}
