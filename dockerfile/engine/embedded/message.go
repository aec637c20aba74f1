//go:build linux

package embedded

import (
	"encoding/json"
	"io"
	"log/slog"
	"sync"
	"time"
)

// processName is the zeroth argument of an engine process, by which Init knows it.
const processName = "graft-engine"

// probeName is that of a process that ends at once: it is started to learn whether
// its namespaces can be made and, with probeProc, whether it gets its own /proc.
const (
	probeName = "graft-engine-probe"
	probeProc = "proc"
)

// connectionFD is the descriptor of the engine process's end of the socket pair,
// and lockFD that of the locked file: as long as the engine lives, the state
// directory stays locked, even if the program that started it is gone.
const (
	connectionFD = 3
	lockFD       = 4
)

// order is what the program tells the engine process on its standard input. The
// engine does nothing before it has it: an ordinary user's engine has no
// identity until then.
type order struct {
	StateDir           string
	InsecureRegistries []string
	RegistryCA         [][]byte // certificates, in DER
	Silence            time.Duration
	CacheTTL           time.Duration
	CacheSize          int64
	Shared             bool // as in requirements
	Verbose            bool
}

// order is what the engine process is told of the options.
func (o Options) order(stateDir string, req requirements) order {
	told := order{
		StateDir:           stateDir,
		InsecureRegistries: o.InsecureRegistries,
		Silence:            o.Silence,
		CacheTTL:           o.CacheTTL,
		CacheSize:          o.CacheSize,
		Shared:             req.shared,
		Verbose:            o.Log != nil,
	}
	for _, certificate := range o.RegistryCA {
		told.RegistryCA = append(told.RegistryCA, certificate.Raw)
	}
	return told
}

// message is one line that the engine process writes to its standard output.
type message struct {
	// Log is a message for the log, with Level.
	Log   string     `json:",omitempty"`
	Level slog.Level `json:",omitempty"`
	// Ready says that the engine answers on the connection.
	Ready *readiness `json:",omitempty"`
	// Missing is what keeps the engine from running here.
	Missing []string `json:",omitempty"`
	// Failed is any other reason for which the engine ends.
	Failed string `json:",omitempty"`
}

// readiness is what the engine process tells of itself.
type readiness struct {
	Version     string
	Snapshotter string
	Rootless    bool
}

// messenger writes messages. It may be used from several goroutines.
type messenger struct {
	mu      sync.Mutex
	encoder *json.Encoder
}

func newMessenger(w io.Writer) *messenger { return &messenger{encoder: json.NewEncoder(w)} }

// send writes one message. Nobody is left to hear of a failure: the program is
// gone, and the engine about to follow.
func (m *messenger) send(msg message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = m.encoder.Encode(msg)
}

func (m *messenger) log(level slog.Level, text string) { m.send(message{Level: level, Log: text}) }
