package platform

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// longestName is how many bytes of a name messages show.
const longestName = 256

// Printable is the name of a file as messages show it. Names that modules make up
// may hold line breaks, what terminals take for commands, or bytes that are no
// text: such a name is quoted, and a very long one shortened.
func Printable(name string) string {
	odd := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	if len(name) > longestName {
		name = name[:longestName/2] + "…" + name[len(name)-longestName/2:]
	}
	if strings.ContainsFunc(name, odd) {
		return strconv.Quote(name)
	}
	return name
}
