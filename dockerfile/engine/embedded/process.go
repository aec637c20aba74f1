//go:build linux

package embedded

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
)

// process is the engine process as the program that started it sees it.
type process struct {
	cmd          *exec.Cmd
	requirements requirements
	order        *os.File     // its standard input
	news         chan message // everything but logs; closed when it says no more
	stderr       tail
	drained      chan struct{} // closed when stderr has all
	exited       chan struct{}
	status       error // of the process, once exited is closed
}

// startProcess starts the engine process in its namespaces and returns it with
// this program's end of the connection. The process waits for its order.
func startProcess(req requirements, dir string, lock *os.File, log logs.Func) (*process, net.Conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	conn, err := fileConn(ours)
	if err != nil {
		return nil, nil, err
	}
	p := &process{requirements: req, news: make(chan message, 4), drained: make(chan struct{}), exited: make(chan struct{})}
	if err := p.start(dir, []*os.File{theirs, lock}, log); err != nil {
		conn.Close()
		return nil, nil, err
	}
	return p, conn, nil
}

func (p *process) start(dir string, inherited []*os.File, log logs.Func) error {
	var pipes [3][2]*os.File // standard input, output, error: reading end, writing end
	for i := range pipes {
		r, w, err := os.Pipe()
		if err != nil {
			for _, pipe := range pipes[:i] {
				pipe[0].Close()
				pipe[1].Close()
			}
			return fmt.Errorf("making a pipe to the embedded engine: %w", err)
		}
		pipes[i] = [2]*os.File{r, w}
	}
	p.cmd = &exec.Cmd{
		Path: "/proc/self/exe",
		Args: []string{p.requirements.process()},
		Dir:  "/",
		Env:  environment(dir),

		Stdin: pipes[0][0], Stdout: pipes[1][1], Stderr: pipes[2][1],
		ExtraFiles:  inherited,
		SysProcAttr: p.requirements.attributes(),
	}
	p.order = pipes[0][1]
	err := p.run()
	for _, f := range []*os.File{pipes[0][0], pipes[1][1], pipes[2][1]} {
		f.Close()
	}
	if err != nil {
		for _, f := range []*os.File{pipes[0][1], pipes[1][0], pipes[2][0]} {
			f.Close()
		}
		return p.explainStart(err)
	}
	go p.readMessages(pipes[1][0], log)
	go p.readErrors(pipes[2][0], log)
	return nil
}

// run starts the process and reaps it when it ends. It does so in a thread that
// stays as long as the process: the engine asks the kernel to be killed
// with its parent, and for the kernel a parent is a thread.
func (p *process) run() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.status = p.cmd.Wait()
		close(p.exited)
	}()
	return <-started
}

// explainStart turns the refusal of the kernel to make namespaces into an error
// that says what to do.
func (p *process) explainStart(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		switch errno {
		case unix.EPERM, unix.ENOSPC, unix.EINVAL, unix.EUSERS:
			return refuse(err, p.requirements.namespacesRefused(errno))
		}
	}
	return fmt.Errorf("starting the process of the embedded engine: %w", err)
}

// begin gives the process its identity and its order, and waits until it is ready.
func (p *process) begin(ctx context.Context, o order) (*readiness, error) {
	err := p.requirements.mapIDs(ctx, p.cmd.Process.Pid)
	if err == nil {
		err = json.NewEncoder(p.order).Encode(o)
	}
	p.order.Close()
	if err != nil {
		return nil, err
	}
	select {
	case msg, open := <-p.news:
		switch {
		case open && msg.Ready != nil:
			return msg.Ready, nil
		case open && len(msg.Missing) > 0:
			return nil, refuse(nil, msg.Missing...)
		case open:
			return nil, fmt.Errorf("starting the embedded engine: %s", msg.Failed)
		}
		p.wait()
		return nil, fmt.Errorf("%w (%v): %s; if its state directory is damaged, remove it", errCrashed, p.status, p.stderr.String())
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the embedded engine to start: %w", context.Cause(ctx))
	}
}

// errCrashed says that the engine process has ended before it was ready, and could not
// say why.
var errCrashed = errors.New("the embedded engine ended at once")

// end waits for the process to end by itself, and kills it if it does not.
func (p *process) end(timeout time.Duration) error {
	select {
	case <-p.exited:
	case <-time.After(timeout):
		p.kill()
		return nil // it was told to end, and it has
	}
	p.wait()
	if p.status != nil {
		return fmt.Errorf("the embedded engine ended badly (%w): %s", p.status, p.stderr.String())
	}
	return nil
}

// ended reports whether the process has ended.
func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// kill ends the process and, since it is the first of its pid namespace or has a keeper, all
// that it started.
func (p *process) kill() {
	if p.requirements.shared {
		_ = p.cmd.Process.Signal(keeperEnd)
	} else {
		_ = p.cmd.Process.Kill() // it may have ended by itself
	}
	p.wait()
}

// wait waits until the process has ended and all that it said has been passed on. Nobody
// else can hold its pipes open, since whatever it started has ended before.
func (p *process) wait() {
	<-p.exited
	<-p.drained
	for range p.news {
	}
}

// readMessages passes the process's messages on until it has no more.
func (p *process) readMessages(r io.ReadCloser, log logs.Func) {
	defer r.Close()
	defer close(p.news)
	decoder := json.NewDecoder(r)
	for {
		var msg message
		if err := decoder.Decode(&msg); err != nil {
			return
		}
		if msg.Log != "" {
			log.Write(msg.Level, msg.Log)
			continue
		}
		select {
		case p.news <- msg:
		default: // nobody asked for so many
		}
	}
}

// readErrors keeps the end of what the process writes to its standard error,
// which is nothing unless it crashes.
func (p *process) readErrors(r io.ReadCloser, log logs.Func) {
	defer close(p.drained)
	defer r.Close()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		log.Write(slog.LevelDebug, "engine: "+lines.Text())
		p.stderr.add(lines.Bytes())
	}
	_, _ = io.Copy(io.Discard, r) // a line beyond all measure must not block the engine
}

// environment is all that the engine process sees of the program's environment:
// what finds programs, proxies and certificates. Credentials are not among it.
func environment(dir string) []string {
	env := []string{"TMPDIR=" + tmpDir(dir), "XDG_RUNTIME_DIR=" + runtimeDir(dir)}
	for _, name := range []string{"PATH", "HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// tail keeps the last lines of a text, and the one that says why a program crashed.
type tail struct {
	mu    sync.Mutex
	lines [][]byte
	crash string
}

const tailLines = 20

func (t *tail) add(line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, beginning := range []string{"panic: ", "fatal error: "} {
		if t.crash == "" && bytes.HasPrefix(line, []byte(beginning)) {
			t.crash = string(line)
		}
	}
	t.lines = append(t.lines, bytes.Clone(line))
	if len(t.lines) > tailLines {
		t.lines = t.lines[1:]
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.crash != "" {
		return t.crash + " (the debug log has more)"
	}
	if len(t.lines) == 0 {
		return "it said nothing"
	}
	return strings.TrimSpace(string(bytes.Join(t.lines, []byte("\n"))))
}
