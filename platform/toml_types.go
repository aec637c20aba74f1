package platform

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
)

// wrongTypes are the texts in which the TOML library tells of a value of the wrong
// type. It has the line and the key nowhere else, and speaks of Go's types.
var (
	wrongTypePlace = regexp.MustCompile(`^toml: (?:line (\d+) )?(?:\(last key "(.*)"\): )?`)
	wrongTypes     = []*regexp.Regexp{
		regexp.MustCompile(`^type mismatch for .*: expected (?P<want>\w+) but found (?P<is>\S+)$`),
		regexp.MustCompile(`^incompatible types: TOML value has type (?P<is>\S+); destination has type (?P<want>\w+)$`),
	}
)

// tomlTypes are the types of values in the words of someone who writes the file: Go's
// names for what stands there, and the library's for what should.
var tomlTypes = map[string]string{
	"string":           "text in quotes",
	"int64":            "a whole number",
	"integer":          "a whole number",
	"float64":          "a number",
	"float":            "a number",
	"bool":             "true or false",
	"boolean":          "true or false",
	"time.Time":        "a date or a time",
	"map[string]any":   "a table",
	"table":            "a table",
	"map":              "a table",
	"[]map[string]any": "a list of tables",
	"[]any":            "a list",
	"slice":            "a list",
}

func tomlType(name string) string {
	if words := tomlTypes[name]; words != "" {
		return words
	}
	return "something else"
}

// wrongType says of a value of the wrong type which key has it, in which line, and
// what was expected. An error that says anything else keeps its words.
func wrongType(what, path string, err error) *FileError {
	message := err.Error()
	place := wrongTypePlace.FindStringSubmatch(message)
	if place == nil {
		return &FileError{What: what, Path: path, Err: err}
	}
	line, _ := strconv.Atoi(place[1])
	message = message[len(place[0]):]
	for _, pattern := range wrongTypes {
		if m := pattern.FindStringSubmatch(message); m != nil {
			message = fmt.Sprintf("expected %s, found %s",
				tomlType(m[pattern.SubexpIndex("want")]), tomlType(m[pattern.SubexpIndex("is")]))
			break
		}
	}
	if key := place[2]; key != "" {
		message = key + ": " + message
	}
	return &FileError{What: what, Path: path, Line: line, Err: errors.New(message)}
}
