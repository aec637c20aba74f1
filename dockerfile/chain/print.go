package chain

import (
	"context"
	"fmt"
	"io"

	"github.com/graft-cnb/graft/dockerfile"
)

// Print says what Apply would do, in one of the forms, and does none of it: no engine is
// opened, and nothing is written but to w. It finds and refuses what Apply does before it
// opens an engine. Only FormPlan can tell of more than one image.
//
// Forms that somebody else is to build do not have the proxies, which may have
// passwords in them.
func (a *Applier) Print(ctx context.Context, w io.Writer, form dockerfile.Form, apps ...dockerfile.Application) error {
	silent := *a
	silent.Proxy = nil
	b := &batch{Applier: &silent}
	for _, app := range apps {
		b.runs = append(b.runs, b.newRun(app))
	}
	for _, r := range b.runs {
		if err := r.prepare(ctx); err != nil {
			return err
		}
	}
	if form == dockerfile.FormPlan {
		return b.printPlans(w)
	}
	if len(b.runs) != 1 {
		return fmt.Errorf("the form %s is for one image, and there are %d", form, len(b.runs))
	}
	switch r := b.runs[0]; form {
	case dockerfile.FormDockerfile:
		return r.printDockerfile(w)
	case dockerfile.FormLLB, dockerfile.FormLLBText:
		return r.printLLB(ctx, w, form)
	}
	return fmt.Errorf("there is no form %q", form)
}
