package chain

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"

	"github.com/graft-cnb/graft/dockerfile"
)

// printPlans says for people what would be done to each image.
func (b *batch) printPlans(w io.Writer) error {
	var text bytes.Buffer
	for n, r := range b.runs {
		if n > 0 {
			text.WriteByte('\n')
		}
		if err := r.printPlan(&text); err != nil {
			return err
		}
	}
	_, err := w.Write(text.Bytes())
	return err
}

func (r *run) printPlan(w *bytes.Buffer) error {
	fmt.Fprintf(w, "The %s image\n", r.app.Kind)
	fmt.Fprintf(w, "  base: %s\n", r.app.Base)
	fmt.Fprintf(w, "    is %s, for %s, with %d layers\n", r.base.Name, platforms.Format(r.base.Platform()), len(r.base.Manifest.Layers))
	for n, c := range r.plan.converted {
		fmt.Fprintf(w, "  Dockerfile %d of %d: extension %s, %s\n", n+1, len(r.plan.converted), c.step.Extension, c.step.Path)
		r.printStep(w, c)
	}
	changes, err := r.configChanges()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "  configuration:\n")
	if len(changes) == 0 {
		changes = []string{"as in the base"}
	}
	for _, change := range changes {
		fmt.Fprintf(w, "    %s\n", change)
	}
	fmt.Fprintf(w, "  layers: %d are added to the base's %d\n", len(r.plan.layers), len(r.base.Manifest.Layers))
	if !r.plan.needsEngine() {
		fmt.Fprintf(w, "  engine: none is needed\n")
	}
	if r.app.Root != "" {
		fmt.Fprintf(w, "  to: %s, which the added layers are applied to\n", r.app.Root)
	}
	if r.app.Extended != "" {
		fmt.Fprintf(w, "  to: %s, the added layers alone\n", r.app.Extended)
	}
	for _, output := range r.app.Outputs {
		fmt.Fprintf(w, "  to: %s\n", output)
	}
	return nil
}

// printStep says what a Dockerfile is given and what its instructions are.
func (r *run) printStep(w *bytes.Buffer, c converted) {
	for _, arg := range c.args {
		fmt.Fprintf(w, "    arg: %s=%s\n", arg.Name, oneLine(arg.Value))
	}
	for _, name := range slices.Sorted(maps.Keys(c.unknown)) {
		fmt.Fprintf(w, "    arg: %s is %s, looked up when it runs\n", name, c.unknown[name])
	}
	fmt.Fprintf(w, "    arg: %s is another UUID in each run\n", dockerfile.ArgBuildID)
	if paths, used := contextPaths(c.step.commands); used {
		fmt.Fprintf(w, "    context: %s", c.step.Context)
		if len(paths) > 0 {
			fmt.Fprintf(w, ", and of it %s", oneLine(strings.Join(paths, " ")))
		}
		fmt.Fprintln(w)
	}
	for _, in := range c.instructions {
		note := ""
		if in.layer >= 0 {
			note = fmt.Sprintf("  (layer %d)", in.layer+1)
		}
		where := fmt.Sprintf("line %d", in.line)
		if !in.own {
			where = "from the image before"
		}
		fmt.Fprintf(w, "    %s: %s%s\n", where, oneLine(in.text), note)
	}
}

// configChanges are the differences between the base's configuration and that of the
// extended image, a line for each.
func (r *run) configChanges() ([]string, error) {
	before, err := fields(r.base.RawConfig)
	if err != nil {
		return nil, fmt.Errorf("parse configuration of base image %q: %w", r.app.Base, err)
	}
	raw, err := json.Marshal(r.imageConfig(r.plan))
	if err != nil {
		return nil, err
	}
	after, err := fields(raw)
	if err != nil {
		return nil, err
	}
	// What has to be looked up is a placeholder so far.
	looked := strings.NewReplacer(placeholderUser, "<user_id>", placeholderGroup, "<group_id>")
	names := maps.Clone(before)
	maps.Copy(names, after)
	var changes []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old, was := before[name]
		value, is := after[name]
		switch {
		case !is:
			changes = append(changes, fmt.Sprintf("%s is removed (%s)", name, old))
		case !was:
			changes = append(changes, looked.Replace(fmt.Sprintf("%s: %s", name, value)))
		case old != value:
			changes = append(changes, looked.Replace(fmt.Sprintf("%s: %s, before %s", name, value, old)))
		}
	}
	return changes, nil
}

// fields are what a configuration says for containers, by name: Env and Labels are taken
// apart, and what is empty is left out.
func fields(raw []byte) (map[string]string, error) {
	var image struct {
		Config map[string]json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(raw, &image); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for name, value := range image.Config {
		switch name {
		case "Env":
			var env []string
			if err := json.Unmarshal(value, &env); err != nil {
				return nil, err
			}
			for _, kv := range env {
				k, v, _ := strings.Cut(kv, "=")
				all["Env "+k] = quoted(v)
			}
		case "Labels":
			var labels map[string]string
			if err := json.Unmarshal(value, &labels); err != nil {
				return nil, err
			}
			for k, v := range labels {
				all["Label "+k] = quoted(v)
			}
		default:
			var compact bytes.Buffer
			if err := json.Compact(&compact, value); err != nil {
				return nil, err
			}
			if text := compact.String(); !slices.Contains([]string{"null", `""`, "[]", "{}", "false"}, text) {
				all[name] = text
			}
		}
	}
	return all, nil
}

func quoted(text string) string { return fmt.Sprintf("%q", text) }

// oneLine keeps a text on its line, and what terminals would take for a command out of
// it.
func oneLine(text string) string {
	q := fmt.Sprintf("%q", text)
	if inner := q[1 : len(q)-1]; strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(inner) == text {
		return text
	}
	return q
}
