package chain

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/graft-cnb/graft/dockerfile"
)

// commandKey is where BuildKit's converter describes the instruction that an operation
// belongs to.
const commandKey = "com.docker.dockerfile.v1.command"

// record keeps what an engine tells of one build: the end of what each command
// printed, which operation was carried out when, and how the base arrives.
type record struct {
	engine dockerfile.AppliedEngine
	pull   pull

	mu       sync.Mutex
	tails    map[digest.Digest]*tail
	vertices map[digest.Digest]*vertex
	// places are the operations of each instruction, and lines where each operation stands.
	places map[place][]digest.Digest
	lines  map[digest.Digest]line
}

// line is a line of a Dockerfile.
type line struct {
	step *step
	n    int
}

// place is an instruction: the label of its Dockerfile, and its number there.
type place struct {
	label string
	n     int
}

// vertex is what is known of one operation.
type vertex struct {
	// spans are when it was worked on, by their beginning.
	spans  map[time.Time]time.Duration
	cached bool
	failed bool
	// inputs: it works on something.
	inputs bool
	// failure is the engine's word for how it failed.
	failure string
}

func newRecord(engine dockerfile.AppliedEngine) *record {
	return &record{engine: engine, tails: map[digest.Digest]*tail{}, vertices: map[digest.Digest]*vertex{}}
}

// add takes what arrived.
func (k *record) add(status *client.SolveStatus) {
	k.pull.add(status)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range status.Logs {
		if k.tails[l.Vertex] == nil {
			k.tails[l.Vertex] = &tail{}
		}
		k.tails[l.Vertex].add(l.Stream, l.Data)
	}
	for _, v := range status.Vertexes {
		known := k.vertices[v.Digest]
		if known == nil {
			known = &vertex{spans: map[time.Time]time.Duration{}}
			k.vertices[v.Digest] = known
		}
		known.inputs = known.inputs || len(v.Inputs) > 0
		switch {
		case v.Completed == nil || v.Started == nil:
		case v.Cached:
			known.cached = true
		case strings.Contains(v.Error, context.Canceled.Error()): // because of something else
		case v.Error != "":
			known.failed, known.failure = true, v.Error
		case known.inputs && len(v.Inputs) == 0:
			// What it made is fetched from a cache, which is told as work of its own.
		default:
			known.spans[*v.Started] = v.Completed.Sub(*v.Started)
		}
	}
}

// locate finds out which operations of a graph belong to which instruction. The first
// graph counts: that of a cache which is written afterwards may have other operations, by
// the session that a context comes through, and nothing is told of them here.
func (k *record) locate(def *llb.Definition, steps []converted) {
	if def.Source == nil {
		return
	}
	places, lines := map[place][]digest.Digest{}, map[digest.Digest]line{}
	byLabel := map[string]converted{}
	for _, c := range steps {
		byLabel[c.step.label] = c
	}
	ops := operations(def)
	for _, data := range def.Def {
		dgst := digest.FromBytes(data)
		locations, ok := def.Source.Locations[dgst.String()]
		if !ok || len(locations.Locations) == 0 || len(locations.Locations[0].Ranges) == 0 {
			continue
		}
		at := locations.Locations[0]
		if int(at.SourceIndex) >= len(def.Source.Infos) {
			continue
		}
		c, ok := byLabel[def.Source.Infos[at.SourceIndex].Filename]
		if !ok {
			continue
		}
		lines[dgst] = line{c.step, int(at.Ranges[0].Start.Line)}
		for _, source := range remoteInputs(ops, dgst) {
			if _, known := lines[source]; !known {
				lines[source] = lines[dgst] // what ADD fetches has none of its own
			}
		}
		if n, ok := c.find(int(at.Ranges[0].Start.Line), def.Metadata[dgst].Description[commandKey]); ok {
			p := place{c.step.label, n}
			places[p] = append(places[p], dgst)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.places == nil {
		k.places, k.lines = places, lines
	}
}

// operations are those of a graph.
func operations(def *llb.Definition) map[digest.Digest]*pb.Op {
	ops := map[digest.Digest]*pb.Op{}
	for _, data := range def.Def {
		op := &pb.Op{}
		if err := op.Unmarshal(data); err == nil {
			ops[digest.FromBytes(data)] = op
		}
	}
	return ops
}

// remoteInputs are the sources that an operation takes from a server which is no registry.
func remoteInputs(ops map[digest.Digest]*pb.Op, dgst digest.Digest) (sources []digest.Digest) {
	for _, in := range ops[dgst].GetInputs() {
		source := ops[digest.Digest(in.Digest)].GetSource()
		switch scheme, _, _ := strings.Cut(source.GetIdentifier(), "://"); scheme {
		case "http", "https", "git":
			sources = append(sources, digest.Digest(in.Digest))
		}
	}
	return sources
}

// whose is the line that an operation stands on, and what is said of it first if the image
// before triggers it.
func (k *record) whose(steps []converted, vertex digest.Digest) (at line, trigger string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for p, all := range k.places {
		if !slices.Contains(all, vertex) {
			continue
		}
		for _, c := range steps {
			if c.step.label == p.label && !c.instructions[p.n].own {
				trigger = c.instructions[p.n].trigger()
			}
		}
	}
	return k.lines[vertex], trigger
}

// failure is the line whose operation failed first, and how, as an old engine tells it by
// its progress alone.
func (k *record) failure() (at line, vertex digest.Digest, text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for dgst, v := range k.vertices {
		if l, ok := k.lines[dgst]; ok && v.failed && (at.step == nil || l.n < at.n) {
			at, vertex, text = l, dgst, v.failure
		}
	}
	return at, vertex, text
}

// find is the instruction with a layer that begins on a line. All that the image
// triggers are on one, and are told apart by what they say.
func (c converted) find(line int, text string) (n int, ok bool) {
	for i, in := range c.instructions {
		if in.layer < 0 || in.line != line {
			continue
		}
		if in.text == text {
			return i, true
		}
		if !ok {
			n, ok = i, true
		}
	}
	return n, ok
}

// outcome is what became of an instruction that adds a layer, and how many seconds it
// took.
func (k *record) outcome(p place) (dockerfile.Outcome, float64) {
	if k == nil {
		return dockerfile.OutcomePending, 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var spent time.Duration
	ran, unfinished := false, len(k.places[p]) == 0
	for _, dgst := range k.places[p] {
		v := k.vertices[dgst]
		if v == nil {
			unfinished = true
			continue
		}
		if v.failed && len(v.spans) == 0 {
			return dockerfile.OutcomeFailed, 0
		}
		for _, span := range v.spans {
			ran = true
			spent += span
		}
		unfinished = unfinished || len(v.spans) == 0 && !v.cached
	}
	switch {
	case unfinished:
		return dockerfile.OutcomePending, 0
	case ran:
		return dockerfile.OutcomeDone, spent.Seconds()
	}
	return dockerfile.OutcomeCached, 0
}

// tail is the end of what the command behind a vertex printed, whole lines.
func (k *record) tail(vertex string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.tails[digest.Digest(vertex)]; t != nil {
		return t.String()
	}
	return ""
}
