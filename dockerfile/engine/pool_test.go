//go:build linux

package engine_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile/engine"
)

// addressesTried opens a pool of dead addresses, and returns them as they were tried.
func addressesTried(t *testing.T, addresses []string, identity string) []string {
	t.Helper()
	var tried []string
	pool := engine.NewPool(addresses, identity, engine.Options{Log: func(level slog.Level, text string) {
		if level != slog.LevelWarn {
			return
		}
		for _, address := range addresses {
			if strings.Contains(text, address+" is passed over: no connection: ") {
				tried = append(tried, address)
			}
		}
	}})
	_, err := pool.Open(t.Context())
	var unavailable *engine.UnavailableError
	if !errors.As(err, &unavailable) || len(unavailable.Missing) != len(addresses) {
		t.Fatalf("the error is %#v", err)
	}
	for _, address := range addresses {
		if !strings.Contains(err.Error(), "  - "+address+": no connection: ") {
			t.Errorf("the error does not name %s: %v", address, err)
		}
	}
	return tried
}

// ARCHITECTURE, "Engine addresses": the identity decides the order, however the list is
// written; a new address takes only the identities that prefer it; and the load is shared.
func TestPoolOrder(t *testing.T) {
	const a, b, c = "unix:///nonexistent/a", "unix:///nonexistent/b", "unix:///nonexistent/c"
	first := map[string]int{}
	for i := range 60 {
		identity := fmt.Sprint("app ", i)
		order := addressesTried(t, []string{a, b, c}, identity)
		if again := addressesTried(t, []string{c, a, b}, identity); !slices.Equal(order, again) {
			t.Errorf("%s: order %v, and with the list turned %v", identity, order, again)
		}
		fewer := slices.DeleteFunc(slices.Clone(order), func(address string) bool { return address == c })
		if got := addressesTried(t, []string{a, b}, identity); !slices.Equal(got, fewer) {
			t.Errorf("%s: order %v, and without one of them %v", identity, order, got)
		}
		first[order[0]]++
	}
	for _, address := range []string{a, b, c} {
		if n := first[address]; n < 8 || n > 35 {
			t.Errorf("%s comes first for %d of 60", address, n)
		}
	}
}
