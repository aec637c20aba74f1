package phase

import (
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"

	"github.com/graft-cnb/graft/buildmodule"
	"github.com/graft-cnb/graft/platform"
)

// member is a module in its place in a group.
type member struct {
	module   *buildmodule.Module
	optional bool
	// excluded says why the module is left out without being asked, and without
	// failing its group; empty for others.
	excluded string
}

// catalog is every module that the order can reach, and how to turn the order
// into groups.
type catalog struct {
	store   buildmodule.Store
	modules map[moduleKey]*buildmodule.Module
	// execEnv is the execution environment; empty where there is none.
	execEnv string
	log     *platform.Log
	skipped map[moduleKey]bool
	// found is what was looked up ahead.
	found map[moduleKey]lookup
}

// lookup is the outcome of looking for a module.
type lookup struct {
	module *buildmodule.Module
	err    error
}

type moduleKey struct {
	kind        buildmodule.Kind
	id, version string
}

func newCatalog(store buildmodule.Store, execEnv string, log *platform.Log) *catalog {
	return &catalog{
		store: store, execEnv: execEnv, log: log,
		modules: map[moduleKey]*buildmodule.Module{},
		skipped: map[moduleKey]bool{},
		found:   map[moduleKey]lookup{},
	}
}

// load reads every module that the order can reach, children of composites
// too, so that nothing runs before all are there and supported. A composite
// that contains itself is an error that names the path.
func (c *catalog) load(kind buildmodule.Kind, order platform.Order) error {
	return c.loadBelow(kind, order, nil)
}

func (c *catalog) loadBelow(kind buildmodule.Kind, order platform.Order, above []string) error {
	c.lookAhead(kind, order)
	for _, group := range order {
		for _, ref := range group.Group {
			if err := c.loadRef(kind, ref, above); err != nil {
				return err
			}
		}
	}
	return nil
}

// lookAhead looks up all modules of an order side by side. What came of each is
// judged later, one after the other.
func (c *catalog) lookAhead(kind buildmodule.Kind, order platform.Order) {
	var todo []moduleKey
	for _, group := range order {
		for _, ref := range group.Group {
			key := moduleKey{kind, ref.ID, ref.Version}
			if _, known := c.found[key]; !known {
				c.found[key] = lookup{}
				todo = append(todo, key)
			}
		}
	}
	results := make([]lookup, len(todo))
	var wait sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(todo))
	for worker := range workers {
		wait.Go(func() {
			for i := worker; i < len(todo); i += workers {
				results[i].module, results[i].err = c.store.Lookup(kind, todo[i].id, todo[i].version)
			}
		})
	}
	wait.Wait()
	for i, key := range todo {
		c.found[key] = results[i]
	}
}

func (c *catalog) loadRef(kind buildmodule.Kind, ref platform.ModuleRef, above []string) error {
	name := ref.ID + "@" + ref.Version
	for i, ancestor := range above {
		if ancestor == name {
			return fmt.Errorf("composite buildpack contains itself: %s", strings.Join(append(above[i:], name), " > "))
		}
	}
	key := moduleKey{kind, ref.ID, ref.Version}
	if _, known := c.modules[key]; known {
		return nil
	}
	module, err := c.found[key].module, c.found[key].err
	if err != nil {
		if errors.Is(err, buildmodule.ErrNotInStore) && len(above) > 0 {
			return fmt.Errorf("%w (it is part of %s)", err, strings.Join(above, " > "))
		}
		return err
	}
	// A module is known only once all below it is, or a cycle would end here
	// without being seen.
	if err := c.loadBelow(kind, module.Order, append(above[:len(above):len(above)], name)); err != nil {
		return err
	}
	c.modules[key] = module
	return nil
}

// element is a place in a group that is not expanded yet: a module, or the
// order of all extensions.
type element struct {
	ref   platform.ModuleRef
	kind  buildmodule.Kind
	order platform.Order
}

func elements(kind buildmodule.Kind, refs []platform.ModuleRef) []element {
	var out []element
	for _, ref := range refs {
		out = append(out, element{ref: ref, kind: kind})
	}
	return out
}

// groups are all groups of the order, in the order in which they are tried:
// extensions before buildpacks, system buildpacks around the buildpacks, every
// composite replaced by its own order, depth first and left to right
// (buildpack.md, "Order Resolution"; platform.md, "detector").
func (c *catalog) groups(file platform.OrderFile, system platform.System) iter.Seq[[]member] {
	return func(yield func([]member) bool) {
		for _, group := range file.Order {
			var todo []element
			if len(file.OrderExtensions) > 0 {
				todo = append(todo, element{kind: buildmodule.Extension, order: optionalOrder(file.OrderExtensions)})
			}
			todo = append(todo, elements(buildmodule.Buildpack, withSystem(group.Group, system))...)
			if !c.expand(nil, todo, yield) {
				return
			}
		}
	}
}

// optionalOrder is the order with every module optional, as extensions are.
func optionalOrder(order platform.Order) platform.Order {
	var out platform.Order
	for _, group := range order {
		var refs []platform.ModuleRef
		for _, ref := range group.Group {
			ref.Optional = true
			refs = append(refs, ref)
		}
		out = append(out, platform.OrderGroup{Group: refs})
	}
	return out
}

// withSystem puts the system buildpacks around a group, but for those that the
// group already has.
func withSystem(group []platform.ModuleRef, system platform.System) []platform.ModuleRef {
	missing := func(refs []platform.ModuleRef) []platform.ModuleRef {
		var out []platform.ModuleRef
	next:
		for _, ref := range refs {
			for _, own := range group {
				if own.ID == ref.ID {
					continue next
				}
			}
			out = append(out, ref)
		}
		return out
	}
	return append(append(missing(system.Pre), group...), missing(system.Post)...)
}

// expand calls yield with every group that begins with done and goes on with
// what todo stands for. It stops, and returns false, once yield does.
func (c *catalog) expand(done []member, todo []element, yield func([]member) bool) bool {
	for i, e := range todo {
		rest := todo[i+1:]
		if e.order != nil {
			return c.expandOrder(done, e.kind, e.order, rest, yield)
		}
		key := moduleKey{e.kind, e.ref.ID, e.ref.Version}
		module := c.modules[key]
		if has(done, e.kind, e.ref.ID) {
			continue
		}
		if why := c.excluded(key, module, e.ref); why != "" {
			done = append(done[:len(done):len(done)], member{module, e.ref.Optional, why})
			continue
		}
		if len(module.Order) > 0 {
			if !c.expandOrder(done, e.kind, module.Order, rest, yield) {
				return false
			}
			// Without an optional composite is the last way to go on.
			return !e.ref.Optional || c.expand(done, rest, yield)
		}
		done = append(done[:len(done):len(done)], member{module: module, optional: e.ref.Optional})
	}
	return yield(done)
}

func (c *catalog) expandOrder(done []member, kind buildmodule.Kind, order platform.Order, rest []element, yield func([]member) bool) bool {
	for _, group := range order {
		if !c.expand(done, append(elements(kind, group.Group), rest...), yield) {
			return false
		}
	}
	return true
}

// excluded says why a module is not for this execution environment, by its
// descriptor or by the order; it is empty if it is.
func (c *catalog) excluded(key moduleKey, module *buildmodule.Module, ref platform.ModuleRef) string {
	if c.execEnv == "" || module.ExecEnv.Fits(c.execEnv) && ref.ExecEnv.Fits(c.execEnv) {
		return ""
	}
	why := fmt.Sprintf("it is not for the execution environment %q", c.execEnv)
	if !c.skipped[key] {
		c.skipped[key] = true
		c.log.Infof("%s %s is left out: %s", module.Kind, module, why)
	}
	return why
}

func has(members []member, kind buildmodule.Kind, id string) bool {
	for _, m := range members {
		if m.module.Kind == kind && m.module.ID == id && m.excluded == "" {
			return true
		}
	}
	return false
}
