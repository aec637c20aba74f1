package platform

import (
	"strings"
	"testing"
)

// TestNestedTOML guards that TOML which would overflow the stack or take all
// memory is told from TOML that merely has many brackets and dots.
func TestNestedTOML(t *testing.T) {
	many := func(s string) string { return strings.Repeat(s, 5000) }
	for name, c := range map[string]struct {
		text, says string
	}{
		"arrays":                    {"x = 1\na = " + many("["), "line 2"},
		"tables":                    {"a = " + many("{a="), "line 1"},
		"key":                       {"\n\n" + many("a.") + "a = 1", "line 3"},
		"header":                    {"[" + many("a.") + "a]", "line 1"},
		"after a string":            {"a = \"\"\"\n\\\"\"\"\"\nb = " + many("["), "line 3"},
		"after a comment":           {"# [\"\na = " + many("["), "line 2"},
		"after an open string":      {"a = \"[\nb = " + many("["), "line 2"},
		"many tables":               {many("[[a.b]]\nc.d = [1.5, {e = 'f'}]\n"), ""},
		"in a string":               {"a = \"" + many("[.{\\\"") + "\"", ""},
		"in a literal string":       {"a = '" + many("[.{\\") + "'", ""},
		"in a string of many lines": {"a = '''\n" + many("[.{\n'") + "'''", ""},
		"in a comment":              {"# " + many("[.{\""), ""},
		"nothing":                   {"", ""},
	} {
		var v map[string]any
		_, err := DecodeTOML("test", "test.toml", []byte(c.text), &v)
		nested := err != nil && strings.Contains(err.Error(), "nested more than")
		switch {
		case c.says == "" && nested:
			t.Errorf("%s: refused: %v", name, err)
		case c.says != "" && (!nested || !strings.Contains(err.Error(), c.says+":")):
			t.Errorf("%s: got %v, want an error about %s", name, err, c.says)
		}
	}
}

// TestPrintable guards that a name cannot pass for another message or reach the
// terminal's controls, and that usual names stay as they are.
func TestPrintable(t *testing.T) {
	for name, want := range map[string]string{
		"context/a b.ä":   "context/a b.ä",
		"a\nERROR: b":     `"a\nERROR: b"`,
		"\x1b[31m":        `"\x1b[31m"`,
		"\xff":            `"\xff"`,
		"right\u202eleft": `"right\u202eleft"`,
	} {
		if got := Printable(name); got != want {
			t.Errorf("Printable(%q) is %s, want %s", name, got, want)
		}
	}
	if long := Printable(strings.Repeat("d/", 2000)); len(long) > 300 || !strings.Contains(long, "…") {
		t.Errorf("a long name is shown as %s", long)
	}
}
