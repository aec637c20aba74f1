package chain

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// head says how the Dockerfile is built, and what whoever builds it has to give.
func (p *printer) head() string {
	var b strings.Builder
	if p.escape != parser.DefaultEscapeToken {
		fmt.Fprintf(&b, "# escape=%c\n", p.escape)
	}
	fmt.Fprintf(&b, "# The extended %s image as one Dockerfile, with a stage for each extension.\n", p.app.Kind)
	main := p.main
	if main == "" {
		main = "."
	}
	buildctl := []string{"buildctl build --frontend dockerfile.v0 --local dockerfile=.", "--local", shellWord("context=" + main)}
	docker := []string{"docker buildx build -f Dockerfile"}
	for _, arg := range append([]wantedArg{{"SOURCE_DATE_EPOCH", strconv.FormatInt(p.epoch.Unix(), 10), ""}}, p.wanted...) {
		if arg.unknown != "" {
			arg.value = "VALUE"
			fmt.Fprintf(&b, "# %s has to be given: %s.\n", arg.name, arg.unknown)
		}
		buildctl = append(buildctl, "--opt", shellWord("build-arg:"+arg.name+"="+arg.value))
		docker = append(docker, "--build-arg", shellWord(arg.name+"="+arg.value))
	}
	for _, name := range p.namedContexts() {
		dir := p.plan.contexts[name]
		buildctl = append(buildctl, "--local", shellWord(name+"="+dir), "--opt", "context:"+name+"=local:"+name)
		docker = append(docker, "--build-context", shellWord(name+"="+dir))
	}
	if !p.base.InRegistry() {
		dir, digest := layoutOf(p.base), p.base.Digest.String()
		buildctl = append(buildctl, "--oci-layout", shellWord("base="+dir), "--opt", "context:"+baseContext+"=oci-layout://base@"+digest)
		docker = append(docker, "--build-context", shellWord(baseContext+"=oci-layout://"+dir+"@"+digest))
	}
	for _, flags := range [][]string{p.secretFlags(), p.sshFlags()} {
		buildctl, docker = append(buildctl, flags...), append(docker, flags...)
	}
	if len(p.leaked) > 0 {
		slices.Sort(p.leaked)
		fmt.Fprintf(&b, "# Unlike here, no extension sees the ARGs of another: %s.\n", strings.Join(p.leaked, ", "))
	}
	fmt.Fprintf(&b, "# Build it with one of\n#   %s\n#   %s\n", strings.Join(buildctl, " "), strings.Join(append(docker, shellWord(main)), " "))
	return b.String()
}

// namedContexts are the contexts beside the main one, in the order of their numbers.
func (p *printer) namedContexts() []string {
	var names []string
	for _, c := range p.plan.converted {
		if _, used := contextPaths(c.step.commands); !used {
			continue
		}
		if name := p.contextOf(c); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// secretFlags are flags, of buildctl and of docker, for the secrets that were given. Where
// they come from is not known here.
func (r *run) secretFlags() []string {
	var flags []string
	for _, id := range slices.Sorted(maps.Keys(r.Secrets)) {
		flags = append(flags, "--secret", shellWord("id="+id+",src=FILE"))
	}
	return flags
}

// sshFlags are such flags for the agents.
func (r *run) sshFlags() []string {
	var flags []string
	for _, value := range r.SSH.given {
		flags = append(flags, "--ssh", shellWord(value))
	}
	return flags
}

// layoutOf is the directory of an image's layout, or what to put there.
func layoutOf(img *base.Image) string {
	if img.Layout != "" {
		return img.Layout
	}
	return "LAYOUT-OF-" + img.Source
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)

// shellWord quotes a word for a shell, on one line.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	if strings.ContainsAny(word, "\n\r") {
		return "$" + "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`).Replace(word) + "'"
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
