package chain

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/base"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// run is the extension of one image.
type run struct {
	*batch
	app      dockerfile.Application
	outputs  []result.Output
	steps    []*step
	base     *base.Image
	registry base.Options
	contexts map[string]string
	epoch    time.Time
	// plan is the first conversion's, and once there is an engine that of the second.
	plan  *plan
	stage *result.Stage
	// record is what the engine has told of its work; nil if there was none.
	record *record
	// failed tells that the error of the batch is of this run.
	failed bool
	// withoutCaches tells that shared caches are not to be taken from any more, forgetful
	// that the engine is one which is better opened again then.
	withoutCaches, forgetful bool
	// keepsTimes tells that RewriteTimestamps does not count.
	keepsTimes bool
	// solved tells that there are the added layers; attempts counts the engines.
	solved   bool
	attempts int
	added    []result.Layer
	// inlineCache is what the engine wants in the configuration, to be found there by
	// those who take the image for a cache.
	inlineCache inlineCache
	// store is that of an engine which can only put images there; stored is what the image
	// is called in it, and given are those that it gets to make it of. Another run that is
	// over must not take away a name that both have.
	store    Storing
	stored   string
	given    string
	extended *result.Image
	// onRoot tells that the engine has brought what was added to app.Root itself.
	onRoot bool

	imagesMu sync.Mutex
	images   map[string]*base.Image
}

func (b *batch) newRun(app dockerfile.Application) *run {
	r := &run{
		batch:    b,
		app:      app,
		registry: base.Options{Keychain: b.Keychain, InsecureRegistries: b.InsecureRegistries, RootCAs: b.RegistryCA, Metadata: b.BaseMetadata},
		epoch:    b.Epoch,
		given:    "graft-base-" + uuid.NewString(),
	}
	if r.epoch.IsZero() {
		r.epoch = DefaultEpoch
	}
	return r
}

// prepare finds out and checks everything that takes no engine: all but the numbers
// of named users.
func (r *run) prepare(ctx context.Context) (err error) {
	if err := r.parseOutputs(); err != nil {
		return err
	}
	if r.steps, err = r.parse(); err != nil {
		return err
	}
	r.registry.Temp = r.stageDir()
	if r.base, err = base.Open(ctx, r.app.Base, r.registry); err != nil {
		return err
	}
	r.log(r.Info, "Base image %s is %s", r.app.Base, r.base.Digest)
	if r.base.Metadata != "" {
		r.log(r.Debug, "Manifest and configuration of the base image are from %s", r.base.Metadata)
	}
	r.plan, err = r.convert(ctx, r.offline())
	if err != nil {
		return err
	}
	return r.check(r.plan)
}

// parseOutputs reads the names of the destinations.
func (r *run) parseOutputs() error {
	for _, name := range r.app.Outputs {
		out, err := result.ParseOutput(name, r.InsecureRegistries)
		if err != nil {
			return err
		}
		r.outputs = append(r.outputs, out)
	}
	return nil
}

// openStage makes the place where results are made.
func (r *run) openStage() (err error) {
	r.stage, err = result.NewStage(r.stageDir())
	return err
}

// stageDir is beside the first result that is a directory, so that results can be
// renamed.
func (r *run) stageDir() string {
	if r.app.Extended != "" {
		return filepath.Dir(r.app.Extended)
	}
	for _, out := range r.outputs {
		if out.Layout != "" {
			return filepath.Dir(out.Layout)
		}
		if out.Archive != "" {
			return filepath.Dir(out.Archive)
		}
	}
	if r.TempDir != "" {
		return r.TempDir
	}
	return os.TempDir()
}

// close removes the stage.
func (r *run) close() {
	if r.stage == nil {
		return
	}
	if err := r.stage.Close(); err != nil {
		r.log(r.Warn, "Cannot remove staging directory: %v", err)
	}
}

// delivery puts the extended image together and prepares its hand-over.
func (r *run) delivery(ctx context.Context) (*result.Delivery, error) {
	config, err := r.config(r.plan, r.added)
	if err != nil {
		return nil, err
	}
	if r.extended, err = result.New(r.base, r.added, config); err != nil {
		return nil, err
	}
	return r.extended.Prepare(ctx, r.stage, result.Destinations{
		Extended: r.app.Extended, Outputs: r.outputs, Registry: r.registry, Root: r.root(),
	})
}

// log writes a line where somebody listens; it names the image where there are several.
func (r *run) log(to func(string, ...any), format string, args ...any) {
	if len(r.runs) > 1 {
		format, args = "%s image: "+format, append([]any{r.app.Kind}, args...)
	}
	r.batch.log(to, format, args...)
}

// who begins a line of the display: whose step it is, of which image where there are
// several.
func (r *run) who(part string) string {
	if len(r.runs) > 1 {
		return "[" + string(r.app.Kind) + " " + part + "]"
	}
	return "[" + part + "]"
}
