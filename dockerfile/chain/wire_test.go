package chain_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

// daemon starts a real buildkitd and gives its socket.
func daemon(t *testing.T) string {
	t.Helper()
	program := os.Getenv("GRAFT_TEST_BUILDKITD")
	needs.That(t, program != "", "GRAFT_TEST_BUILDKITD, the path of a buildkitd")
	needs.Root(t)
	dir, err := os.MkdirTemp("", "graft-bk-") // short: a socket's path is
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "sock")
	cmd := exec.Command(program, "--addr", "unix://"+socket, "--root", filepath.Join(dir, "root"), "--oci-worker-net", "host")
	output := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(output.String())
		}
	})
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("unix", socket); err == nil {
			_ = conn.Close()
			return socket
		}
	}
	t.Fatalf("buildkitd does not listen:\n%s", output.String())
	return ""
}

// metered is an engine that counts the bytes which come from it.
type metered struct {
	socket   string
	received *atomic.Int64
	client   *client.Client
}

func (m *metered) Client(ctx context.Context) (*client.Client, error) {
	c, err := client.New(ctx, "", client.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", m.socket)
		return &meteredConn{conn, m.received}, err
	}))
	m.client = c
	return c, err
}

func (m *metered) Description() string { return "metered" }

func (m *metered) Isolation() string { return "unknown" }

func (m *metered) Close() error {
	if m.client == nil {
		return nil
	}
	return m.client.Close()
}

type meteredConn struct {
	net.Conn
	received *atomic.Int64
}

func (c *meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.received.Add(int64(n))
	return n, err
}

// Only added layers cross the connection from a remote engine: bytes received
// are at most 1.05 times their size.
func TestOnlyAddedLayersCrossTheConnection(t *testing.T) {
	h := newHarness(t)
	var received atomic.Int64
	socket := daemon(t)
	h.Engine = func(context.Context) (chain.Engine, error) {
		return &metered{socket: socket, received: &received}, nil
	}
	e := apply(t, h, dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, from+"RUN seq 1 3000000 > /numbers\n", from+"RUN seq 3 500000 > /more\n"),
	})
	m, err := e.sparse.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var added int64
	for _, l := range m.Layers[2:] {
		added += l.Size
	}
	if got := received.Load(); got > added+added/20 || added < 20<<20 {
		t.Errorf("received %d bytes for %d bytes of layers", got, added)
	}
	t.Logf("received %d bytes for %d bytes of layers; the base has %d", received.Load(), added, m.Layers[0].Size+m.Layers[1].Size)
}

// A daemon and the embedded engine give the same configuration, history and
// files.
func TestDaemonAndEmbeddedEngineGiveTheSameImage(t *testing.T) {
	socket := daemon(t)
	app := dockerfile.Application{
		Kind:  dockerfile.KindBuild,
		Base:  asLayout(t, makeBase(t, baseOptions{})),
		Steps: steps(t, dockerfile.KindBuild, languageA, from+"USER cnb\n", from+"ARG user_id=0\nUSER root\nRUN echo $user_id > /id\nUSER $user_id\nWORKDIR /w\n"),
	}
	t.Setenv("BUILDKIT_HOST", "")
	one := apply(t, withEngine(t), app)
	t.Setenv("BUILDKIT_HOST", "unix://"+socket)
	two := apply(t, withEngine(t), app)
	if !reflect.DeepEqual(one.config.Config, two.config.Config) || !reflect.DeepEqual(one.histories(), two.histories()) {
		t.Errorf("configurations differ:\n%+v\n%+v", one.config, two.config)
	}
	if !reflect.DeepEqual(one.files, two.files) {
		t.Error("files differ")
	}
}
