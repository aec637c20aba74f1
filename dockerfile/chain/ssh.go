package chain

import (
	"fmt"
	"strings"

	buildctl "github.com/moby/buildkit/cmd/buildctl/build"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
)

// SSH is what `RUN --mount=type=ssh` may use: agents, which sign with keys that no RUN
// gets to see. The zero value has none.
type SSH struct {
	agents session.Attachable
	// given are the values that they were read from.
	given []string
}

// ParseSSH reads agents, as buildctl's --ssh has them: "default" or "ID" for the agent at
// SSH_AUTH_SOCK, "ID=SOCKET" for another, "ID=KEY,KEY" for one of our own with the keys
// in these files, which it reads at once.
func ParseSSH(values []string) (SSH, error) {
	if len(values) == 0 {
		return SSH{}, nil
	}
	configs, err := buildctl.ParseSSH(values)
	if err != nil {
		return SSH{}, err
	}
	agents, err := sshprovider.NewSSHAgentProvider(configs)
	if err != nil {
		return SSH{}, fmt.Errorf("%s; write default, ID=SOCKET or ID=KEYFILE (without a passphrase), and for the first set SSH_AUTH_SOCK", agentProblem(err, configs))
	}
	return SSH{agents, values}, nil
}

// agentProblem is what is wrong with one of the agents, without what BuildKit's client
// shows of itself.
func agentProblem(err error, configs []sshprovider.AgentConfig) string {
	text := err.Error()
	for _, c := range configs {
		if c.ID == "" {
			c.ID = sshforward.DefaultID
		}
		rest, ok := strings.CutPrefix(text, fmt.Sprintf("failed to convert agent config %v: ", c))
		if ok {
			return fmt.Sprintf("the agent %q: %s", c.ID, strings.TrimPrefix(rest, fmt.Sprintf("failed to convert agent config for ID: %q: ", c.ID)))
		}
	}
	return text
}

// attach adds the agents to a session.
func (s SSH) attach(to []session.Attachable) []session.Attachable {
	if s.agents == nil {
		return to
	}
	return append(to, s.agents)
}
