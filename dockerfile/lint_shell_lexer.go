package dockerfile

import "strings"

// shellLexer takes shell text apart into commands and words.
type shellLexer struct {
	text   string
	at     int
	script *script
	depth  int

	command shellCommand
	word    strings.Builder
	// inWord tells that a word has begun, though it may be empty in quotes.
	inWord bool
	// next is what the next word is.
	next wordRole
	// pending are the end words of here-documents that begin on the next line.
	pending []string
}

type wordRole int

const (
	argument wordRole = iota
	outputFile
	inputFile
	endWord
)

// run reads the text to its end.
func (x *shellLexer) run() {
	for x.at < len(x.text) {
		c := x.text[x.at]
		x.at++
		switch c {
		case ' ', '\t', '\r':
			x.endOfWord()
		case '\n':
			x.endOfCommand()
			x.skipHeredocs()
		case ';', '&', '|', '(', ')', '`':
			if c == '&' && x.peek() == '>' {
				x.endOfWord()
				continue
			}
			x.endOfCommand()
		case '#':
			if x.inWord {
				x.put(c)
			} else {
				x.skipLine()
			}
		case '<', '>':
			x.redirect(c)
		case '\'':
			x.inWord = true
			x.single()
		case '"':
			x.inWord = true
			x.double()
		case '$':
			x.dollar(false)
		case '\\':
			x.escape()
		default:
			x.put(c)
		}
	}
	x.endOfCommand()
}

func (x *shellLexer) peek() byte {
	if x.at < len(x.text) {
		return x.text[x.at]
	}
	return 0
}

func (x *shellLexer) put(c byte) {
	x.inWord = true
	x.word.WriteByte(c)
}

func (x *shellLexer) escape() {
	if x.at >= len(x.text) {
		return
	}
	if c := x.text[x.at]; c != '\n' {
		x.put(c)
	}
	x.at++
}

func (x *shellLexer) skipLine() {
	if end := strings.IndexByte(x.text[x.at:], '\n'); end >= 0 {
		x.at += end
		return
	}
	x.at = len(x.text)
}

func (x *shellLexer) endOfWord() {
	if !x.inWord {
		return
	}
	word := x.word.String()
	x.word.Reset()
	x.inWord = false
	role := x.next
	x.next = argument
	switch role {
	case argument:
		x.command.words = append(x.command.words, word)
	case outputFile:
		x.command.writes = append(x.command.writes, word)
	case endWord:
		x.pending = append(x.pending, word)
	}
}

func (x *shellLexer) endOfCommand() {
	x.endOfWord()
	x.next = argument
	command := x.command
	x.command = shellCommand{}
	x.script.add(command, x.depth)
}

// redirect reads an operator such as >, 2>>, <<- or <, up to its word.
func (x *shellLexer) redirect(c byte) {
	if strings.Trim(x.word.String(), "0123456789") == "" {
		// The number of a descriptor is no word.
		x.word.Reset()
		x.inWord = false
	}
	x.endOfWord()
	begin := x.at - 1
	for x.at < len(x.text) && strings.IndexByte("<>&|-", x.text[x.at]) >= 0 {
		x.at++
	}
	switch operator := x.text[begin:x.at]; {
	case operator == "<<" || operator == "<<-":
		x.next = endWord
	case c == '>' && !strings.Contains(operator, "&"):
		x.next = outputFile
	case strings.HasSuffix(operator, "&-"):
		x.next = argument
	default:
		x.next = inputFile
	}
}

// skipHeredocs skips the here-documents that begin after a line.
func (x *shellLexer) skipHeredocs() {
	for _, end := range x.pending {
		for x.at < len(x.text) {
			line, _, _ := strings.Cut(x.text[x.at:], "\n")
			x.at = min(x.at+len(line)+1, len(x.text))
			if strings.TrimLeft(line, "\t") == end {
				break
			}
		}
	}
	x.pending = nil
}

func (x *shellLexer) single() {
	end := strings.IndexByte(x.text[x.at:], '\'')
	if end < 0 {
		end = len(x.text) - x.at
	}
	x.word.WriteString(x.text[x.at : x.at+end])
	x.at = min(x.at+end+1, len(x.text))
}

func (x *shellLexer) double() {
	for x.at < len(x.text) {
		c := x.text[x.at]
		x.at++
		switch c {
		case '"':
			return
		case '\\':
			x.escape()
		case '$':
			x.dollar(true)
		default:
			x.put(c)
		}
	}
}

// dollar reads a variable, which stays in the word as it is written, or begins
// the command within $(...), which counts as one of its own.
func (x *shellLexer) dollar(quoted bool) {
	begin := x.at - 1
	switch {
	case x.peek() == '(' && quoted:
		x.substitution()
		return
	case x.peek() == '(':
		x.at++
		x.endOfCommand()
		return
	case x.peek() == '{':
		x.at++
		name := x.name()
		if x.peek() == '}' {
			x.script.refs[name] = true
		}
		if end := strings.IndexByte(x.text[x.at:], '}'); end >= 0 {
			x.at += end + 1
		}
	default:
		if name := x.name(); name != "" {
			x.script.refs[name] = true
		}
	}
	x.inWord = true
	x.word.WriteString(x.text[begin:x.at])
}

func (x *shellLexer) name() string {
	begin := x.at
	for x.at < len(x.text) && isNamePart(x.text[x.at]) {
		x.at++
	}
	return x.text[begin:x.at]
}

// substitution reads $(...) in double quotes: its commands count, and the word
// goes on behind it.
func (x *shellLexer) substitution() {
	begin, open := x.at+1, 0
	for ; x.at < len(x.text); x.at++ {
		switch x.text[x.at] {
		case '(':
			open++
		case ')':
			open--
		}
		if open == 0 {
			break
		}
	}
	inner := x.text[min(begin, len(x.text)):x.at]
	x.at = min(x.at+1, len(x.text))
	x.inWord = true
	if x.depth < deepest {
		nested := shellLexer{text: inner, script: x.script, depth: x.depth + 1}
		nested.run()
	}
}
