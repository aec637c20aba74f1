package chain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/base"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// farewell is how long a cancelled build may take to say good-bye to its engine.
const farewell = 3 * time.Second

// solve runs the chain in an engine: it converts once more, now with what the
// engine can do and with users looked up, solves the graph, and takes the added
// layers into the stage.
//
// Where caches may be to blame for a failure, it is done once more without them: at once,
// or in an engine that has forgotten where it was to get what came from them, which
// errCacheToBlame asks for.
func (r *run) solve(ctx context.Context, engine dockerfile.AppliedEngine, c *client.Client, show *display) error {
	from, to := r.reachable(ctx)
	if r.withoutCaches {
		from = nil
	}
	imports := newImports(from, func(format string, args ...any) { r.log(r.Warn, format, args...) })
	err := r.solveWith(ctx, engine, c, show, imports, to)
	if err == nil || ctx.Err() != nil || !imports.mayHaveFailed(err) {
		return err
	}
	r.log(r.Warn, "The build failed, perhaps because of what came from a cache; building without: %v", err)
	r.withoutCaches = true
	if r.forgetful {
		return errCacheToBlame
	}
	return r.solveWith(ctx, engine, c, show, newImports(nil, nil), to)
}

// errCacheToBlame asks for the engine to be opened again.
var errCacheToBlame = errors.New("the build failed, perhaps because of what came from a cache")

// solveWith is solve with some caches to take from and to give to.
func (r *run) solveWith(ctx context.Context, engine dockerfile.AppliedEngine, c *client.Client, show *display, imports *imports, to []Cache) error {
	r.attempts++
	in, err := newReceiver(filepath.Join(r.stage.Path(), fmt.Sprintf("received-%d", r.attempts)), r.base, r.LayerCompression)
	if err != nil {
		return err
	}
	opt, done, err := r.solveOpt(in)
	if err != nil {
		return err
	}
	defer done()
	empty, err := r.fill(ctx)
	defer empty()
	if err != nil {
		return err
	}
	opt.CacheImports = imports.caches
	opt.CacheExports, to = inlined(to)
	r.record = newRecord(engine)
	resp, err := r.perform(ctx, c, opt, show, imports)
	if err != nil {
		return err
	}
	if r.added, err = r.take(ctx, in, resp); err != nil {
		return err
	}
	r.inlineCache = in.inlineCache
	r.solved = true
	for _, cache := range to {
		r.export(ctx, c, *opt, cache, show)
	}
	return nil
}

// perform has the engine build, and keeps and shows what it tells of that.
func (r *run) perform(ctx context.Context, c *client.Client, opt *client.SolveOpt, show *display, imports *imports) (*client.SolveResponse, error) {
	b := &build{run: r, imports: imports}
	ctx, stop := r.watchPull(ctx, &r.record.pull)
	defer stop()
	status, shown := show.build(func(s *client.SolveStatus) *client.SolveStatus {
		r.record.add(s)
		if ctx.Err() == nil {
			imports.see(s)
		}
		return s
	})
	resp, err := finish(ctx, func() (*client.SolveResponse, error) {
		return c.Build(ctx, *opt, "", b.solve, status)
	})
	if err != nil {
		r.forget(ctx)
	}
	if err != nil && ctx.Err() != nil {
		return nil, r.explain(ctx, err, r.record) // the build may go on for a while
	}
	<-shown
	if b.plan != nil {
		r.plan = b.plan
	}
	switch {
	case b.err != nil:
		// The build function knows more than the engine's account of it.
		return nil, r.explain(ctx, b.err, r.record)
	case err != nil:
		return nil, r.explain(ctx, err, r.record)
	}
	return resp, nil
}

// take gets the added layers of what the engine made, wherever it put that.
func (r *run) take(ctx context.Context, in *receiver, made *client.SolveResponse) ([]result.Layer, error) {
	want := len(r.plan.layers)
	if r.store != nil {
		return r.fetch(ctx, in, want)
	}
	return in.added(ctx, digest.Digest(made.ExporterResponse[exptypes.ExporterImageDigestKey]), want)
}

// finish waits for a build, but not for long once the context has ended.
func finish(ctx context.Context, run func() (*client.SolveResponse, error)) (*client.SolveResponse, error) {
	type outcome struct {
		resp *client.SolveResponse
		err  error
	}
	ch := make(chan outcome, 1)
	go func() {
		resp, err := run()
		ch <- outcome{resp, err}
	}()
	select {
	case o := <-ch:
		return o.resp, o.err
	case <-ctx.Done():
	}
	select {
	case o := <-ch:
		if o.err == nil {
			o.err = context.Cause(ctx)
		}
		return nil, o.err
	case <-time.After(farewell):
		return nil, context.Cause(ctx)
	}
}

// solveOpt is what the engine is given beside the graph: directories, images and
// credentials through the session, and where the layers go. done removes what
// was fetched meanwhile.
func (r *run) solveOpt(in *receiver) (_ *client.SolveOpt, done func(), err error) {
	compression := r.LayerCompression
	if compression == "" {
		compression = result.Uncompressed
	}
	// Not forced: that would have the engine fetch and pack the base's layers too.
	attrs := map[string]string{
		"tar":                                   "false",
		string(exptypes.OptKeyLayerCompression): string(compression),
		string(exptypes.OptKeyOCITypes):         "true",
	}
	if r.RewriteTimestamps && !r.keepsTimes {
		attrs[string(exptypes.OptKeySourceDateEpoch)] = strconv.FormatInt(r.epoch.Unix(), 10)
		attrs[string(exptypes.OptKeyRewriteTimestamp)] = "true"
	}
	opt := &client.SolveOpt{
		Exports:     []client.ExportEntry{r.exportTo(in, attrs)},
		LocalMounts: map[string]fsutil.FS{},
		OCIStores:   map[string]content.Store{},
		Session:     []session.Attachable{newCredentials(r.registry)},
		// The client writes caches into it, and does not make it.
		FrontendAttrs: map[string]string{},
		// Not recorded in the engine's history of builds, which would hold the
		// graph, and in it the proxies with their passwords.
		Internal: true,
	}
	if all := r.secrets(); len(all) > 0 {
		opt.Session = append(opt.Session, secretsprovider.FromMap(all))
	}
	opt.Session = r.SSH.attach(opt.Session)
	for name, dir := range r.plan.contexts {
		if opt.LocalMounts[name], err = fsutil.NewFS(dir); err != nil {
			return nil, nil, fmt.Errorf("open context %s: %w", dir, err)
		}
	}
	var stores []*base.Store
	for name, img := range r.plan.stores {
		store := img.Store(r.stage.Path())
		stores = append(stores, store)
		opt.OCIStores[name] = store
	}
	return opt, func() {
		for _, s := range stores {
			if err := s.Close(); err != nil {
				r.log(r.Warn, "Remove fetched layers: %v", err)
			}
		}
	}, nil
}

// build is the part of a solve that speaks to the engine's gateway. Its fields
// may be read once the build has returned.
type build struct {
	run     *run
	imports *imports
	plan    *plan
	err     error
}

// solve is the gateway's build function.
func (b *build) solve(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
	res, err := b.solveGraph(ctx, gw)
	if err != nil {
		b.err = err
		return nil, err
	}
	return res, nil
}

func (b *build) solveGraph(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
	r := b.run
	env := r.online(&cachedGateway{Client: gw, imports: b.imports})
	p, err := r.convert(ctx, env)
	if err != nil {
		return nil, err
	}
	if err := r.check(p); err != nil {
		return nil, err
	}
	b.plan = p
	if err := r.checkPlatform(p, env); err != nil {
		return nil, err
	}
	def, err := p.state.Marshal(ctx, llb.Platform(r.base.Platform()), llb.WithCaps(env.caps))
	if err != nil {
		return nil, fmt.Errorf("write the build graph: %w", err)
	}
	if err := r.mountCA(def); err != nil {
		return nil, err
	}
	r.rename(def)
	r.record.locate(def, p.converted)
	solved, err := env.gateway.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return nil, err
	}
	ref, err := solved.SingleRef()
	if err != nil {
		return nil, err
	}
	if p.namedUser() {
		if ref == nil {
			return nil, r.rootError(p, fmt.Sprintf("USER %q has a name, and the image has no files", p.image.Config.User))
		}
		passwd, err := ref.ReadFile(ctx, gateway.ReadRequest{Filename: "/etc/passwd"})
		if err != nil {
			return nil, r.rootError(p, fmt.Sprintf("USER %q cannot be looked up in the extended image (%v)", p.image.Config.User, err))
		}
		if err := r.checkNamedUser(p, passwd); err != nil {
			return nil, err
		}
	}
	config, err := json.Marshal(r.imageConfig(p))
	if err != nil {
		return nil, err
	}
	res := gateway.NewResult()
	res.SetRef(ref)
	res.AddMeta(exptypes.ExporterImageConfigKey, config)
	res.AddMeta(exptypes.ExporterImageBaseConfigKey, r.base.RawConfig)
	return res, nil
}

// counter is what BuildKit puts before an instruction: its number in its
// Dockerfile. With several Dockerfiles that says nothing.
var counter = regexp.MustCompile(`^\[(stage-\d+)? *\d+/\d+\] `)

// rename puts the extension before the names that the display shows. Names are
// no part of what the engine caches by.
func (r *run) rename(def *llb.Definition) {
	if def.Source == nil {
		return
	}
	extensions := map[string]string{}
	for _, s := range r.steps {
		extensions[s.label] = s.Extension
	}
	for dgst, locations := range def.Source.Locations {
		meta, ok := def.Metadata[digest.Digest(dgst)]
		if !ok || len(locations.Locations) == 0 {
			continue
		}
		n := int(locations.Locations[0].SourceIndex)
		if n >= len(def.Source.Infos) {
			continue
		}
		extension, ok := extensions[def.Source.Infos[n].Filename]
		if !ok {
			continue
		}
		renamed := func(name string) string { return r.who(extension) + " " + counter.ReplaceAllString(name, "") }
		if name, ok := meta.Description["llb.customname"]; ok {
			meta.Description = maps.Clone(meta.Description)
			meta.Description["llb.customname"] = renamed(name)
		}
		if group := meta.ProgressGroup; group != nil {
			// Operations that make up one instruction are shown as one.
			meta.ProgressGroup = &pb.ProgressGroup{Id: group.Id, Name: renamed(group.Name), Weak: group.Weak}
		}
		def.Metadata[digest.Digest(dgst)] = meta
	}
}
