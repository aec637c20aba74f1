// Command extender applies the Dockerfiles that image extensions generated to
// the build image or the run image, with BuildKit (platform.md, "extender").
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"slices"

	"golang.org/x/term"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
	"github.com/graft-cnb/graft/dockerfile/engine/embedded"
	"github.com/graft-cnb/graft/dockerfile/result"
	"github.com/graft-cnb/graft/phase"
	"github.com/graft-cnb/graft/platform"
)

func main() {
	embedded.Init()
	ctx, stop := platform.SignalContext(context.Background())
	code := platform.RunExtender(ctx, platform.World{}, extend)
	stop()
	os.Exit(int(code))
}

func extend(ctx context.Context, in platform.ExtenderInputs) error {
	quietLibraries(in.Log)
	if in.Preflight {
		return preflight(ctx, in)
	}
	warnings := &phase.Warnings{Log: in.Log}
	extender := newExtender(in, warnings)
	applier, err := newApplier(in, extender.Identity(), warnings)
	if err != nil {
		return err
	}
	handover := newHandover(in)
	if handover != nil {
		extender.Root, extender.RootSkip = "/", in.Builder.Untouched
	}
	if in.Print != "" {
		form := dockerfile.Form(in.Print)
		if form == dockerfile.FormLLB && isTerminal(in.Out) {
			form = dockerfile.FormLLBText
		}
		return extender.Print(ctx, applier, in.Out, form)
	}
	if handover != nil {
		extender.Check = handover.Check
	}
	progress, closeProgress, err := openProgress(in)
	if err != nil {
		return err
	}
	applier.Progress, extender.Applier = progress, codedApplier{applier}
	extended, err := extender.Run(ctx)
	if closeErr := closeProgress(); err == nil {
		err = platform.WithCode(platform.CodeExtend, closeErr)
	}
	if err == nil && handover != nil {
		err = handover.Run(ctx, extended[dockerfile.KindBuild])
	}
	return err
}

func newApplier(in platform.ExtenderInputs, identity string, warnings *phase.Warnings) (*chain.Applier, error) {
	from, to, err := caches(in)
	if err != nil {
		return nil, err
	}
	ssh, err := chain.ParseSSH(in.SSH)
	if err != nil {
		return nil, platform.WithCode(platform.CodeUsage, fmt.Errorf("-ssh: %w", err))
	}
	used := &engines{pool: newPool(in, identity, warnings), log: in.Log}
	return &chain.Applier{
		Engine:             used.open,
		Lost:               used.lost,
		Keychain:           in.Keychain,
		InsecureRegistries: in.InsecureRegistries,
		Secrets:            in.Secrets,
		SSH:                ssh,
		Proxy:              in.Proxy,
		RegistryCA:         in.RegistryCA,
		RunCA:              in.RunCA,
		BaseMetadata:       in.BaseMetadata,
		CacheFrom:          from,
		CacheTo:            to,
		Epoch:              in.Epoch,
		RewriteTimestamps:  in.RewriteTimestamps,
		LayerCompression:   result.Compression(in.LayerCompression),
		Find:               warnings.Find,
		Warn:               warnings.Warnf,
		Info:               in.Log.Infof,
		Debug:              in.Log.Debugf,
	}, nil
}

func newExtender(in platform.ExtenderInputs, warnings *phase.Warnings) phase.Extender {
	extender := phase.Extender{
		Log:       in.Log,
		Layout:    in.API.Generated(),
		Group:     in.Group,
		Analyzed:  in.Analyzed,
		Generated: in.Generated,
		App:       in.App,
		Extended:  in.Extended,
		Bases:     map[dockerfile.Kind]string{},
		Outputs:   map[dockerfile.Kind][]string{},
		Report:    in.Report,
		Warnings:  warnings,
		Redact:    in.Redact,
	}
	for _, image := range in.Images {
		kind := dockerfile.Kind(image.Kind)
		extender.Kinds = append(extender.Kinds, kind)
		extender.Bases[kind], extender.Outputs[kind] = image.Base, image.Outputs
	}
	return extender
}

// newHandover is what follows where the build image is extended in its own container, and
// nil elsewhere.
func newHandover(in platform.ExtenderInputs) *phase.Handover {
	isBuild := func(image platform.ExtendImage) bool { return image.Kind == string(dockerfile.KindBuild) }
	if !in.InContainer || !slices.ContainsFunc(in.Images, isBuild) {
		return nil
	}
	return &phase.Handover{Log: in.Log, Builder: in.Builder, Layers: in.Layers, Environ: os.Environ()}
}

// openProgress finds out where the engine's progress goes: to the log's stdout
// unless a file is named, and nowhere when people are not to hear of progress.
func openProgress(in platform.ExtenderInputs) (chain.Progress, func() error, error) {
	if in.ProgressFile == "" {
		if in.Progress == "auto" && !in.Log.Enabled(platform.LevelInfo) {
			return chain.Progress{}, func() error { return nil }, nil
		}
		if in.Progress == "tty" && !isTerminal(in.Log.Out) {
			return chain.Progress{}, nil, platform.WithCode(platform.CodeUsage, errors.New(
				"-progress tty needs a terminal, and stdout is none: use auto or plain"))
		}
		return chain.Progress{Mode: in.Progress, Output: in.Log.Out, Redact: in.Redact}, func() error { return nil }, nil
	}
	file, err := os.OpenFile(in.ProgressFile, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return chain.Progress{}, nil, platform.WithCode(platform.CodeUsage, fmt.Errorf("-progress-file: %w", err))
	}
	return chain.Progress{Mode: in.Progress, Output: file, Redact: in.Redact}, file.Close, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// quietLibraries sends to the debug log what HTTP libraries write to Go's standard logger,
// such as that a connection was cut: it would come between the extender's own lines.
func quietLibraries(to *platform.Log) {
	log.SetFlags(0)
	log.SetOutput(debugLines{to})
}

type debugLines struct{ to *platform.Log }

func (d debugLines) Write(line []byte) (int, error) {
	d.to.Debugf("%s", bytes.TrimSuffix(line, []byte("\n")))
	return len(line), nil
}
