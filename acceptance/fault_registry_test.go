package acceptance

import (
	"archive/tar"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// failingRegistry is a registry that holds a base image, and that fails where a
// request's path has a part, for as long as it is switched on.
type failingRegistry struct {
	*testRegistry
	reference string
	failing   atomic.Bool
	failures  atomic.Int32
}

// newFailingRegistry answers requests for the part with fault.
func newFailingRegistry(t *testing.T, image v1.Image, part string, fault http.HandlerFunc) *failingRegistry {
	t.Helper()
	f := &failingRegistry{testRegistry: newRegistry(t, (*httptest.Server).Start)}
	f.reference = f.push(t, "base:tag", image)
	inner := f.Config.Handler
	f.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.failing.Load() && strings.Contains(r.URL.Path, part) && r.Header.Get("Authorization") != "" {
			f.failures.Add(1)
			fault(w, r)
			return
		}
		r.Header.Del("Range") // which the registry of the tests does not understand
		inner.ServeHTTP(w, r)
	})
	f.failing.Store(true)
	return f
}

// scene extends the registry's image.
func (f *failingRegistry) scene(t *testing.T, e engine) *scene {
	t.Helper()
	s := registryScene(t, f.reference, e)
	s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, f.host, basicAuth())
	return s
}

// faults are the ways in which a registry fails to give content, by what they are
// called.
func faults(content []byte) map[string]http.HandlerFunc {
	begin := func(w http.ResponseWriter, part []byte) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(part) // whoever hangs up has enough
		w.(http.Flusher).Flush()
	}
	return map[string]http.HandlerFunc{
		"resets": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"resets in the middle": func(w http.ResponseWriter, _ *http.Request) {
			begin(w, content[:len(content)/2])
			panic(http.ErrAbortHandler)
		},
		"429":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"500":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"another content": func(w http.ResponseWriter, _ *http.Request) { begin(w, make([]byte, len(content))) },
	}
}

// A registry that goes on failing while a layer of the base is pulled, by the engine
// or (-insecure-registry) by the extender for the engine, ends the extender with 102 and
// the name of the base; nothing is left; and when the registry works again, so does the
// next run on the same state directory.
func TestRegistryThatFailsDuringThePull(t *testing.T) {
	daemon := buildkitd(t)
	for fault := range faults(nil) {
		for _, c := range []struct {
			name      string
			e         engine
			insecure  bool
			different bool // from the case before, whatever the fault
		}{
			{name: "embedded", different: true},
			{name: "embedded through the session", insecure: true, different: true},
			{name: "buildkitd", e: daemon, different: fault == "429" || fault == "another content"},
		} {
			if !c.different {
				continue // the same code is as slow again
			}
			t.Run(fault+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				if c.e.address == "" {
					c.e = embeddedIn(t, t.TempDir())
				}
				layer := uniqueLayer(t) // that no engine has yet
				f := newFailingRegistry(t, appendLayer(t, smallImage(t, nil), layer),
					"/blobs/"+layerDigest(t, layer), faults(compressed(t, layer))[fault])
				s := f.scene(t, c.e)
				if c.insecure {
					s.env["CNB_INSECURE_REGISTRIES"] = f.host
				}
				o := failAlone(t, failing(t, s), 102, "pull base image", f.reference)
				if f.failures.Load() == 0 {
					t.Errorf("the layer was not asked for: %v", o)
				}
				if strings.Contains(o.stderr, "RUN echo") {
					t.Errorf("an instruction is blamed: %v", o)
				}
				if mounts := mountsBelow(t, s.dir); len(mounts) > 0 {
					t.Errorf("mounts are left: %v", mounts)
				}
				f.failing.Store(false)
				if c.e.state != "" { // a daemon may keep the wrong content for a while
					s.succeed()
				}
			})
		}
	}
}

// A layer that the extender fetches for an engine was not asked for again when it was cut off
// once.
func TestRegistryThatCutsALayerOffOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.address == "" {
			e.state = t.TempDir()
		}
		layer := uniqueLayer(t)
		cut := faults(compressed(t, layer))["resets in the middle"]
		var f *failingRegistry
		f = newFailingRegistry(t, appendLayer(t, smallImage(t, nil), layer), "/blobs/"+layerDigest(t, layer),
			func(w http.ResponseWriter, r *http.Request) {
				f.failing.Store(false)
				cut(w, r)
			})
		s := f.scene(t, e)
		s.env["CNB_INSECURE_REGISTRIES"] = "http://" + f.host + "/"
		s.succeed("-output", "oci:"+s.path("whole"))
		validateImage(t, openLayout(t, s.path("whole")))
		if n := f.failures.Load(); n != 1 {
			t.Errorf("the layer was cut off %d times", n)
		}
	})
}

// A registry that goes on failing when it is asked what the base is: no engine is
// needed to find that out.
func TestRegistryThatFailsAtOnce(t *testing.T) {
	for fault, answer := range faults(make([]byte, 1000)) {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			f := newFailingRegistry(t, smallImage(t, nil), "/manifests/", answer)
			failAlone(t, failing(t, f.scene(t, engine{})), 102, "read base image", f.reference)
		})
	}
}

// uniqueLayer is a layer that is in no other image.
func uniqueLayer(t *testing.T) v1.Layer {
	t.Helper()
	content := strings.Repeat(uniqueSeconds(), 1000)
	return tarLayer(t, []tar.Header{{Name: "unique", Mode: 0o644, Size: int64(len(content))}}, map[string]string{"unique": content})
}

func layerDigest(t *testing.T, layer v1.Layer) string {
	t.Helper()
	hash, err := layer.Digest()
	check(t, err)
	return hash.String()
}

func compressed(t *testing.T, layer v1.Layer) []byte {
	t.Helper()
	stream, err := layer.Compressed()
	check(t, err)
	defer stream.Close()
	data, err := io.ReadAll(stream)
	check(t, err)
	return data
}
