// Package enginetest is what the tests of engines share.
package enginetest

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/moby/buildkit/client"
)

// Program writes a file that can be executed at once. Whoever forks meanwhile would keep it
// open for writing for a moment, and then it cannot be; so nobody may fork.
func Program(t testing.TB, path string, content []byte) {
	t.Helper()
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	if err := os.WriteFile(path, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

// Log is an engine's log that a test can look at. The zero value is empty.
type Log struct {
	mu    sync.Mutex
	lines []string
}

// Write adds a message; it is what engines take as their log.
func (l *Log) Write(level slog.Level, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, level.String()+" "+text)
}

// Has tells whether a message with that text was written.
func (l *Log) Has(text string) bool { return strings.Contains(l.String(), text) }

// String is all messages, a line each, after their levels.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// ShowOnFailure prints the log at the end of a test that has failed.
func (l *Log) ShowOnFailure(t testing.TB) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(l.String())
		}
	})
}

// Seen is what a solve tells while it goes on.
type Seen struct {
	// Cached are the names of the steps that were not run.
	Cached []string
	// Output is what the steps wrote.
	Output string
}

// Watch reads the status of a solve, and sends what there was to see at its end.
func Watch(status <-chan *client.SolveStatus) <-chan Seen {
	seen := make(chan Seen, 1)
	go func() {
		var s Seen
		var output bytes.Buffer
		cached := map[string]bool{}
		for one := range status {
			for _, v := range one.Vertexes {
				if v.Cached && !cached[v.Name] {
					cached[v.Name] = true
					s.Cached = append(s.Cached, v.Name)
				}
			}
			for _, l := range one.Logs {
				output.Write(l.Data)
			}
		}
		s.Output = output.String()
		seen <- s
	}()
	return seen
}
