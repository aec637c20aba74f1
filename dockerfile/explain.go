package dockerfile

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Error is something in a file that an extension generated that cannot be
// accepted. Its text names extension, file and line and shows the line.
type Error struct {
	// Extension is the id of the extension that generated the file.
	Extension string
	// Path is the file.
	Path string
	// Line is counted from 1; 0 when no single line is to blame.
	Line int
	// Source is that line.
	Source string
	// Problem says what is wrong, and what to write instead where that is known.
	Problem string
	// Rule is the id of the rule that is broken, as findings name it; empty where
	// there is none.
	Rule string
	// Suggestion says at greater length what to write instead. It is no part of
	// the text of the error: findings show it.
	Suggestion string
	Err        error
}

// Error shows the problem with the line and a caret under its first word.
func (e *Error) Error() string {
	where := e.Path
	if e.Line > 0 {
		where = fmt.Sprintf("%s:%d", e.Path, e.Line)
	}
	s := fmt.Sprintf("extension %s: %s: %s", e.Extension, where, e.Problem)
	if e.Line > 0 {
		s += "\n" + pointAt(e.Line, e.Source)
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// sourceLine is one line of a file, counted from 1; empty if there is none.
func sourceLine(lines []string, number int) string {
	if number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}

// longestShown is how many letters of a line are shown: nobody reads further, and
// a file can be a single line.
const longestShown = 160

// pointAt shows a line of a file with a caret under each letter of its first
// word. What a terminal could take for a command is replaced.
func pointAt(number int, line string) string {
	shown := []rune(strings.TrimRight(line, " \t\r\n"))
	if len(shown) > longestShown {
		shown = append(shown[:longestShown:longestShown], '…')
	}
	for i, r := range shown {
		switch {
		case r == '\t':
			shown[i] = ' '
		case !unicode.IsPrint(r):
			shown[i] = unicode.ReplacementChar
		}
	}
	indent := 0
	for indent < len(shown) && shown[indent] == ' ' {
		indent++
	}
	word := slices.Index(shown[indent:], ' ')
	if word < 0 {
		word = len(shown) - indent
	}
	margin := fmt.Sprintf("%4d | ", number)
	return fmt.Sprintf("%s%s\n%s| %s%s", margin, string(shown), strings.Repeat(" ", len(margin)-2),
		strings.Repeat(" ", indent), strings.Repeat("^", max(1, word)))
}

// RunError is a command of a Dockerfile that failed.
type RunError struct {
	// Dockerfile says where the command stands.
	Dockerfile *Error
	// ExitCode is that of the command.
	ExitCode int
	// Output is the end of what the command printed on both streams.
	Output string
}

// Error names extension, file and line, shows the line, and then the end of the
// command's output.
func (e *RunError) Error() string {
	if e.Output == "" {
		return e.Dockerfile.Error() + "\nthe command printed nothing"
	}
	lines := strings.Split(strings.TrimRight(e.Output, "\n"), "\n")
	return e.Dockerfile.Error() + "\nthe last lines that it printed:\n    " + strings.Join(lines, "\n    ")
}

// Unwrap leads to the *Error, and through it to the engine's error.
func (e *RunError) Unwrap() error { return e.Dockerfile }
