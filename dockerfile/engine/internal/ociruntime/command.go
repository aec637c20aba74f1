//go:build linux && cgo && seccomp

package ociruntime

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// command is one call of the runtime.
type command struct {
	root      string // where containers are noted
	logFile   string
	logFormat string
	debug     bool

	name    string // run, exec, kill, delete or state
	id      string // the container
	bundle  string
	pidFile string
	process string // the file with the process to execute
	signal  unix.Signal
	keep    bool
	noPivot bool
	force   bool
}

// parse reads a command line. What it does not know is an error, and not passed over:
// an option that is ignored would be a promise that is not kept.
func parse(args []string) (c command, err error) {
	c.name = Name
	global := newFlags(Name)
	global.StringVar(&c.root, "root", defaultRoot(), "")
	global.StringVar(&c.logFile, "log", "", "")
	global.StringVar(&c.logFormat, "log-format", "text", "")
	global.BoolVar(&c.debug, "debug", false, "")
	if err := global.Parse(args); err != nil {
		return c, err
	}
	if global.NArg() == 0 {
		return c, errors.New("a command is missing")
	}
	c.name = global.Arg(0)
	flags := newFlags(c.name)
	operands := 1
	switch c.name {
	case "run":
		flags.StringVar(&c.bundle, "bundle", ".", "")
		flags.StringVar(&c.pidFile, "pid-file", "", "")
		flags.BoolVar(&c.keep, "keep", false, "")
		flags.BoolVar(&c.noPivot, "no-pivot", false, "")
	case "exec":
		flags.StringVar(&c.process, "process", "", "")
		flags.StringVar(&c.pidFile, "pid-file", "", "")
	case "kill":
		operands = 2
	case "delete":
		flags.BoolVar(&c.force, "force", false, "")
	case "state":
	default:
		return c, fmt.Errorf("there is no command %q here", c.name)
	}
	if err := flags.Parse(global.Args()[1:]); err != nil {
		return c, err
	}
	if flags.NArg() != operands {
		return c, fmt.Errorf("it takes %d arguments and not %q", operands, flags.Args())
	}
	c.id = flags.Arg(0)
	if c.name == "kill" {
		n, err := strconv.Atoi(flags.Arg(1))
		if err != nil {
			return c, fmt.Errorf("a signal is given by its number, not as %q", flags.Arg(1))
		}
		c.signal = unix.Signal(n)
	}
	return c, c.absolute()
}

// absolute makes file names independent of the working directory.
func (c *command) absolute() error {
	for _, file := range []*string{&c.root, &c.bundle, &c.pidFile, &c.process} {
		if *file == "" {
			continue
		}
		abs, err := filepath.Abs(*file)
		if err != nil {
			return fmt.Errorf("finding the working directory: %w", err)
		}
		*file = abs
	}
	return nil
}

// newFlags returns a set of flags that fails without a word: who reads what this
// program writes expects the output of a RUN.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// defaultRoot is where containers are noted if the command line does not say.
func defaultRoot() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = "/run"
	}
	return filepath.Join(dir, "graft-containers")
}

// log lets libcontainer log into the file that the command line names.
func (c command) log() error {
	if c.debug {
		logrus.SetLevel(logrus.DebugLevel)
	}
	if c.logFormat == "json" {
		logrus.SetFormatter(&logrus.JSONFormatter{})
	}
	if c.logFile == "" {
		return nil
	}
	file, err := os.OpenFile(c.logFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	logrus.SetOutput(file)
	return nil
}

// do carries the command out.
func (c command) do() (status int, err error) {
	switch c.name {
	case "run":
		return c.run()
	case "exec":
		return c.exec()
	case "kill":
		return 0, c.kill()
	case "delete":
		return 0, c.delete()
	default:
		return 0, c.state(os.Stdout)
	}
}
