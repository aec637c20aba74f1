package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
)

// Pool is a list of BuildKit daemons of which one is used: the first that answers, in an
// order that an identity decides. So whoever has the same identity meets the same warm
// cache, a dead daemon is passed over, and those of different identities share the load.
// It may be used from several goroutines.
type Pool struct {
	addresses []string
	opts      Options

	mu    sync.Mutex
	given map[Engine]string
	dead  map[string]*UnavailableError
}

// NewPool makes a pool of the daemons at some addresses; none stand for an engine
// of this program. The order of the addresses does not matter, and one that is added or taken
// away changes nothing for the identities that do not come first there.
func NewPool(addresses []string, identity string, opts Options) *Pool {
	return &Pool{
		addresses: preference(addresses, identity),
		opts:      opts,
		given:     map[Engine]string{},
		dead:      map[string]*UnavailableError{},
	}
}

// preference sorts addresses by what a hash makes of each together with the identity
// (rendezvous hashing).
func preference(addresses []string, identity string) []string {
	score := func(address string) []byte {
		sum := sha256.Sum256([]byte(identity + "\x00" + address))
		return sum[:]
	}
	sorted := slices.Clone(addresses)
	slices.SortFunc(sorted, func(a, b string) int { return bytes.Compare(score(b), score(a)) })
	return slices.Compact(sorted)
}

// Open opens the first engine that can be had, and warns of each that it has to pass
// over, which takes three seconds at most. If there is none, the *UnavailableError names
// every address with its cause.
func (p *Pool) Open(ctx context.Context) (Engine, error) {
	if len(p.addresses) == 0 {
		return Open(ctx, "", p.opts)
	}
	for _, address := range p.addresses {
		if p.isDead(address) {
			continue
		}
		e, err := Open(ctx, address, p.opts)
		var refused *UnavailableError
		switch {
		case err == nil:
			p.mu.Lock()
			p.given[e] = address
			p.mu.Unlock()
			return e, nil
		case !errors.As(err, &refused):
			return nil, err
		case len(p.addresses) == 1:
			return nil, err
		}
		logs.Func(p.opts.Log).Write(slog.LevelWarn, fmt.Sprintf("the BuildKit engine at %s is passed over: %s", address, strings.Join(refused.Missing, "; ")))
		p.bury(address, refused)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*UnavailableError
	for _, address := range p.addresses {
		all = append(all, p.dead[address])
	}
	return nil, unavailable.Join(all)
}

// Lost is asked after work in an engine of this pool has failed: was that because the
// engine went away? If so, it is passed over from now on, and the error says how it went.
// again says whether another may do better. The engine may have been closed meanwhile.
func (p *Pool) Lost(ctx context.Context, e Engine) (lost error, again bool) {
	p.mu.Lock()
	address, known := p.given[e]
	p.mu.Unlock()
	lost = e.Lost()
	if !known {
		return lost, false // of this program: there is no other
	}
	if lost == nil && len(p.addresses) > 1 {
		lost = p.gone(ctx, address)
	}
	if lost == nil {
		return nil, false
	}
	p.bury(address, &UnavailableError{
		Address: address,
		Missing: []string{fmt.Sprintf("it was lost in the midst of a build: %v", lost)},
		Err:     lost,
	})
	return lost, slices.ContainsFunc(p.addresses, func(a string) bool { return !p.isDead(a) })
}

// gone asks a daemon for an answer: one that is told to end cuts its builds off before
// its connections, and the failure is all that is known then.
func (p *Pool) gone(ctx context.Context, address string) error {
	e, err := Open(ctx, address, p.opts)
	if err == nil {
		e.Close()
		return nil
	}
	var refused *UnavailableError
	if errors.As(err, &refused) {
		return errors.New(strings.Join(refused.Missing, "; "))
	}
	return nil
}

func (p *Pool) bury(address string, cause *UnavailableError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead[address] = cause
}

func (p *Pool) isDead(address string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead[address] != nil
}
