package chain_test

import (
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile/chain"
)

// What no cache can be was taken: an unknown mode for the usual one, something=else for a
// reference. A type that is not known here was said to lack what it would need.
func TestCachesThatAreNone(t *testing.T) {
	t.Setenv("ACTIONS_CACHE_URL", "")
	t.Setenv("ACTIONS_RESULTS_URL", "")
	own := []string{"registry", "local", "inline"}
	for _, c := range []struct {
		parse func(values, known []string) ([]chain.Cache, error)
		value string
		known []string
		text  string
	}{
		{chain.ParseCacheTo, "type=registry,ref=registry.example/cache,mode=bogus", nil, "min or max"},
		{chain.ParseCacheTo, "type=local,dest=dir,mode=", nil, "min or max"},
		{chain.ParseCacheTo, "type=inline,mode=all", nil, "min or max"},
		{chain.ParseCacheTo, "type=registry,ref=registry.example/cache@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", nil, "written to a tag"},
		{chain.ParseCacheFrom, "foo=bar", nil, "no reference"},
		{chain.ParseCacheFrom, "type=registry,ref=Not A Reference", nil, "no reference"},
		{chain.ParseCacheTo, "foo=bar", nil, "no reference"},
		{chain.ParseCacheTo, "type=gha", own, `no cache of type "gha"; it has registry, local, inline`},
		{chain.ParseCacheFrom, `"type=gha",token=a,url=http://a.example,version=1`, own, `no cache of type "gha"`},
	} {
		got, err := c.parse([]string{c.value}, c.known)
		if err == nil || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "number 1") {
			t.Errorf("%s: %v, error %v", c.value, got, err)
		}
	}
	for _, value := range []string{"type=registry,ref=registry.example/cache,mode=max", "registry.example/cache:tag", "type=other,mode=special,key=value"} {
		if got, err := chain.ParseCacheTo([]string{value}, nil); err != nil || len(got) != 1 {
			t.Errorf("%s: %v, error %v", value, got, err)
		}
	}
}
