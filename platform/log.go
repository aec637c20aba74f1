package platform

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

// Level is how much a program says.
type Level int

// The levels of -log-level, from the most to the least talkative.
const (
	LevelDebug Level = iota
	LevelInfo
	LevelWarn
	LevelError
)

// ParseLevel reads a value of -log-level.
func ParseLevel(s string) (Level, error) {
	switch strings.ToLower(s) {
	case "debug":
		return LevelDebug, nil
	case "info":
		return LevelInfo, nil
	case "warn", "warning":
		return LevelWarn, nil
	case "error":
		return LevelError, nil
	}
	return 0, fmt.Errorf("%q is no log level: use debug, info, warn or error", s)
}

// Log is where a program speaks to people: info and debug go to stdout,
// warnings and errors to stderr (platform.md, "Outputs" of each phase). Its
// methods can be called side by side; a line is never torn. The zero value is
// silent.
type Log struct {
	Out, Err io.Writer
	Level    Level
	// Color marks warnings and errors for terminals.
	Color bool
	// Redact takes out of what is said what nobody should see. Nil: nothing is taken out.
	Redact func(string) string

	mu sync.Mutex
}

const (
	yellow = "\x1b[33;1m"
	red    = "\x1b[31;1m"
	plain  = "\x1b[0m"
)

// Debugf says what only someone who looks for a fault wants to know.
func (l *Log) Debugf(format string, args ...any) { l.say(LevelDebug, "", "", format, args) }

// Infof says what happens.
func (l *Log) Infof(format string, args ...any) { l.say(LevelInfo, "", "", format, args) }

// Warnf says what a person should change although it did no harm yet.
func (l *Log) Warnf(format string, args ...any) {
	l.say(LevelWarn, yellow, "Warning: ", format, args)
}

// Errorf says why the program fails.
func (l *Log) Errorf(format string, args ...any) {
	l.say(LevelError, red, "ERROR: ", format, args)
}

// Enabled tells whether anything of that level is shown.
func (l *Log) Enabled(level Level) bool { return level >= l.Level && l.writer(level) != nil }

func (l *Log) writer(level Level) io.Writer {
	if level >= LevelWarn {
		return l.Err
	}
	return l.Out
}

func (l *Log) say(level Level, color, label, format string, args []any) {
	if !l.Enabled(level) {
		return
	}
	if l.Color && color != "" {
		label = color + label + plain
	}
	l.write(level, label+fmt.Sprintf(format, args...)+"\n")
}

func (l *Log) write(level Level, s string) {
	if l.Redact != nil {
		s = l.Redact(s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	io.WriteString(l.writer(level), s)
}

// Lines is a writer that passes on what a module prints, line by line and
// unchanged, each line after the module's id. Close passes on a last line that
// has no end.
func (l *Log) Lines(level Level, id string) io.WriteCloser {
	return &lineWriter{log: l, level: level, prefix: "[" + id + "] "}
}

// longestLine bounds what is held back while waiting for a line to end.
const longestLine = 1 << 20

type lineWriter struct {
	log    *Log
	level  Level
	prefix string

	mu   sync.Mutex
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		if end < 0 {
			break
		}
		w.emit(w.rest[:end])
		w.rest = w.rest[end+1:]
	}
	if len(w.rest) > longestLine {
		w.emit(w.rest)
		w.rest = nil
	}
	return len(p), nil
}

func (w *lineWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rest) > 0 {
		w.emit(w.rest)
		w.rest = nil
	}
	return nil
}

func (w *lineWriter) emit(line []byte) {
	if w.log.Enabled(w.level) {
		w.log.write(w.level, w.prefix+string(line)+"\n")
	}
}
