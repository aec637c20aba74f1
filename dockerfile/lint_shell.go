package dockerfile

import (
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// script is the shell text of a RUN, taken apart by words. It is no shell: it
// sees what is plainly written, and nothing that only running it would tell.
type script struct {
	commands []shellCommand
	// refs are the variables that are used without saying what happens if they
	// have no value.
	refs map[string]bool
	// assigned are the variables that the text itself sets.
	assigned map[string]bool
	text     string
}

// shellCommand is one simple command.
type shellCommand struct {
	words []string
	// writes are the files that its output goes to.
	writes []string
}

// scriptOf is the script of an instruction; nil if it is no RUN.
func scriptOf(command instructions.Command) *script {
	run, ok := command.(*instructions.RunCommand)
	if !ok {
		return nil
	}
	t := &script{refs: map[string]bool{}, assigned: map[string]bool{}}
	if !run.PrependShell {
		t.text = strings.Join(run.CmdLine, " ")
		t.add(shellCommand{words: run.CmdLine}, 0)
		return t
	}
	t.read(strings.Join(run.CmdLine, " "), 0)
	// Heredocs are the script itself, or what a shell reads.
	isScript := len(t.commands) == 0
	for _, c := range t.commands {
		name, _ := c.program()
		isScript = isScript || shells[name]
	}
	for _, file := range run.Files {
		t.text += "\n" + file.Data
		if isScript && isShellScript(file.Data) {
			t.read(file.Data, 0)
		}
	}
	return t
}

var shells = map[string]bool{"sh": true, "bash": true, "dash": true, "ash": true, "zsh": true, "ksh": true}

// isShellScript tells whether a shell runs the text, by its first line.
func isShellScript(text string) bool {
	first, _, _ := strings.Cut(text, "\n")
	interpreter, has := strings.CutPrefix(first, "#!")
	if !has {
		return true
	}
	for _, word := range strings.Fields(interpreter) {
		if shells[path.Base(word)] {
			return true
		}
	}
	return false
}

// deepest bounds how far shells within shells are followed.
const deepest = 4

// read takes a text apart.
func (t *script) read(text string, depth int) {
	if depth == 0 {
		t.text += text
	}
	lexer := shellLexer{text: text, script: t, depth: depth}
	lexer.run()
}

// add takes in a command, and what it has a shell run.
func (t *script) add(c shellCommand, depth int) {
	if len(c.words) == 0 && len(c.writes) == 0 {
		return
	}
	t.commands = append(t.commands, c)
	t.assignments(c)
	name, args := c.program()
	if !shells[name] || depth >= deepest {
		return
	}
	for i, arg := range args {
		if strings.HasPrefix(arg, "-") && !strings.HasPrefix(arg, "--") && strings.HasSuffix(arg, "c") && i+1 < len(args) {
			t.read(args[i+1], depth+1)
			return
		}
	}
}

// assignments notes the variables that a command sets.
func (t *script) assignments(c shellCommand) {
	for i, word := range c.words {
		if name, _, ok := strings.Cut(word, "="); ok && isName(strings.TrimSuffix(name, "+")) {
			t.assigned[strings.TrimSuffix(name, "+")] = true
		}
		if (word == "for" || word == "select") && i+1 < len(c.words) {
			t.assigned[c.words[i+1]] = true
		}
		if word == "read" || word == "mapfile" || word == "getopts" {
			for _, name := range c.words[i+1:] {
				t.assigned[name] = true
			}
			return
		}
	}
}

func isName(s string) bool {
	for i := range len(s) {
		if !isNamePart(s[i]) || i == 0 && s[0] >= '0' && s[0] <= '9' {
			return false
		}
	}
	return s != ""
}

// before are words that stand before the program of a command.
var before = map[string]bool{
	"if": true, "then": true, "elif": true, "else": true, "do": true, "while": true, "until": true, "!": true,
	"{": true, "time": true,
}

// wrappers are programs that run the program that follows.
var wrappers = map[string]bool{
	"sudo": true, "env": true, "exec": true, "command": true, "nice": true, "nohup": true, "eatmydata": true,
	"timeout": true, "retry": true, "xargs": true,
}

// program is the name of the program that a command runs, without its
// directory, and its arguments.
func (c shellCommand) program() (name string, args []string) {
	wrapped := false
	for i, word := range c.words {
		assigned, _, isAssignment := strings.Cut(word, "=")
		base := path.Base(word)
		switch {
		case before[word], isAssignment && isName(assigned):
		case wrapped && (strings.HasPrefix(word, "-") || word != "" && word[0] >= '0' && word[0] <= '9'):
		case wrappers[base]:
			wrapped = true
		default:
			return base, c.words[i+1:]
		}
	}
	return "", nil
}
