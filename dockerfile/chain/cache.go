package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// Patience with what caches are on. The registry of one gets askSilence to say anything
// at all before an engine is sent there, since an engine that waits for an answer waits
// with all that it has to do. An export is given up when there is no progress for
// exportSilence: BuildKit tells of none while it sends a layer, however large.
const (
	askSilence    = 10 * time.Second
	exportSilence = 10 * time.Minute
)

// The names that BuildKit's progress has for reading a cache, which the name of the cache
// follows, and for writing one begin so.
const (
	importName = "importing cache manifest from "
	exportName = "exporting cache"
)

// imports are the caches that one build may take from, and what becomes of them.
type imports struct {
	caches []Cache
	warn   func(string, ...any)

	mu     sync.Mutex
	failed map[string]bool
	read   bool // one could be read
}

func newImports(caches []Cache, warn func(string, ...any)) *imports {
	return &imports{caches: caches, warn: warn, failed: map[string]bool{}}
}

// reachable are the caches to take from and to give to, less those that are known to be
// of no use; they are named in a warning.
func (r *run) reachable(ctx context.Context) (from, to []Cache) {
	patience := r.CacheSilence
	if patience == 0 {
		patience = askSilence
	}
	opts := r.registry
	opts.Silence = patience
	problems := map[string]error{}
	var mu sync.Mutex
	var asked sync.WaitGroup
	from, to = r.CacheFrom[r.app.Kind], r.CacheTo[r.app.Kind]
	for _, c := range slices.Concat(from, to) {
		name := cacheName(c)
		if _, twice := problems[name]; twice || c.Type != cacheRegistry {
			continue
		}
		problems[name] = nil
		asked.Go(func() {
			err := base.Silent(ctx, name, opts)
			mu.Lock()
			defer mu.Unlock()
			problems[name] = err
		})
	}
	asked.Wait()
	usable := func(caches []Cache) (out []Cache) {
		for _, c := range caches {
			err := problems[cacheName(c)]
			if err == nil && c.Type == cacheLocal && c.Attrs["src"] != "" {
				err = localCache(c)
			}
			if err == nil {
				out = append(out, c)
				continue
			}
			r.log(r.Warn, "The cache %s is left out: %v", cacheName(c), err)
		}
		return out
	}
	return usable(from), usable(to)
}

// localCache finds out whether a directory holds a cache. BuildKit says nothing of one
// that does not.
func localCache(c Cache) error {
	index := filepath.Join(c.Attrs["src"], ocispecs.ImageIndexFile)
	if c.Attrs["digest"] != "" {
		index = c.Attrs["src"]
	}
	_, err := os.Stat(index)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is none: %w", err)
	}
	return err
}

// entries are the caches in the form that a solve through the gateway takes.
func (i *imports) entries() []gateway.CacheOptionsEntry {
	var out []gateway.CacheOptionsEntry
	for _, c := range i.caches {
		out = append(out, gateway.CacheOptionsEntry{Type: c.Type, Attrs: c.Attrs})
	}
	return out
}

// see warns, once, of each cache that the engine could not read.
func (i *imports) see(status *client.SolveStatus) {
	for _, v := range status.Vertexes {
		id, ok := strings.CutPrefix(v.Name, importName)
		if !ok || v.Completed == nil {
			continue
		}
		i.mu.Lock()
		told := i.failed[id]
		if v.Error == "" {
			i.read = true
		} else {
			i.failed[id] = true
		}
		i.mu.Unlock()
		if v.Error != "" && !told {
			i.warn("The cache %s cannot be used: %s", i.name(id), v.Error)
		}
	}
}

// name is that of the cache with BuildKit's id, which for all but registries is the type
// and a number.
func (i *imports) name(id string) string {
	kind, _, _ := strings.Cut(id, ":")
	var found []string
	for _, c := range i.caches {
		if c.Type == cacheRegistry && c.Attrs["ref"] == id {
			return id
		}
		if c.Type == kind {
			found = append(found, cacheName(c))
		}
	}
	if len(found) > 0 {
		return strings.Join(found, " or ")
	}
	return id
}

// mayHaveFailed tells whether a build that failed might succeed without the caches: one
// was read, and it was the engine that failed, and no command. (What is wrong with a
// Dockerfile is found out on this side.)
func (i *imports) mayHaveFailed(err error) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	var exit *gwpb.ExitError
	_, ofEngine := grpcerrors.AsGRPCStatus(err)
	return i.read && ofEngine && !errors.As(err, &exit)
}

// inlined are the caches that are a part of the image itself, and the others.
func inlined(caches []Cache) (inline, others []Cache) {
	for _, c := range caches {
		if c.Type == cacheInline {
			inline = append(inline, c)
		} else {
			others = append(others, c)
		}
	}
	return inline, others
}

// export gives what the engine has made to a cache, by solving the graph once more: it
// is all there, and what goes wrong now is nothing but a warning.
func (r *run) export(ctx context.Context, c *client.Client, opt client.SolveOpt, to Cache, show *display) {
	opt.Exports, opt.CacheImports, opt.CacheExports = nil, nil, []Cache{to}
	opt.FrontendAttrs = map[string]string{}
	patience := r.CacheSilence
	if patience == 0 {
		patience = exportSilence
	}
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alarm := time.AfterFunc(patience, func() { cancel(fmt.Errorf("there was no progress for %v", patience)) })
	defer alarm.Stop()
	exporting := &exporting{}
	status, _ := show.build(func(s *client.SolveStatus) *client.SolveStatus {
		alarm.Reset(patience)
		return exporting.only(s)
	})
	b := &build{run: r, imports: newImports(nil, nil)}
	_, err := finish(within, func() (*client.SolveResponse, error) {
		return c.Build(within, opt, "", b.solve, status)
	})
	if err == nil || ctx.Err() != nil {
		return
	}
	if within.Err() != nil {
		err = context.Cause(within)
	}
	r.log(r.Warn, "The cache %s was not written: %s", cacheName(to), cause(err))
}

// exporting tells what belongs to the export of a cache from the steps before it, which
// have been shown.
type exporting struct{ vertices map[digest.Digest]bool }

// only keeps of a status what belongs to the export.
func (e *exporting) only(s *client.SolveStatus) *client.SolveStatus {
	if e.vertices == nil {
		e.vertices = map[digest.Digest]bool{}
	}
	out := &client.SolveStatus{}
	for _, v := range s.Vertexes {
		if strings.HasPrefix(v.Name, exportName) {
			e.vertices[v.Digest] = true
			out.Vertexes = append(out.Vertexes, v)
		}
	}
	for _, st := range s.Statuses {
		if e.vertices[st.Vertex] {
			out.Statuses = append(out.Statuses, st)
		}
	}
	return out
}

// cachedGateway lets every solve take from caches.
type cachedGateway struct {
	gateway.Client
	imports *imports
}

// Solve solves with the caches.
func (g *cachedGateway) Solve(ctx context.Context, req gateway.SolveRequest) (*gateway.Result, error) {
	req.CacheImports = g.imports.entries()
	return g.Client.Solve(ctx, req)
}
