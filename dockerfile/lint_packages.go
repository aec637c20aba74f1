package dockerfile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// packageManager is a program that installs packages of the distribution.
type packageManager struct {
	programs []string
	// fetches are its commands that leave lists behind.
	fetches []string
	// uses are its commands that need lists and leave none.
	uses []string
	// cleans are its commands that remove the lists.
	cleans []string
	// unkept is the option with which no lists are kept.
	unkept string
	// lists are the directories of its lists.
	lists []string
	// advice says how to leave nothing behind.
	advice string
}

var packageManagers = []packageManager{
	{
		programs: []string{"apt-get", "apt", "aptitude"},
		fetches:  []string{"update"},
		uses:     []string{"install", "upgrade", "dist-upgrade", "full-upgrade", "build-dep", "satisfy"},
		cleans:   []string{"distclean"},
		lists:    []string{"/var/lib/apt/lists"},
		advice:   "write one RUN: apt-get update && apt-get install ... && rm -rf /var/lib/apt/lists/*; or give the RUN --mount=type=cache,target=/var/lib/apt/lists,sharing=locked",
	},
	{
		programs: []string{"apk"},
		fetches:  []string{"add", "update", "upgrade"},
		unkept:   "--no-cache",
		lists:    []string{"/var/cache/apk", "/etc/apk/cache"},
		advice:   "write apk add --no-cache, or give the RUN --mount=type=cache,target=/var/cache/apk,sharing=locked",
	},
	{
		programs: []string{"dnf", "dnf5", "microdnf", "tdnf", "yum"},
		fetches: []string{"install", "update", "upgrade", "makecache", "reinstall", "localinstall", "groupinstall",
			"group", "builddep", "distro-sync", "check-update"},
		cleans: []string{"clean"},
		lists:  []string{"/var/cache/dnf", "/var/cache/yum", "/var/cache/libdnf5", "/var/cache/tdnf"},
		advice: "end the RUN with && dnf clean all (yum clean all), or give it --mount=type=cache,target=/var/cache/dnf,sharing=locked",
	},
	{
		programs: []string{"zypper"},
		fetches:  []string{"install", "in", "refresh", "ref", "update", "up", "patch", "dist-upgrade", "dup"},
		cleans:   []string{"clean", "cc"},
		lists:    []string{"/var/cache/zypp"},
		advice:   "end the RUN with && zypper clean --all, or give it --mount=type=cache,target=/var/cache/zypp,sharing=locked",
	},
}

// verb is the first argument that is one of the words.
func verb(args, words []string) string {
	for _, arg := range args {
		if slices.Contains(words, arg) {
			return arg
		}
	}
	return ""
}

// packageRules finds package lists that stay in a layer.
type packageRules struct {
	// fetched are the managers whose lists an earlier RUN left.
	fetched []string
}

func (r *packageRules) see(l *lint, command instructions.Command, script *script) {
	run, ok := command.(*instructions.RunCommand)
	if !ok {
		return
	}
	for _, m := range packageManagers {
		if mounts(run, m.lists) {
			continue
		}
		name := m.programs[0]
		switch left, used := m.leaves(script); {
		case left != "":
			r.fetched = append(r.fetched, name)
			l.warn(RulePackageLists, l.lineWith(command, left), command.Comments(), fmt.Sprintf(
				"`%s` leaves its package lists in the image: nothing removes %s in the same RUN", left, m.lists[0]), m.advice)
		case used != "" && !slices.Contains(r.fetched, name):
			r.fetched = append(r.fetched, name)
			l.warn(RulePackageLists, l.lineWith(command, used), command.Comments(), fmt.Sprintf(
				"`%s` without an update in the same RUN needs package lists that an earlier layer left in %s, old as they may be", used, m.lists[0]), m.advice)
		}
	}
}

// leaves tells which command of a script leaves lists that no later one
// removes, and which one uses lists that the script has not fetched.
func (m packageManager) leaves(script *script) (left, used string) {
	fetched := false
	for _, c := range script.commands {
		name, args := c.program()
		if !slices.Contains(m.programs, name) {
			if left != "" && m.removes(name, args) {
				left = ""
			}
			continue
		}
		if m.unkept != "" && slices.Contains(args, m.unkept) {
			continue
		}
		switch {
		case verb(args, m.fetches) != "":
			left, fetched = name+" "+verb(args, m.fetches), true
		case verb(args, m.cleans) != "":
			left = ""
		case verb(args, m.uses) != "" && !fetched && used == "" && !localFiles(args):
			used = name + " " + verb(args, m.uses)
		}
	}
	return left, used
}

// removes tells whether a command removes the lists.
func (m packageManager) removes(name string, args []string) bool {
	if name != "rm" && name != "find" {
		return false
	}
	for _, arg := range args {
		for _, word := range braces(arg) {
			for _, dir := range m.lists {
				if within(word, dir) || within(dir, strings.TrimSuffix(word, "/*")) {
					return true
				}
			}
		}
	}
	return false
}

// braces are the words that one with a list in braces stands for.
func braces(word string) []string {
	begin, rest, found := strings.Cut(word, "{")
	list, end, closed := strings.Cut(rest, "}")
	if !found || !closed {
		return []string{word}
	}
	var words []string
	for _, part := range strings.Split(list, ",") {
		words = append(words, begin+part+end)
	}
	return words
}

// within tells whether a path is a directory or below it.
func within(path, dir string) bool {
	dir = strings.TrimRight(dir, "/")
	return dir != "" && (path == dir || strings.HasPrefix(path, dir+"/"))
}

// localFiles tells whether all that is to be installed are files.
func localFiles(args []string) bool {
	files := 0
	for _, arg := range args {
		if strings.HasSuffix(arg, ".deb") && strings.Contains(arg, "/") {
			files++
		}
	}
	return files > 0
}

// mounts tells whether a RUN has a mount on one of the directories, or above it,
// so that what is written there stays out of the image.
func mounts(run *instructions.RunCommand, dirs []string) bool {
	for _, m := range instructions.GetMounts(run) {
		if m.Type != instructions.MountTypeCache && m.Type != instructions.MountTypeTmpfs {
			continue
		}
		for _, dir := range dirs {
			if within(dir, m.Target) {
				return true
			}
		}
	}
	return false
}

// downloaders are programs that fetch something, with the commands of theirs
// that do; none: all.
var downloaders = map[string][]string{
	"curl": nil, "wget": nil, "aria2c": nil,
	"git": {"clone", "fetch", "pull", "submodule"},
	"pip": {"install", "download"}, "pip3": {"install", "download"}, "pipx": {"install"}, "uv": {"pip", "sync", "tool"},
	"npm": {"install", "i", "ci"}, "pnpm": {"install", "i", "add"}, "yarn": nil,
	"gem": {"install"}, "bundle": {"install"}, "cargo": {"install", "build", "fetch"}, "go": {"install", "get", "mod", "build"},
	"composer": {"install", "require", "update"}, "pacman": {"-S", "-Sy", "-Syu"},
	"mvn": nil, "gradle": nil, "conda": {"install", "create"}, "rustup": nil, "apt-add-repository": nil, "add-apt-repository": nil,
}

// expensive is the first command of a script that fetches something; empty if
// none does.
func (t *script) expensive() string {
	for _, c := range t.commands {
		name, args := c.program()
		for _, m := range packageManagers {
			if slices.Contains(m.programs, name) {
				if v := verb(args, slices.Concat(m.fetches, m.uses)); v != "" {
					return name + " " + v
				}
			}
		}
		if words, ok := downloaders[name]; ok {
			if words == nil {
				return name
			}
			if v := verb(args, words); v != "" {
				return name + " " + v
			}
		}
	}
	return ""
}
