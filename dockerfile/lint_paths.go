package dockerfile

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// platformDirectories are <app>, <layers> and <platform> where platforms have
// them by default. What a Dockerfile does there does not last.
var platformDirectories = []string{"/workspace", "/layers", "/platform"}

// pathRules finds what is plainly written to the platform's directories
// (image_extension.md, "Dockerfile Requirements").
type pathRules struct{}

func (pathRules) see(l *lint, command instructions.Command, s *scope, script *script) {
	var written string
	switch c := command.(type) {
	case *instructions.CopyCommand:
		written = destination(c.DestPath, s)
	case *instructions.AddCommand:
		written = destination(c.DestPath, s)
	case *instructions.RunCommand:
		written = script.writesBelow(platformDirectories)
	}
	if !belowAny(written, platformDirectories) {
		return
	}
	l.warn(RulePlatformDirectory, l.lineWith(command, written), command.Comments(), fmt.Sprintf(
		"%s is changed: what Dockerfiles do to the app, the layers and the platform directory is not kept", written), "")
}

// destination is where a COPY or ADD writes; empty if that is not known.
func destination(dest string, s *scope) string {
	switch {
	case s.doubtful:
		return ""
	case path.IsAbs(dest):
		return path.Clean(dest)
	case s.workdir != "":
		return path.Join(s.workdir, dest)
	}
	return ""
}

func belowAny(name string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(name, dir) })
}

// changers are programs that change the files that they are called with.
var changers = map[string]bool{
	"rm": true, "rmdir": true, "mv": true, "mkdir": true, "touch": true, "chmod": true, "chown": true, "chgrp": true,
	"tee": true, "truncate": true, "shred": true, "unlink": true,
}

// copiers are programs that write to their last argument.
var copiers = map[string]bool{"cp": true, "ln": true, "install": true, "rsync": true, "git": true}

// unpackers are programs that write to the argument of one of their options.
var unpackers = map[string][]string{
	"tar": {"-C", "--directory"}, "unzip": {"-d"}, "curl": {"-o", "--output", "--output-dir"}, "wget": {"-O", "-P", "--output-document"},
	"cp": {"-t"}, "mv": {"-t"}, "install": {"-t"},
}

// writesBelow is the first file below one of the directories that a script
// plainly writes to; empty if there is none.
func (t *script) writesBelow(dirs []string) string {
	for _, c := range t.commands {
		for _, name := range c.written() {
			if belowAny(name, dirs) {
				return name
			}
		}
	}
	return ""
}

// written are the files that a command plainly writes to.
func (c shellCommand) written() []string {
	files := slices.Clone(c.writes)
	name, args := c.program()
	if changers[name] || name == "sed" && slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, "-i") || a == "--in-place" }) {
		files = append(files, args...)
	}
	if copiers[name] && len(args) > 1 {
		files = append(files, args[len(args)-1])
	}
	if name == "tar" && !slices.ContainsFunc(args, extracts) {
		return files
	}
	for i, arg := range args {
		option, value, joined := strings.Cut(arg, "=")
		switch {
		case !slices.Contains(unpackers[name], option):
		case joined:
			files = append(files, value)
		case i+1 < len(args):
			files = append(files, args[i+1])
		}
	}
	return files
}

// extracts tells whether an argument has tar unpack.
func extracts(arg string) bool {
	return arg == "--extract" || !strings.HasPrefix(arg, "--") && !strings.Contains(arg, "/") && strings.Contains(arg, "x")
}
