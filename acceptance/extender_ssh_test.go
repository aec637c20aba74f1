package acceptance

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// sshKey is a key, and texts that must not be found anywhere.
type sshKey struct {
	private ed25519.PrivateKey
	public  ssh.PublicKey
	pem     []byte
}

func newSSHKey(t *testing.T) sshKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	check(t, err)
	public, err := ssh.NewPublicKey(private.Public())
	check(t, err)
	return sshKey{private, public, pem.EncodeToMemory(block)}
}

// texts are the forms in which the private key might show.
func (k sshKey) texts() []string {
	return []string{string(k.private.Seed()), strings.Split(string(k.pem), "\n")[2]}
}

// startAgent serves an agent with a key at a socket.
func startAgent(t *testing.T, key sshKey) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "graft-agent-") // short: a socket's path must be
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	socket = filepath.Join(dir, "agent")
	ring := agent.NewKeyring()
	check(t, ring.Add(agent.AddedKey{PrivateKey: key.private}))
	l, err := net.Listen("unix", socket)
	check(t, err)
	t.Cleanup(func() { _ = l.Close() }) // it may have been closed
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = agent.ServeAgent(ring, conn) // it ends when the client hangs up
			}()
		}
	}()
	return socket
}

// askAgent is a command that asks the agent at SSH_AUTH_SOCK for its keys, and writes
// the answer as hexadecimal digits.
const askAgent = `perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Peer => $ENV{SSH_AUTH_SOCK}) or die "no agent: $!"; ` +
	`syswrite $s, pack("NC", 1, 11); sysread $s, $n, 4; $l = unpack "N", $n; while (length $a < $l) { sysread $s, $a, $l - length $a, length $a or last } print unpack "H*", $a'`

// A RUN can use the agents that it mounts, with keys of an agent and of files; the keys
// are in no layer, config, history, log or cache.
func TestSSH(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.address == "" {
			e.state = t.TempDir()
		}
		base := debian(t)
		s := newScene(t, "run", "oci:"+base, e)
		s.env["CNB_LOG_LEVEL"] = "debug"
		ofAgent, ofFile := newSSHKey(t), newSSHKey(t)
		s.env["SSH_AUTH_SOCK"] = startAgent(t, ofAgent)
		s.write("key", string(ofFile.pem))
		s.step("one", "USER root",
			"RUN --mount=type=ssh "+askAgent+" >/of-agent",
			"RUN --mount=type=ssh,id=file,target=/there,uid=7,mode=0600 SSH_AUTH_SOCK=/there "+askAgent+" >/of-file",
			"RUN --mount=type=ssh,id=other test -z \"$SSH_AUTH_SOCK\"; ls /there /run/buildkit >/left 2>&1; true",
			"USER 7")
		o := s.succeed("-ssh", "default", "-ssh", "file="+s.path("key"))
		files := s.files(openLayout(t, base))
		for name, key := range map[string]sshKey{"of-agent": ofAgent, "of-file": ofFile} {
			answer, err := hex.DecodeString(files[name])
			check(t, err)
			if !bytes.Contains(answer, key.public.Marshal()) {
				t.Errorf("%s: the agent has answered %q", name, answer)
			}
			checkNowhere(t, s, o, e, key.texts()...)
		}
	})
}

// What is wrong about -ssh is bad usage; an agent that a RUN must have and nobody gave is
// named, with the way to give it.
func TestBadSSH(t *testing.T) {
	base := "oci:" + smallBase(t, nil)
	s := newScene(t, "run", base, engine{})
	s.step("one", "RUN true", "USER 7")
	s.write("nonsense", "no key")
	for value, text := range map[string]string{
		"default":                                  "SSH_AUTH_SOCK",
		"a=" + s.path("missing"):                   "no such file",
		"a=" + s.path("nonsense"):                  "KEYFILE",
		"a=" + s.path("nonsense") + ",raw=perhaps": "raw",
	} {
		s.env["CNB_SSH"] = value
		s.fail(3, "-ssh", text)
	}
	s = newScene(t, "run", base, embedded(t))
	s.step("one", "RUN --mount=type=ssh,id=wanted,required=true true", "USER 7")
	s.fail(102, "extension one", "run.Dockerfile:3", "wanted", "-ssh ID=SOCKET")
}
