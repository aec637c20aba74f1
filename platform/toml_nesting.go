package platform

import (
	"bytes"
	"fmt"
)

// deepestTOML is how deep arrays and tables of untrusted TOML may be nested, and
// how many parts a key may have.
const deepestTOML = 100

// checkNesting refuses TOML that is nested deeper than anything that a person or
// a program writes in earnest: reading it could take all memory, or overflow the
// stack. It returns the line; what else is wrong with the text is left to the
// decoder.
func checkNesting(data []byte) (line int, err error) {
	line = 1
	depth, dots := 0, 0
	for i := 0; i < len(data); i++ {
		switch c := data[i]; c {
		case '\n':
			line++
			dots = 0
		case '"', '\'':
			end := i + tomlString(data[i:])
			line += bytes.Count(data[i:end], []byte{'\n'})
			i = end - 1
		case '#':
			if end := bytes.IndexByte(data[i:], '\n'); end >= 0 {
				i += end - 1
			} else {
				i = len(data)
			}
		case '[', '{':
			depth++
			dots = 0
		case ']', '}':
			depth--
		case '=', ',':
			dots = 0
		case '.':
			dots++
		}
		if depth > deepestTOML || dots > deepestTOML {
			return line, fmt.Errorf("it is nested more than %d levels deep", deepestTOML)
		}
	}
	return 0, nil
}

// tomlString is the length of the string that data begins with. One that is not
// closed ends with its line, or with the data if it may have several lines.
func tomlString(data []byte) int {
	quote := data[:1]
	if triple := bytes.Repeat(quote, 3); bytes.HasPrefix(data, triple) {
		quote = triple
	}
	for i := len(quote); i < len(data); i++ {
		switch {
		case data[i] == '\\' && quote[0] == '"':
			i++
		case bytes.HasPrefix(data[i:], quote):
			return i + len(quote)
		case data[i] == '\n' && len(quote) == 1:
			return i
		}
	}
	return len(data)
}
