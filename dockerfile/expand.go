package dockerfile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// longestValue bounds what a variable may hold while Dockerfiles are judged, in
// bytes: they are untrusted, and a few lines that each double a variable would
// fill any memory.
const longestValue = 4096

var errTooLong = fmt.Errorf("a value is longer than the limit of %d bytes", longestValue)

// expandBounded expands the variables of a word. It refuses what would become
// absurdly long, given that no variable is longer than longestValue.
func expandBounded(lex *shell.Lex, word string, scope shell.EnvGetter) (shell.ProcessWordResult, error) {
	uses := strings.Count(word, "$")
	replaces := uses > 0 && strings.Contains(word, "//")
	switch {
	case uses > longestValue:
		return shell.ProcessWordResult{}, fmt.Errorf("it uses more than %d variables", longestValue)
	case replaces && (uses > 4 || len(word) > longestValue || strings.Count(word, "//") > 1):
		// Each match is replaced by all of the replacement, which may again have
		// replacements in it.
		return shell.ProcessWordResult{}, errors.New("its replacements (${name//...}) are too much to judge")
	}
	return lex.ProcessWordWithMatches(word, scope)
}

// valueless is a scope in which every variable is empty: it tells which are set,
// however long the text that uses them.
type valueless struct{ variables }

func (v valueless) Get(name string) (string, bool) {
	_, ok := v.variables[name]
	return "", ok
}
