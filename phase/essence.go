package phase

import (
	"slices"
	"strconv"
	"strings"

	"github.com/graft-cnb/graft/buildmodule"
)

// essence describes what the alternatives chosen for the first n candidates mean
// to the others: two beginnings with the same essence go on with the same
// success. It lists
//
//   - the names that are provided for sure and that others may require,
//   - the names that someone after them must require,
//   - the optional candidates that are not settled, which stay only if someone
//     after them requires what they provide, and who hangs on them.
func (t *trial) essence(n int) string {
	b := &beginning{t: t, n: n}
	b.settle()
	var unsettled []string
	wanted := t.requiredAfter(n)
	provided, missing := map[string]bool{}, map[string]bool{}
	buildpack := false
	for i := range n {
		if !b.stays[i] {
			continue
		}
		buildpack = buildpack || t.candidates[i].module.Kind == buildmodule.Buildpack
		for _, p := range b.chosen(i).Provides {
			if wanted[p.Name] {
				provided[p.Name] = true
			}
			if !b.requiredFrom(i, p.Name) {
				missing["-"+p.Name+b.rank(i)] = true
			}
		}
		for _, r := range b.chosen(i).Requires {
			if !b.providedUpTo(i, r.Name) {
				missing["+"+r.Name+b.rank(i)] = true
			}
		}
	}
	for _, u := range b.unsettled {
		own := strconv.Itoa(u)
		for _, p := range b.chosen(u).Provides {
			own += " " + strconv.FormatBool(b.requiredFrom(u, p.Name))
		}
		for _, r := range b.chosen(u).Requires {
			own += " " + strconv.FormatBool(b.providedUpTo(u, r.Name))
		}
		unsettled = append(unsettled, own)
	}
	return strings.Join([]string{
		strconv.Itoa(n), strconv.FormatBool(buildpack), strings.Join(unsettled, ","), joinKeys(provided), joinKeys(missing),
	}, ";")
}

// requiredAfter are the names that candidates from n on may require.
func (t *trial) requiredAfter(n int) map[string]bool {
	names := map[string]bool{}
	for _, c := range t.candidates[n:] {
		for _, a := range c.alternatives {
			for _, r := range a.Requires {
				names[r.Name] = true
			}
		}
	}
	return names
}

// joinKeys makes one text of a set.
func joinKeys(set map[string]bool) string {
	keys := make([]string, 0, len(set))
	for key := range set {
		keys = append(keys, strconv.Quote(key))
	}
	slices.Sort(keys)
	return strings.Join(keys, "")
}

// beginning is the first n candidates of a trial, each with one alternative left.
type beginning struct {
	t *trial
	n int
	// stays[i] tells that candidate i is in the result whatever comes, if the
	// trial holds at all.
	stays []bool
	// unsettled are the candidates that may stay or drop out.
	unsettled []int
}

func (b *beginning) chosen(i int) buildmodule.Alternative {
	return b.t.candidates[i].alternatives[chosen(b.t.open[i])]
}

// settle finds out who stays: required candidates, and those optional ones that
// lack nothing without any help from those who come after.
func (b *beginning) settle() {
	b.stays = make([]bool, b.n)
	optional := make([]bool, b.n)
	for i := range b.n {
		a := chosen(b.t.open[i])
		b.stays[i] = b.t.contributes(i, a)
		optional[i] = b.t.droppable(i, a)
	}
	for changed := true; changed; {
		changed = false
		for i := range b.n {
			if !b.stays[i] || !optional[i] || b.lacksNothing(i) {
				continue
			}
			b.stays[i] = false
			b.unsettled = append(b.unsettled, i)
			changed = true
		}
	}
	slices.Sort(b.unsettled)
}

func (b *beginning) lacksNothing(i int) bool {
	own := b.chosen(i)
	for _, r := range own.Requires {
		if !b.providedUpTo(i, r.Name) {
			return false
		}
	}
	for _, p := range own.Provides {
		if !b.requiredFrom(i, p.Name) {
			return false
		}
	}
	return true
}

// providedUpTo tells whether candidate i itself or one before it that stays
// provides a name.
func (b *beginning) providedUpTo(i int, name string) bool {
	for j := range i + 1 {
		if (j == i || b.stays[j]) && provides(b.chosen(j), name) {
			return true
		}
	}
	return false
}

// requiredFrom tells whether candidate i itself or one after it that stays
// requires a name.
func (b *beginning) requiredFrom(i int, name string) bool {
	for j := i; j < b.n; j++ {
		if (j == i || b.stays[j]) && requires(b.chosen(j), name) {
			return true
		}
	}
	return false
}

// rank is where a candidate stands among those that are not settled, which is all
// that its place can matter for.
func (b *beginning) rank(i int) string {
	before := 0
	for _, u := range b.unsettled {
		if u < i {
			before++
		}
	}
	return "@" + strconv.Itoa(before)
}
