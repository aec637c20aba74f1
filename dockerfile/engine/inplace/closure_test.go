//go:build linux

package inplace_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
)

// TestRootIsTheSameFromTheCache does things at random, in several steps. A new container
// that is brought forward from the cache, at once or step by step, is then the same as
// the one in which they were done.
func TestRootIsTheSameFromTheCache(t *testing.T) {
	// The last moves a directory with a file that has a further name elsewhere.
	for _, seed := range []uint64{0, 1, 2, 3, 4, 56} {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			steps := make([]string, 5)
			for n := range steps {
				steps[n] = randomStep(random)
			}
			chain := func(n int) (state llb.State) {
				state = base()
				for _, step := range steps[:n] {
					state = state.Run(sh(step)).Root()
				}
				return state
			}
			c := newContainer(t)
			done, err := c.run(c.open(), chain(len(steps)))
			if err != nil {
				t.Fatal(err)
			}
			atOnce := newContainer(t)
			c.handOver(atOnce)
			e := atOnce.open()
			if _, err := atOnce.run(e, chain(len(steps))); err != nil {
				t.Fatal(err)
			}
			if err := e.FastForward(t.Context(), done.ids); err != nil {
				t.Fatal(err)
			}
			sameTree(t, c.root, atOnce.root)

			stepByStep := newContainer(t)
			atOnce.handOver(stepByStep)
			e = stepByStep.open()
			for n := range done.ids {
				if err := e.FastForward(t.Context(), done.ids[:n+1]); err != nil {
					t.Fatal(err)
				}
			}
			sameTree(t, c.root, stepByStep.root)
			if err := e.FastForward(t.Context(), done.ids[:1]); err == nil {
				t.Error("the root went back")
			}
			if t.Failed() {
				t.Logf("the steps were\n%s", strings.Join(steps, "\n---\n"))
			}
		})
	}
}

// randomStep is a script of things that a RUN does to files; some of them fail, since
// what they work on is not there or something else.
func randomStep(r *rand.Rand) string {
	places := []string{"/data/a", "/data/b", "/data/deep/a", "/data/deep/b", "/data/one", "/data/deep/two", "/data/deep", "/etc/group", "/new", "/new/a", "/new/b/c"}
	pick := func() string { return places[r.IntN(len(places))] }
	var lines []string
	for range 20 {
		a, b, n := pick(), pick(), r.IntN(1000)
		all := []string{
			fmt.Sprintf("echo %d > %s", n, a),
			fmt.Sprintf("echo %d >> %s", n, a),
			fmt.Sprintf("mkdir -p %s", a),
			fmt.Sprintf("rm -rf %s", a),
			fmt.Sprintf("rm -f %s", a),
			fmt.Sprintf("mv %s %s", a, b),
			fmt.Sprintf("ln %s %s", a, b),
			fmt.Sprintf("ln -s %s %s", a, b),
			fmt.Sprintf("chmod %o %s", 0o600+r.IntN(0o200), a),
			fmt.Sprintf("chown %d:%d %s", r.IntN(3), r.IntN(3), a),
			fmt.Sprintf("touch -d @%d %s", 1e9+n, a),
			fmt.Sprintf("mkfifo %s", a),
			fmt.Sprintf("cp -a %s %s", a, b),
			fmt.Sprintf("true > %s", a),
			fmt.Sprintf("rm -rf %s && mkdir -p %s && echo %d > %s/inner", a, a, n, a),
		}
		// A fifo that is opened by mistake would wait for ever.
		lines = append(lines, fmt.Sprintf("{ [ -p %s ] || [ -p %s ] || { %s; }; } 2>/dev/null", a, b, all[r.IntN(len(all))]))
	}
	return strings.Join(append(lines, "true"), "\n")
}
