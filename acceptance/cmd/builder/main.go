// Command builder stands for the builder of a platform's builder image, which goes on in
// a container whose root filesystem is that of an extended build image. It records what
// it was given in <layers>/builder.json, and lets the application's build.sh, if there is
// one, say how it ends.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// record is what a process knows of itself.
type record struct {
	Args        []string
	Dir         string
	Environment []string
	UID, GID    int
	Groups      []int
	// Status are the fields of /proc/self/status that tell of privileges, and the umask.
	Status map[string]string
	PID    int
	// Files is what is open, by descriptor.
	Files map[string]string
	// Started is when its first instructions ran.
	Started time.Time
}

func main() {
	code, err := build(time.Now())
	if err != nil {
		fmt.Fprintln(os.Stderr, "builder:", err)
		code = 1
	}
	os.Exit(code)
}

func build(started time.Time) (int, error) {
	r := record{Started: started, Args: os.Args, Environment: os.Environ(), UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid()}
	var err error
	if r.Dir, err = os.Getwd(); err != nil {
		return 0, err
	}
	if r.Groups, err = os.Getgroups(); err != nil {
		return 0, err
	}
	if r.Status, err = status(); err != nil {
		return 0, err
	}
	if r.Files, err = files(); err != nil {
		return 0, err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("CNB_LAYERS_DIR"), "builder.json"), text, 0o644); err != nil {
		return 0, err
	}
	script := filepath.Join(os.Getenv("CNB_APP_DIR"), "build.sh")
	if _, err := os.Stat(script); err != nil {
		return 0, nil
	}
	return run(script)
}

// status reads what the kernel says of this process's privileges.
func status() (map[string]string, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fields := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if strings.HasPrefix(name, "Cap") || name == "Uid" || name == "Gid" || name == "NoNewPrivs" || name == "Umask" {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields, lines.Err()
}

// files lists what is open, but for the directory that tells.
func files() (map[string]string, error) {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	open := map[string]string{}
	for _, entry := range entries {
		if to, err := os.Readlink(filepath.Join(dir, entry.Name())); err == nil {
			open[entry.Name()] = to
		}
	}
	return open, err
}

// run runs a script and returns its exit code. A signal goes on to it.
func run(script string) (int, error) {
	c := exec.Command("/bin/sh", script)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	if err := c.Start(); err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			_ = c.Process.Signal(s) // it may have ended
		}
	}()
	err := c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}
