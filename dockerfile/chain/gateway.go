package chain

import (
	"context"
	"errors"
	"maps"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// environment is what a conversion depends on beside the Dockerfiles: the
// engine, or what stands for one.
type environment struct {
	gateway   gateway.Client
	caps      apicaps.CapSet
	sessionID string
	platforms []ocispecs.Platform
	// stored is what images are called in the engine's store that it cannot pull, each
	// with its digest as tag. Empty: it has no store for them.
	stored string
	// readFile reads a file of a state. Nil: nothing can be read yet, and what
	// depends on it gets a placeholder.
	readFile func(ctx context.Context, st llb.State, path string) ([]byte, error)
	// warn gets the findings of BuildKit's linter. Nil: they were shown already.
	warn func(s *step, rule, text string, line int)
}

// offline is the environment before an engine is there: one that can do what
// this BuildKit's client can.
func (r *run) offline() environment {
	return environment{
		gateway:   noEngine{},
		caps:      pb.Caps.CapSet(pb.Caps.All()),
		platforms: []ocispecs.Platform{r.base.Platform()},
		warn:      r.lint,
	}
}

// online is the environment in which the graph is solved.
func (r *run) online(gw gateway.Client) environment {
	opts := gw.BuildOpts()
	env := environment{gateway: gw, caps: opts.LLBCaps, sessionID: opts.SessionID}
	if r.store != nil {
		env.stored = r.given
	}
	for _, w := range opts.Workers {
		env.platforms = append(env.platforms, w.Platforms...)
	}
	if len(env.platforms) == 0 {
		env.platforms = []ocispecs.Platform{r.base.Platform()}
	}
	env.readFile = func(ctx context.Context, st llb.State, path string) ([]byte, error) {
		def, err := st.Marshal(ctx, llb.Platform(r.base.Platform()), llb.WithCaps(env.caps))
		if err != nil {
			return nil, err
		}
		if err := r.mountCA(def); err != nil {
			return nil, err
		}
		r.rename(def)
		res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB()})
		if err != nil {
			return nil, err
		}
		ref, err := res.SingleRef()
		if err != nil {
			return nil, err
		}
		if ref == nil {
			return nil, errors.New("the image is empty")
		}
		return ref.ReadFile(ctx, gateway.ReadRequest{Filename: path})
	}
	return env
}

// stepClient is the gateway as one Dockerfile sees it: with its own options, and
// with the image so far and its context as inputs.
type stepClient struct {
	gateway.Client
	env    environment
	opts   map[string]string
	inputs map[string]llb.State
}

// BuildOpts gives a fresh copy: the Dockerfile frontend writes into it.
func (c *stepClient) BuildOpts() gateway.BuildOpts {
	return gateway.BuildOpts{
		Opts:      maps.Clone(c.opts),
		SessionID: c.env.sessionID,
		Workers:   []gateway.WorkerInfo{{Platforms: c.env.platforms}},
		LLBCaps:   c.env.caps,
		Caps:      gwpb.Caps.CapSet(gwpb.Caps.All()),
	}
}

// Inputs are the states that stand behind names.
func (c *stepClient) Inputs(context.Context) (map[string]llb.State, error) { return c.inputs, nil }

// errNoEngine is a defect of this package when anyone sees it: the conversion
// asked for something that it must do without.
var errNoEngine = errors.New("the Dockerfiles cannot be converted without an engine")

// noEngine refuses everything that takes an engine.
type noEngine struct{}

var _ gateway.Client = noEngine{}

func (noEngine) ResolveSourceMetadata(context.Context, *pb.SourceOp, sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	return nil, errNoEngine
}

func (noEngine) Solve(context.Context, gateway.SolveRequest) (*gateway.Result, error) {
	return nil, errNoEngine
}

func (noEngine) ResolveImageConfig(context.Context, string, sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return "", "", nil, errNoEngine
}

func (noEngine) BuildOpts() gateway.BuildOpts { return gateway.BuildOpts{} }

func (noEngine) Inputs(context.Context) (map[string]llb.State, error) { return nil, errNoEngine }

func (noEngine) NewContainer(context.Context, gateway.NewContainerRequest) (gateway.Container, error) {
	return nil, errNoEngine
}

func (noEngine) Warn(context.Context, digest.Digest, string, gateway.WarnOpts) error {
	return errNoEngine
}
