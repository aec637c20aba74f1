package acceptance

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
)

// cold makes an engine of a kind that has nothing in its cache.
type cold func(t *testing.T) engine

// eachColdEngine runs a test that needs several engines of a kind.
func eachColdEngine(t *testing.T, test func(t *testing.T, start cold)) {
	t.Run("embedded", func(t *testing.T) {
		test(t, func(t *testing.T) engine { return embeddedIn(t, t.TempDir()) })
	})
	t.Run("buildkitd", func(t *testing.T) { test(t, buildkitd) })
}

// cacheScene is a scene with an engine that has nothing in its cache, and steps that give
// something else each time they run.
func cacheScene(t *testing.T, base string, e engine) *scene {
	t.Helper()
	s := newScene(t, "run", "oci:"+base, e)
	s.write("app/file", "content")
	s.step("one", "USER root", "RUN cat /proc/sys/kernel/random/uuid >/one", "COPY file /copied")
	s.step("two", "RUN cat /proc/sys/kernel/random/uuid >/two", "USER 9")
	return s
}

// checkFromCache demands that a run was made of nothing but what another has made.
func checkFromCache(t *testing.T, first, second *scene, o outcome) {
	t.Helper()
	made, taken := configOf(t, first.image()).RootFS.DiffIDs, configOf(t, second.image()).RootFS.DiffIDs
	if !slices.Equal(made, taken) {
		t.Errorf("the layers are %v, and were %v: they do not come from the cache: %v", taken, made, o)
	}
}

// A second machine starts warm from a cache in a registry that asks for credentials, and
// these are nowhere to be found.
func TestCacheInRegistry(t *testing.T) {
	eachColdEngine(t, func(t *testing.T, start cold) {
		r := newRegistry(t, (*httptest.Server).Start)
		base := smallBase(t, nil)
		cache := "type=registry,ref=" + r.host + "/some/cache:tag"
		run := func(flag, value string) (*scene, outcome) {
			e := start(t)
			s := cacheScene(t, base, e)
			s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
			s.env["CNB_LOG_LEVEL"] = "debug"
			o := s.succeed(flag, value)
			checkNoSecret(t, "stdout", []byte(o.stdout))
			checkNoSecret(t, "stderr", []byte(o.stderr))
			if e.state != "" {
				checkNoSecretBelow(t, e.state)
			}
			if strings.Contains(o.stderr, "cache") {
				t.Errorf("there is a warning about the cache: %v", o)
			}
			return s, o
		}
		first, _ := run("-cache-to", cache+",mode=max")
		second, o := run("-cache-from", cache)
		checkFromCache(t, first, second, o)
		third, o := run("-cache-from", r.host+"/some/cache:tag") // the short form
		checkFromCache(t, first, third, o)
	})
}

// A second machine starts warm from a directory.
func TestCacheInDirectory(t *testing.T) {
	eachColdEngine(t, func(t *testing.T, start cold) {
		base, dir := smallBase(t, nil), t.TempDir()
		first := cacheScene(t, base, start(t))
		first.env["CNB_CACHE_TO"] = "type=local,dest=" + dir + "/cache"
		if o := first.succeed(); o.stderr != "" {
			t.Errorf("there are warnings: %v", o)
		}
		second := cacheScene(t, base, start(t))
		second.env["CNB_CACHE_FROM"] = "type=local,src=" + dir + "/none\ntype=local,src=" + dir + "/cache"
		o := second.succeed()
		checkFromCache(t, first, second, o)
		if !strings.Contains(o.stderr, dir+"/none is left out") {
			t.Errorf("the directory without a cache is not named: %v", o)
		}
	})
}

// An image that holds its own cache makes a second machine start warm.
func TestCacheInline(t *testing.T) {
	eachColdEngine(t, func(t *testing.T, start cold) {
		r := newRegistry(t, (*httptest.Server).Start)
		base := smallBase(t, nil)
		run := func(args ...string) (*scene, outcome) {
			s := cacheScene(t, base, start(t))
			s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
			return s, s.succeed(args...)
		}
		first, _ := run("-cache-to", "type=inline", "-output", "registry:"+r.host+"/app:1")
		validateImage(t, r.pull(t, r.host+"/app:1"))
		second, o := run("-cache-from", r.host+"/app:1")
		checkFromCache(t, first, second, o)
	})
}

// The embedded engine reaches caches in registries whose certificates it knows by
// -registry-ca, or need not know.
func TestCacheInPrivateRegistry(t *testing.T) {
	for way, tell := range map[string]func(s *scene, r *testRegistry){
		"-registry-ca": func(s *scene, r *testRegistry) {
			s.write("ca.pem", certificateOf(r))
			s.env["CNB_REGISTRY_CA"] = s.path("ca.pem")
		},
		"-insecure-registry": func(s *scene, r *testRegistry) { s.env["CNB_INSECURE_REGISTRIES"] = r.host },
	} {
		t.Run(way, func(t *testing.T) {
			r := newRegistry(t, (*httptest.Server).StartTLS)
			base := smallBase(t, nil)
			run := func(args ...string) (*scene, outcome) {
				s := cacheScene(t, base, embeddedIn(t, t.TempDir()))
				s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
				tell(s, r)
				return s, s.succeed(args...)
			}
			first, _ := run("-cache-to", r.host+"/cache")
			second, o := run("-cache-from", r.host+"/cache")
			checkFromCache(t, first, second, o)
		})
	}
}

// With both kinds each image has a cache to give to, and any may be taken from.
func TestCacheOfBothKinds(t *testing.T) {
	dir := t.TempDir()
	s, _ := bothScene(t, embeddedIn(t, t.TempDir()))
	s.both("one", "USER root\nRUN cat /proc/sys/kernel/random/uuid >/one", "USER root\nRUN cat /proc/sys/kernel/random/uuid >/two\nUSER 9")
	s.env["CNB_CACHE_TO"] = "build=type=local,dest=" + dir + "/build\nrun=type=local,dest=" + dir + "/run"
	s.succeed()
	build, run := digest(t, s.of("build").image()), digest(t, s.of("run").image())
	s.args = append(s.args, "-cache-from", "type=local,src="+dir+"/build", "-cache-from", "run=type=local,src="+dir+"/run")
	delete(s.env, "CNB_CACHE_TO")
	s.env["CNB_STATE_DIR"] = t.TempDir()
	o := s.succeed()
	if a, b := digest(t, s.of("build").image()), digest(t, s.of("run").image()); a != build || b != run {
		t.Errorf("the images are %v and %v, and were %v and %v: %v", a, b, build, run, o)
	}
	s.env["CNB_CACHE_TO"] = "type=local,dest=" + dir + "/other"
	s.fail(3, "CNB_CACHE_TO", "which image")
}

// A cache that cannot be reached, to take from or to give to, is a warning and never a
// failure, also when its registry hangs.
func TestCacheThatCannotBeReached(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts
	check(t, err)
	t.Cleanup(func() { check(t, silent.Close()) })
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", http.StatusForbidden)
	}))
	t.Cleanup(failing.Close)
	file := t.TempDir() + "/file"
	check(t, os.WriteFile(file, nil, 0o644))
	refs := map[string]string{
		"nobody listens":       "127.0.0.1:1/cache",
		"the registry hangs":   silent.Addr().String() + "/cache",
		"the registry refuses": strings.TrimPrefix(failing.URL, "http://") + "/cache",
		"no such directory":    "type=local,src=" + file + "/there,dest=" + file + "/there",
	}
	eachEngine(t, func(t *testing.T, e engine) {
		base := smallBase(t, nil)
		for what, cache := range refs {
			t.Run(what, func(t *testing.T) {
				s := cacheScene(t, base, e)
				o := s.succeed("-cache-from", cache, "-cache-to", cache)
				if strings.Count(o.stderr, "The cache ") != 2 {
					t.Errorf("there are not two warnings: %v", o)
				}
				if s.files(openLayout(t, base))["one"] == "" {
					t.Error("nothing was added")
				}
			})
		}
	})
}

// A cache whose manifest can be read and whose layers cannot costs no more than the cache.
func TestCacheWhoseLayersAreGone(t *testing.T) {
	eachColdEngine(t, func(t *testing.T, start cold) {
		r := newRegistry(t, (*httptest.Server).Start)
		base := smallBase(t, nil)
		run := func(args ...string) (*scene, outcome) {
			s := cacheScene(t, base, start(t))
			s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
			return s, s.succeed(args...)
		}
		run("-cache-to", r.host+"/cache")
		layers := map[string]bool{}
		for _, layer := range manifestOf(t, r.pull(t, r.host+"/cache")).Layers {
			layers["/v2/cache/blobs/"+layer.Digest.String()] = true
		}
		r.fail(func(w http.ResponseWriter, request *http.Request) bool {
			if layers[request.URL.Path] {
				http.Error(w, "gone", http.StatusNotFound)
			}
			return layers[request.URL.Path]
		})
		check := func(s *scene, o outcome) {
			t.Helper()
			if files := s.files(openLayout(t, base)); files["one"] == "" || files["two"] == "" {
				t.Errorf("the files are %v", files)
			}
			if !strings.Contains(o.stderr, "building without") {
				t.Errorf("there is no warning: %v", o)
			}
		}
		check(run("-cache-from", r.host+"/cache"))

		// Needed by a RUN that is not in the cache, and not only in the result.
		s := cacheScene(t, base, start(t))
		s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
		s.step("three", "USER root", "RUN cat /one /two >/three", "USER 9")
		check(s, s.succeed("-cache-from", r.host+"/cache"))
	})
}

// What is wrong about a cache is bad usage, and its attributes, which may be credentials,
// are not repeated.
func TestBadCaches(t *testing.T) {
	s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
	s.step("one", "RUN true", "USER 7")
	delete(s.env, "BUILDKIT_HOST") // embedded
	s.env["CNB_STATE_DIR"] = t.TempDir()
	for spec, text := range map[string]string{
		"type=registry": "needs ref=",
		"type=local":    "needs ",
		"type=gha,token=" + secretOfVariable + ",url=http://127.0.0.1:1": "no cache of type \"gha\"",
		"type=s3,secret_access_key=" + secretOfVariable:                  "no cache of type \"s3\"",
		"type=registry," + secretOfVariable:                              "not of the form",
	} {
		for _, variable := range []string{"CNB_CACHE_FROM", "CNB_CACHE_TO"} {
			s.env[variable] = spec
			o := s.fail(3, "-cache-", text)
			if strings.Contains(o.String(), secretOfVariable) {
				t.Errorf("the value is shown: %v", o)
			}
			delete(s.env, variable)
		}
	}
}

// Types of caches that only another engine knows pass through to it.
func TestOtherCachesPassThrough(t *testing.T) {
	s := cacheScene(t, smallBase(t, nil), buildkitd(t))
	o := s.succeed("-cache-from", "type=gha,token=none,url=http://127.0.0.1:1/,version=1", "-cache-to", "type=unheard-of")
	for _, text := range []string{"The cache of type gha cannot be used", "The cache of type unheard-of was not written: unknown cache exporter"} {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("stderr does not say %q: %v", text, o)
		}
	}
}

// A cache that gives half a layer, or another one, costs no more than the cache: the build
// without it failed too, since the engine went on with what it had begun, and from where.
func TestCacheWhoseLayersAreDamaged(t *testing.T) {
	for name, damage := range map[string]func(path string, size int64) error{
		"cut off": func(path string, size int64) error { return os.Truncate(path, size/2) },
		"wrong":   func(path string, size int64) error { return os.WriteFile(path, make([]byte, size), 0o644) },
		"gone":    func(path string, _ int64) error { return os.Remove(path) },
	} {
		t.Run(name, func(t *testing.T) {
			base, dir := smallBase(t, nil), t.TempDir()+"/cache"
			run := func(e engine, args ...string) (*scene, outcome) {
				s := cacheScene(t, base, e)
				return s, s.succeed(args...)
			}
			run(embeddedIn(t, t.TempDir()), "-cache-to", "type=local,mode=max,dest="+dir)
			for _, layer := range manifestOf(t, openLayout(t, base)).Layers {
				path := dir + "/blobs/sha256/" + layer.Digest.Hex
				check(t, os.Chmod(path, 0o644))
				check(t, damage(path, layer.Size))
			}
			e := embeddedIn(t, t.TempDir())
			s, o := run(e, "-cache-from", "type=local,src="+dir)
			if files := s.files(openLayout(t, base)); files["one"] == "" || files["two"] == "" {
				t.Errorf("the files are %v", files)
			}
			if !strings.Contains(o.stderr, "building without") {
				t.Errorf("there is no warning: %v", o)
			}
			if _, o := run(e); o.stderr != "" || len(o.cached()) == 0 {
				t.Errorf("the next run has warnings, or nothing in the cache: %v", o)
			}
		})
	}
}
