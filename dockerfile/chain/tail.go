package chain

import (
	"bytes"
	"slices"
	"strings"
)

// tailLines bound what is kept of one command's output for the case that it fails, and
// tailBytes what is kept of each of its streams; so much of standard error is never pushed
// out by the other stream.
const (
	tailLines   = 30
	tailBytes   = 8 << 10
	errorsShown = 10
)

// standardError is the number that BuildKit gives to that stream.
const standardError = 2

// tail is the end of what a command printed on both streams. They arrive each by itself
// and in pieces, in whatever order.
type tail struct {
	// lines are those of both streams, in the order in which they began to arrive.
	lines []*tailLine
	// open is the line of each stream that has not ended, and size what is kept of it.
	open map[int]*tailLine
	size map[int]int
}

type tailLine struct {
	stream int
	text   []byte
}

// add takes a piece of a stream.
func (t *tail) add(stream int, data []byte) {
	if t.open == nil {
		t.open, t.size = map[int]*tailLine{}, map[int]int{}
	}
	for len(data) > 0 {
		l := t.open[stream]
		if l == nil {
			l = &tailLine{stream: stream}
			t.open[stream] = l
			t.lines = append(t.lines, l)
		}
		text, rest, ended := bytes.Cut(data, []byte("\n"))
		l.text = append(l.text, text...)
		t.size[stream] += len(text)
		if ended {
			delete(t.open, stream)
		}
		data = rest
		t.trim(stream)
	}
}

// trim forgets the oldest lines of a stream, and of a single one that is too long the
// beginning.
func (t *tail) trim(stream int) {
	for {
		first, n := -1, 0
		for i, l := range t.lines {
			if l.stream == stream {
				if first < 0 {
					first = i
				}
				n++
			}
		}
		over := t.size[stream] - tailBytes
		switch {
		case n > 1 && (n > tailLines || over > 0):
			t.size[stream] -= len(t.lines[first].text)
			t.lines = slices.Delete(t.lines, first, first+1)
		case over > 0:
			l := t.lines[first]
			l.text = append([]byte(nil), l.text[over:]...)
			t.size[stream] -= over
			return
		default:
			return
		}
	}
}

// String is what is to be shown: the last lines of both streams as they arrived, and where
// that would leave out the last ones of standard error, these instead of what is older.
func (t *tail) String() string {
	var lines []string
	errors, others := 0, 0
	for _, l := range slices.Backward(t.lines) {
		text := strings.TrimRight(strings.ToValidUTF8(string(l.text), "?"), "\r")
		if text == "" && len(lines) == 0 {
			continue // at the end
		}
		if l.stream == standardError {
			if errors >= errorsShown && errors+others >= tailLines {
				continue
			}
			errors++
		} else {
			if others+max(errors, t.reserved()) >= tailLines {
				continue
			}
			others++
		}
		lines = append(lines, text)
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

// reserved is how many lines are for standard error, whatever comes on the other stream.
func (t *tail) reserved() int {
	n := 0
	for _, l := range t.lines {
		if l.stream == standardError {
			n++
		}
	}
	return min(n, errorsShown)
}
