package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/graft-cnb/graft/dockerfile/engine/internal/logs"
	"github.com/graft-cnb/graft/dockerfile/engine/internal/unavailable"
	"github.com/graft-cnb/graft/dockerfile/engine/remote"
)

// checkPatience is how long Check waits for the answers of daemons.
const checkPatience = 800 * time.Millisecond

// Check describes the engine that Open would give, in less than a second: all daemons are
// asked at once, and the embedded engine is tried without waiting for another process. It
// warns of each daemon that cannot be used, also of those that come after the one that is
// used. If there is none, its error is that of Open.
func (p *Pool) Check(ctx context.Context) (description string, err error) {
	logs.Capture(p.opts.Log)
	if len(p.addresses) == 0 {
		return checkOwn(ctx, p.opts)
	}
	descriptions := make([]string, len(p.addresses))
	errs := make([]error, len(p.addresses))
	var asked sync.WaitGroup
	for i, address := range p.addresses {
		asked.Go(func() {
			e, err := remote.Open(ctx, address, remote.Options{TLS: p.opts.TLS, Patience: checkPatience})
			if errs[i] = err; err == nil {
				descriptions[i] = e.Description()
				e.Close()
			}
		})
	}
	asked.Wait()
	var all []*UnavailableError
	for i, err := range errs {
		var refused *UnavailableError
		switch {
		case errors.As(err, &refused):
			all = append(all, refused)
		case err != nil:
			return "", err
		case description == "":
			description = descriptions[i]
		}
	}
	if len(all) == 1 && len(p.addresses) == 1 {
		return "", all[0]
	}
	if description == "" {
		return "", unavailable.Join(all)
	}
	for _, refused := range all {
		logs.Func(p.opts.Log).Write(slog.LevelWarn, fmt.Sprintf("the BuildKit engine at %s is passed over: %s", refused.Address, strings.Join(refused.Missing, "; ")))
	}
	return description, nil
}
