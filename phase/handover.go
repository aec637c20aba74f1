package phase

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/platform"
)

// Handover gives a container, once it is one of the extended build image, to the builder,
// which takes the place of this process (platform.md, "extender": "SHALL proceed with the
// build phase").
type Handover struct {
	Log     *platform.Log
	Builder platform.BuilderInputs
	// Layers is the directory that the builder writes to.
	Layers string
	// Environ is the container's environment, as NAME=value.
	Environ []string
}

// Check tells beforehand what would make it fail. The error carries platform.CodeExtend,
// or platform.CodeFailed where the platform named no user to build as.
func (h Handover) Check() error {
	if os.Geteuid() != 0 {
		return platform.WithCode(platform.CodeExtend, fmt.Errorf(
			"extending the build image in its own container changes files of root, and this process has uid %d: start the container as root (the builder runs as -uid and -gid all the same), or say -in-container=false and where the image goes with -output", os.Geteuid()))
	}
	if err := h.Builder.User.Check(); err != nil {
		return err
	}
	info, err := os.Stat(h.Builder.Program)
	if err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0) {
		err = fmt.Errorf("%s is no program", h.Builder.Program)
	}
	if err != nil {
		return platform.WithCode(platform.CodeExtend, fmt.Errorf(
			"there is no builder to hand over to (%w): name it with -builder, or say -in-container=false and where the image goes with -output", err))
	}
	return nil
}

// Run hands over. It returns only when that fails, with an error that carries
// platform.CodeExtend, or when ctx has ended.
func (h Handover) Run(ctx context.Context, extended dockerfile.Applied) error {
	err := h.run(ctx, extended.Env)
	return platform.WithCode(platform.CodeExtend, fmt.Errorf("handing over to the builder: %w", err))
}

func (h Handover) run(ctx context.Context, imageEnv []string) error {
	if err := platform.MkdirAll(h.Layers); err != nil {
		return err
	}
	if err := h.Builder.User.Own(h.Layers); err != nil {
		return fmt.Errorf("giving %s to the build user: %w", h.Layers, err)
	}
	// Who it is may be what the Dockerfiles have changed.
	identity, err := h.Builder.User.Identity()
	if err != nil {
		return err
	}
	h.Log.Infof("Handing over to %s as %s", h.Builder.Program, identity)
	// What comes from here on is for the builder, and what came before still counts.
	signal.Reset(os.Interrupt, syscall.SIGTERM)
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), context.Cause(ctx))
	}
	return identity.Exec(h.Builder.Program, h.environment(imageEnv, identity.Account))
}

// environment is the container's with the extended image's on top, then what is known of
// the build user and the builder's inputs.
func (h Handover) environment(imageEnv []string, account platform.Account) []string {
	vars := map[string]string{}
	set := func(list []string, except ...string) {
		for _, variable := range list {
			if name, value, ok := strings.Cut(variable, "="); ok && !slices.Contains(except, name) {
				vars[name] = value
			}
		}
	}
	set(h.Environ, append(h.Builder.Withheld, "HOME", "USER")...)
	set(imageEnv, "HOME", "USER", "CNB_REGISTRY_AUTH")
	vars["HOME"] = account.Home
	if account.Name != "" {
		vars["USER"] = account.Name
	}
	for name, value := range h.Builder.Variables {
		vars[name] = value
	}
	return platform.EnvList(vars)
}
