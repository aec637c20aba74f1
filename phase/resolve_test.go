package phase

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/graft-cnb/graft/buildmodule"
)

// TestResolveEqualsEnumeration guards that cutting branches changes nothing:
// the first trial that holds is the one that a plain enumeration in the spec's
// order finds (buildpack.md, "Phase #1: Detection", "a sequence of trials").
func TestResolveEqualsEnumeration(t *testing.T) {
	resolved := 0
	for seed := range uint64(60000) {
		random := rand.New(rand.NewPCG(seed, 7))
		candidates := randomCandidates(random.IntN)
		if compareWithEnumeration(t, candidates) {
			resolved++
		}
	}
	if resolved < 3000 {
		t.Errorf("only %d of the random groups resolve: the test compares too little", resolved)
	}
}

// FuzzResolve does the same for groups that the fuzzer makes.
func FuzzResolve(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, data []byte) {
		compareWithEnumeration(t, randomCandidates(func(n int) int {
			if len(data) == 0 {
				return 0
			}
			value := int(data[0]) % n
			data = data[1:]
			return value
		}))
	})
}

// compareWithEnumeration returns whether the group resolves.
func compareWithEnumeration(t *testing.T, candidates []candidate) bool {
	t.Helper()
	got, ok := resolve(candidates)
	want, wantOK := enumerate(candidates)
	if ok != wantOK {
		t.Fatalf("resolves: %v, by enumeration: %v, for %s", ok, wantOK, show(candidates))
	}
	if !ok {
		return false
	}
	if names := memberNames(got.members); !slices.Equal(names, want.names) {
		t.Fatalf("selects %v, by enumeration %v, for %s", names, want.names, show(candidates))
	}
	plan := map[string][]string{}
	for _, entry := range got.plan.Entries {
		name := entry.Requires[0].Name
		for _, p := range entry.Providers {
			plan[name] = append(plan[name], p.ID)
		}
		plan[name] = append(plan[name], fmt.Sprint(len(entry.Requires)))
	}
	if !reflect.DeepEqual(plan, want.plan) {
		t.Fatalf("plans %v, by enumeration %v, for %s", plan, want.plan, show(candidates))
	}
	return true
}

func memberNames(members []member) []string {
	var names []string
	for _, m := range members {
		names = append(names, m.module.ID)
	}
	return names
}

func show(candidates []candidate) string {
	s := ""
	for _, c := range candidates {
		s += fmt.Sprintf("\n%s %s optional=%v %+v", c.module.Kind, c.module.ID, c.optional, c.alternatives)
	}
	return s
}

// randomCandidates makes up to seven modules with up to three alternatives over
// a few names, so that most of them have to do with each other.
func randomCandidates(intN func(int) int) []candidate {
	var candidates []candidate
	for i := range intN(7) + 1 {
		c := candidate{member: member{module: &buildmodule.Module{Kind: buildmodule.Buildpack, ID: fmt.Sprintf("m%d", i)}}}
		c.optional = intN(2) == 0
		extension := intN(5) == 0
		if extension {
			c.module.Kind, c.optional = buildmodule.Extension, true
		}
		for range intN(3) + 1 {
			var a buildmodule.Alternative
			for range intN(3) {
				a.Provides = append(a.Provides, buildmodule.Provide{Name: string(rune('a' + intN(4)))})
			}
			for range intN(3) {
				if !extension {
					a.Requires = append(a.Requires, buildmodule.Require{Name: string(rune('a' + intN(4)))})
				}
			}
			c.alternatives = append(c.alternatives, a)
		}
		candidates = append(candidates, c)
	}
	return candidates
}

// enumerated is the outcome of a trial: who is left, and for each name its
// providers and, last, the number of requires.
type enumerated struct {
	names []string
	plan  map[string][]string
}

// choice is one module in one trial.
type choice struct {
	candidate
	a    buildmodule.Alternative
	last bool
}

// enumerate builds every trial and judges it by the letter of the spec.
func enumerate(candidates []candidate) (enumerated, bool) {
	var try func(i int, chosen []choice) (enumerated, bool)
	try = func(i int, chosen []choice) (enumerated, bool) {
		if i == len(candidates) {
			return judge(slices.Clone(chosen))
		}
		c := candidates[i]
		for n, a := range c.alternatives {
			if got, ok := try(i+1, append(chosen, choice{c, a, n == len(c.alternatives)-1})); ok {
				return got, true
			}
		}
		return enumerated{}, false
	}
	return try(0, nil)
}

// judge takes away optional modules with something unmet, one at a time and
// from the start again, until all is met or a required one has something unmet.
func judge(trial []choice) (enumerated, bool) {
	for {
		unmet := slices.IndexFunc(trial, func(c choice) bool {
			i := slices.IndexFunc(trial, func(d choice) bool { return d.module == c.module })
			for _, r := range c.a.Requires {
				if !slices.ContainsFunc(trial[:i+1], func(d choice) bool { return provides(d.a, r.Name) }) {
					return true
				}
			}
			for _, p := range c.a.Provides {
				if !slices.ContainsFunc(trial[i:], func(d choice) bool { return requires(d.a, p.Name) }) {
					return true
				}
			}
			return false
		})
		if unmet < 0 {
			break
		}
		if !trial[unmet].optional || !trial[unmet].last {
			return enumerated{}, false
		}
		trial = slices.Delete(trial, unmet, unmet+1)
	}
	if !slices.ContainsFunc(trial, func(c choice) bool { return c.module.Kind == buildmodule.Buildpack }) {
		return enumerated{}, false
	}
	got := enumerated{plan: map[string][]string{}}
	counts := map[string]int{}
	for _, c := range trial {
		got.names = append(got.names, c.module.ID)
		for _, p := range c.a.Provides {
			got.plan[p.Name] = append(got.plan[p.Name], c.module.ID)
		}
		for _, r := range c.a.Requires {
			counts[r.Name]++
		}
	}
	for name, n := range counts {
		got.plan[name] = append(got.plan[name], fmt.Sprint(n))
	}
	return got, true
}

// families are the groups in which a plain product of alternatives is hopeless:
// 20 modules with three alternatives each.
func families(modules int) map[string][]candidate {
	name := func(kind string, i int) string { return fmt.Sprintf("%s%d", kind, i) }
	provide := func(n string) buildmodule.Alternative {
		return buildmodule.Alternative{Provides: []buildmodule.Provide{{Name: n}}}
	}
	both := func(n string) buildmodule.Alternative {
		return buildmodule.Alternative{Provides: []buildmodule.Provide{{Name: n}}, Requires: []buildmodule.Require{{Name: n}}}
	}
	build := func(optional bool, alternatives func(i int) []buildmodule.Alternative) []candidate {
		var out []candidate
		for i := range modules {
			out = append(out, candidate{
				member{module: &buildmodule.Module{Kind: buildmodule.Buildpack, ID: name("m", i)}, optional: optional && i > 0},
				alternatives(i),
			})
		}
		return out
	}
	last := build(false, func(i int) []buildmodule.Alternative {
		return []buildmodule.Alternative{provide(name("x", i)), provide(name("y", i)), both(name("z", i))}
	})
	// Every choice is fine by itself; only the last module, which wants what
	// nobody has, spoils all of them.
	fail := build(false, func(i int) []buildmodule.Alternative {
		if i == modules-1 {
			return []buildmodule.Alternative{{Requires: []buildmodule.Require{{Name: "nobody"}}}}
		}
		return []buildmodule.Alternative{both("a"), both("b"), both("c")}
	})
	// All of the last module's needs hang on what the others choose last.
	late := build(false, func(i int) []buildmodule.Alternative {
		if i == modules-1 {
			var a buildmodule.Alternative
			for j := range modules - 1 {
				a.Requires = append(a.Requires, buildmodule.Require{Name: name("late", j)})
			}
			return []buildmodule.Alternative{a}
		}
		return []buildmodule.Alternative{both("a"), both("b"), provide(name("late", i))}
	})
	optional := build(true, func(i int) []buildmodule.Alternative {
		if i == 0 {
			return []buildmodule.Alternative{{}}
		}
		return []buildmodule.Alternative{provide(name("x", i)), provide(name("y", i)), provide(name("z", i))}
	})
	return map[string][]candidate{
		"last wins": last, "all fail": fail, "late needs": late, "optional drop out": optional, "tangled": tangledCandidates(4731),
	}
}

// TestResolveEndsForManyAlternatives guards against building the product: each
// of these has three to the 20th trials.
func TestResolveEndsForManyAlternatives(t *testing.T) {
	want := map[string]bool{"last wins": true, "all fail": false, "late needs": true, "optional drop out": true, "tangled": false}
	for name, candidates := range families(20) {
		sel, ok := resolve(candidates)
		if ok != want[name] {
			t.Errorf("%s: resolves: %v", name, ok)
		}
		if name == "optional drop out" && len(sel.members) != 1 {
			t.Errorf("%s: %d modules are left", name, len(sel.members))
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	for name, candidates := range families(20) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				resolve(candidates)
			}
		})
	}
}

// tangledCandidates are 20 modules with three alternatives over a few names, so
// that every choice bears on all others.
func tangledCandidates(seed uint64) []candidate {
	random := rand.New(rand.NewPCG(seed, 9))
	names := 3 + random.IntN(30)
	var candidates []candidate
	for i := range 20 {
		c := candidate{member: member{module: &buildmodule.Module{Kind: buildmodule.Buildpack, ID: fmt.Sprint(i)}}}
		c.optional = random.IntN(4) == 0
		for range 3 {
			var a buildmodule.Alternative
			for range random.IntN(4) {
				a.Provides = append(a.Provides, buildmodule.Provide{Name: fmt.Sprint(random.IntN(names))})
			}
			for range random.IntN(4) {
				a.Requires = append(a.Requires, buildmodule.Require{Name: fmt.Sprint(random.IntN(names))})
			}
			c.alternatives = append(c.alternatives, a)
		}
		candidates = append(candidates, c)
	}
	return candidates
}

// TestResolveEndsForTangledGroups guards against trying again what failed
// already: without that, the first of these takes minutes.
func TestResolveEndsForTangledGroups(t *testing.T) {
	resolved := 0
	seeds := []uint64{4731, 149, 38903}
	for seed := range uint64(2000) {
		seeds = append(seeds, seed)
	}
	for _, seed := range seeds {
		candidates := tangledCandidates(seed)
		search := newTrial(candidates)
		if !search.search(0) {
			continue
		}
		resolved++
		// What it selects must at least hold by itself.
		var trial []choice
		for i, c := range candidates {
			if a := chosen(search.open[i]); search.contributes(i, a) {
				trial = append(trial, choice{c, c.alternatives[a], false})
			}
		}
		if _, holds := judge(trial); !holds {
			t.Errorf("seed %d: what is selected does not hold: %v", seed, memberNames(search.selection().members))
		}
	}
	if resolved == 0 {
		t.Error("none resolves: the test shows too little")
	}
}
