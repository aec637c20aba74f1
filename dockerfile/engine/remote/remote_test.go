//go:build linux

package remote_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/enginetest"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
	"github.com/graft-cnb/graft/dockerfile/engine/remote"
	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

// bridgeEnv makes the test binary a program whose standard input and output are a
// connection to a socket, as `buildctl dial-stdio` is.
const bridgeEnv = "GRAFT_REMOTE_TEST_BRIDGE"

func TestMain(m *testing.M) {
	if socket := os.Getenv(bridgeEnv); socket != "" {
		os.Exit(bridge(socket))
	}
	os.Exit(m.Run())
}

func bridge(socket string) int {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go io.Copy(conn, os.Stdin)
	io.Copy(os.Stdout, conn)
	return 0
}

// patience is how long is waited for what happens in a moment on a machine that has
// nothing else to do.
const patience = time.Minute

// startDaemon starts a real buildkitd and returns its socket.
func startDaemon(t *testing.T) string {
	t.Helper()
	program := os.Getenv("GRAFT_TEST_BUILDKITD")
	needs.Root(t)
	needs.Program(t, "runc", "runc")
	needs.That(t, program != "", "a buildkitd that GRAFT_TEST_BUILDKITD names")
	dir := t.TempDir()
	socket := filepath.Join(dir, "buildkitd.sock")
	daemon := exec.Command(program, "--root", filepath.Join(dir, "root"), "--addr", "unix://"+socket,
		"--config", filepath.Join(dir, "none.toml"), "--otel-socket-path", filepath.Join(dir, "otel.sock"))
	// In a mount namespace of its own, so that no mount can be left of it.
	daemon.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	var log strings.Builder
	daemon.Stdout, daemon.Stderr = &log, &log
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		daemon.Process.Signal(syscall.SIGTERM)
		hung := time.AfterFunc(patience, func() { daemon.Process.Kill() })
		daemon.Wait()
		if !hung.Stop() {
			t.Error("buildkitd did not end")
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
	}
	t.Fatal("buildkitd made no socket")
	return ""
}

// check opens an address and solves a graph there.
func check(t *testing.T, address string) {
	t.Helper()
	e, err := remote.Open(t.Context(), address, remote.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := e.Description(); !strings.Contains(d, "v0.") || !strings.Contains(d, address) {
		t.Errorf("the description is %q", d)
	}
	c, err := e.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	definition, err := llb.Scratch().File(llb.Mkfile("/file", 0o644, []byte(address))).Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	_, err = c.Solve(t.Context(), definition, client.SolveOpt{
		Exports: []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(out, "file")); err != nil || string(content) != address {
		t.Errorf("the file that came back is %q (%v)", content, err)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	}
}

func TestSocket(t *testing.T) {
	check(t, "unix://"+startDaemon(t))
}

// Every form of address leads to the same daemon, by the program that it is for.
func TestOtherWaysToADaemon(t *testing.T) {
	socket := startDaemon(t)

	t.Run("tcp", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go forward(l, socket)
		check(t, "tcp://"+l.Addr().String())
	})

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for address, command := range map[string]string{
		"docker-container://daemon":               "docker exec -i daemon buildctl dial-stdio",
		"podman-container://daemon":               "podman exec -i daemon buildctl dial-stdio",
		"kube-pod://daemon?namespace=n&context=c": "kubectl --context=c --namespace=n exec --container= -i daemon -- buildctl dial-stdio",
		"kube-pod://daemon?container=k":           "kubectl --context= --namespace= exec --container=k -i daemon -- buildctl dial-stdio",
		"ssh://user@host:2222":                    "ssh -l user -p 2222 -- host buildctl dial-stdio",
	} {
		t.Run(address, func(t *testing.T) {
			name, args, _ := strings.Cut(command, " ")
			program(t, name, fmt.Sprintf(`test "$*" = "%s" || { echo "called with $*" >&2; exit 3; }
				%s=%s exec %s`, args, bridgeEnv, socket, exe))
			check(t, address)
		})
	}
}

func forward(l net.Listener, socket string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", socket)
		if err != nil {
			in.Close()
			continue
		}
		go func() { defer out.Close(); io.Copy(out, in) }()
		go func() { defer in.Close(); io.Copy(in, out) }()
	}
}

// program puts a shell script first in PATH.
func program(t *testing.T, name, script string) {
	t.Helper()
	dir := t.TempDir()
	enginetest.Program(t, filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// An address that leads nowhere gives an error within about three seconds that names the
// address and the cause.
func TestUnreachable(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts, as far as the kernel is concerned
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	program(t, "docker", "echo 'no such container: nobody' >&2; exit 1")

	for _, test := range []struct{ address, cause string }{
		{"unix:///nonexistent/buildkitd.sock", "no such file or directory"},
		{"tcp://" + closed.Addr().String(), "connection refused"},
		{"tcp://" + silent.Addr().String(), "no answer within 3s"},
		{"docker-container://nobody", "no such container: nobody"},
		{"docker-container://", "lacks container name"},
		{"tcp://localhost", "lacks a host or a port"},
		{"unix://", "lacks a path"},
		{"unix:/run/x", "lacks a path"},
		{"buildkitd.sock", "lacks a scheme"},
		{"http://localhost:1234", "http:// are not supported"},
		{"tcp://a b", "not an address"},
	} {
		t.Run(test.address, func(t *testing.T) {
			begin := time.Now()
			_, err := remote.Open(t.Context(), test.address, remote.Options{})
			var refused *unavailable.Error
			if !errors.As(err, &refused) {
				t.Fatalf("the error is %v (%T)", err, err)
			}
			if text := err.Error(); !strings.Contains(text, test.address) || !strings.Contains(text, test.cause) {
				t.Errorf("the error does not name %q and %q: %v", test.address, test.cause, err)
			}
			if took := time.Since(begin); took > patience {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A daemon that is frozen, or cut off, keeps its connection and says nothing more: it was
// waited for for ever. One that answers goes on.
func TestDaemonThatSaysNothingMoreIsLost(t *testing.T) {
	socket := startDaemon(t)
	through := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", through)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	frozen := make(chan struct{})
	thaw := sync.OnceFunc(func() { close(frozen) })
	defer thaw()
	var freeze atomic.Bool
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", socket)
			if err != nil {
				near.Close()
				return
			}
			for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
				go func() {
					data := make([]byte, 32<<10)
					for {
						n, err := way[0].Read(data)
						if freeze.Load() {
							<-frozen
						}
						if _, werr := way[1].Write(data[:n]); err != nil || werr != nil {
							way[1].Close()
							return
						}
					}
				}()
			}
		}
	}()
	e, err := remote.Open(t.Context(), "unix://"+through, remote.Options{Silence: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	time.Sleep(5 * time.Second) // it is asked twice
	if lost := e.Lost(); lost != nil {
		t.Errorf("a daemon that answers is lost: %v", lost)
	}
	freeze.Store(true)
	for deadline := time.Now().Add(time.Minute); e.Lost() == nil && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	if lost := e.Lost(); lost == nil || !strings.Contains(lost.Error(), "has said nothing") {
		t.Errorf("lost: %v", lost)
	}
}

// Waiting for a daemon ends with the context, and is not blamed on the daemon.
func TestOpenIsCancelled(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = remote.Open(ctx, "tcp://"+silent.Addr().String(), remote.Options{})
	if !errors.Is(err, context.DeadlineExceeded) || unavailable.Is(err) {
		t.Errorf("the error is %v", err)
	}
}
