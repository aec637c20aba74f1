// Package logs takes the log that BuildKit and containerd write through logrus's
// standard logger, and net/http through Go's, and hands it to a function. It never writes
// to a stream.
package logs

import (
	"io"
	"log"
	"log/slog"
	"strings"

	"github.com/sirupsen/logrus"
)

// Func receives one message. It may be called from several goroutines at once.
type Func func(level slog.Level, message string)

// Write calls f unless it is nil.
func (f Func) Write(level slog.Level, message string) {
	if f != nil {
		f(level, message)
	}
}

// Capture sends whatever the libraries log to f, at debug level, since none of it
// is meant for someone who extends an image; nil silences them. The loggers
// are globals of the libraries: the last call in a process counts.
func Capture(f Func) {
	log.SetFlags(0)
	log.SetOutput(lines(f))
	logger := logrus.StandardLogger()
	logger.SetOutput(io.Discard)
	if f == nil {
		logger.ReplaceHooks(logrus.LevelHooks{})
		logger.SetLevel(logrus.PanicLevel)
		return
	}
	hooks := logrus.LevelHooks{}
	hooks.Add(forward{to: f, format: &logrus.TextFormatter{DisableColors: true, DisableTimestamp: true}})
	logger.ReplaceHooks(hooks)
	logger.SetLevel(logrus.DebugLevel)
}

// lines is what Go's own logger writes to, a message at a time.
type lines Func

func (l lines) Write(p []byte) (int, error) {
	Func(l).Write(slog.LevelDebug, "buildkit: "+strings.TrimRight(string(p), "\n"))
	return len(p), nil
}

// forward is the hook that logrus calls for each entry.
type forward struct {
	to     Func
	format logrus.Formatter
}

var _ logrus.Hook = forward{}

func (forward) Levels() []logrus.Level { return logrus.AllLevels }

func (h forward) Fire(entry *logrus.Entry) error {
	text, err := h.format.Format(entry)
	if err != nil {
		return err
	}
	for len(text) > 0 && text[len(text)-1] == '\n' {
		text = text[:len(text)-1]
	}
	h.to(slog.LevelDebug, "buildkit: "+string(text))
	return nil
}
