package acceptance

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// registryScene is a scene whose base is in a registry, with a chain that has a
// layer or two.
func registryScene(t *testing.T, reference string, e engine) *scene {
	t.Helper()
	s := newScene(t, "run", "", e)
	s.write("layers/analyzed.toml", fmt.Sprintf("[run-image]\nreference = %q\n", reference))
	s.step("one", "USER root", "RUN echo one >/one", "COPY . /app", "LABEL one=1")
	s.step("two", "RUN env >/env; cat /proc/self/mountinfo >/mounts", "USER 9")
	s.write("app/file", "content")
	s.env["CNB_LOG_LEVEL"] = "debug"
	s.env["CNB_PROGRESS"] = "plain"
	return s
}

// credentialsBy are the ways in which the extender gets the credentials of a registry.
var credentialsBy = map[string]func(t *testing.T, s *scene, host string){
	"CNB_REGISTRY_AUTH": func(_ *testing.T, s *scene, host string) {
		s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, host, basicAuth())
	},
	"docker config": func(_ *testing.T, s *scene, host string) {
		s.write("home/.docker/config.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, strings.TrimPrefix(basicAuth(), "Basic ")))
	},
	"credential helper": func(t *testing.T, s *scene, host string) {
		s.write("home/.docker/config.json", fmt.Sprintf(`{"credHelpers": {%q: "acceptance"}}`, host))
		s.write("helpers/docker-credential-acceptance", fmt.Sprintf(
			"#!/bin/sh\necho '{\"Username\": %q, \"Secret\": %q}'\n", registryUser, registryPassword))
		check(t, os.Chmod(s.path("helpers/docker-credential-acceptance"), 0o755))
		s.env["PATH"] = s.path("helpers") + ":" + s.env["PATH"]
	},
}

// A base is pulled from a registry, and the extended image pushed to it, with the
// credentials of the platform or of the docker config file; they are in no layer,
// config, history, log or cache.
func TestRegistryWithCredentials(t *testing.T) {
	for way, give := range credentialsBy {
		t.Run(way, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, e engine) {
				if e.address == "" {
					e.state = t.TempDir() // with nothing in the cache the engine has to pull
				}
				r := newRegistry(t, (*httptest.Server).Start)
				base := smallImage(t, nil)
				r.push(t, "base:tag", base)
				reference := r.host + "/base@" + digest(t, base).String()
				s := registryScene(t, reference, e)
				give(t, s, r.host)
				output := r.host + "/extended/app:latest"
				o := s.succeed("-output", "registry:"+output)

				checkLayers(t, s, base, 3)
				pushed := r.pull(t, output)
				validateImage(t, pushed)
				if a, b := digest(t, pushed), digest(t, s.image()); a != b {
					t.Errorf("pushed was %v, and <extended> has %v", a, b)
				}
				checkNoSecret(t, "stdout", []byte(o.stdout))
				checkNoSecret(t, "stderr", []byte(o.stderr))
				checkNoSecretBelow(t, s.path("layers"))
				if e.state != "" {
					checkNoSecretBelow(t, e.state)
				}
			})
		})
	}
}

// checkNoSecretBelow reads every file below dir, gzip files unpacked.
func checkNoSecretBelow(t *testing.T, dir string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		checkNoSecret(t, path, data)
		if strings.Contains(path, "/blobs/") {
			checkNoSecret(t, path, gunzip(t, data))
		}
		return nil
	}))
}

// The layers of a base are not pushed where they are: the registry is asked to
// use them in another repository, and nobody but the engine pulls them.
func TestPushMountsTheBasesLayers(t *testing.T) {
	r := newRegistry(t, (*httptest.Server).Start)
	base := smallImage(t, nil)
	reference := r.push(t, "base:tag", base)
	s := registryScene(t, reference, embeddedIn(t, t.TempDir()))
	s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
	before := r.asked("PUT /v2/other/app/blobs")
	s.succeed("-output", "registry:"+r.host+"/other/app:1")
	if sent := r.asked("PUT /v2/other/app/blobs") - before; sent != 4 {
		t.Errorf("%d blobs were sent, wanted 4: three layers and the config", sent)
	}
	for _, layer := range manifestOf(t, base).Layers {
		if n := r.asked("GET /v2/base/blobs/" + layer.Digest.String()); n != 1 {
			t.Errorf("layer %v of the base was pulled %d times, wanted once, by the engine", layer.Digest, n)
		}
	}
	validateImage(t, r.pull(t, r.host+"/other/app:1"))
}

// A registry whose certificate nobody knows is refused unless the platform says
// otherwise.
func TestInsecureRegistry(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		r := newRegistry(t, (*httptest.Server).StartTLS)
		reference := r.push(t, "base:tag", smallImage(t, nil))
		s := registryScene(t, reference, e)
		s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
		s.fail(102, reference)
		s.env["CNB_INSECURE_REGISTRIES"] = r.host
		s.succeed("-output", "registry:"+r.host+"/extended:1")
		validateImage(t, r.pull(t, r.host+"/extended:1"))
		delete(s.env, "CNB_INSECURE_REGISTRIES")
		s.succeed("-insecure-registry", r.host)
	})
}

// Where a registry refuses, the error says what to do, shows no credentials, and
// leaves the earlier result.
func TestRegistryRefusals(t *testing.T) {
	r := newRegistry(t, (*httptest.Server).Start)
	base := smallImage(t, nil)
	reference := r.push(t, "base:tag", base)
	good := fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
	for name, c := range map[string]struct {
		reference, auth string
		texts           []string
	}{
		"no credentials":    {reference, "", []string{"docker login", "CNB_REGISTRY_AUTH"}},
		"wrong credentials": {reference, fmt.Sprintf(`{%q: "Basic d3Jvbmc6d3Jvbmc="}`, r.host), []string{"docker login", "CNB_REGISTRY_AUTH"}},
		"no such tag":       {r.host + "/base:other", good, []string{"not found"}},
		"no such digest":    {r.host + "/base@sha256:" + strings.Repeat("0", 64), good, []string{"not found"}},
		"not a reference":   {"Not A Reference", good, []string{"parse reference"}},
		"nobody there":      {"127.0.0.1:1/base", good, []string{"connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := registryScene(t, c.reference, engine{})
			s.write("layers/extended/run/sha256:earlier/result", "")
			before := s.listing()
			if c.auth != "" {
				s.env["CNB_REGISTRY_AUTH"] = c.auth
			}
			o := s.fail(102, append(c.texts, c.reference)...)
			checkNoSecret(t, "stderr", []byte(o.stderr))
			if strings.Contains(o.stderr, "d3Jvbmc6d3Jvbmc=") {
				t.Errorf("the wrong credentials are shown: %v", o)
			}
			compareTrees(t, "before", before, "after", s.listing())
		})
	}
}

// A registry that repeats what it was sent brought credentials into the log; it may do so
// neither by its answers to the extender nor by those to an engine.
func TestRegistryThatRepeatsCredentials(t *testing.T) {
	for way, give := range credentialsBy {
		t.Run(way, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, e engine) {
				for part, texts := range map[string][]string{"/manifests/": {"[secret]"}, "/blobs/": nil} {
					if e.address == "" {
						e.state = t.TempDir()
					}
					r := newRegistry(t, (*httptest.Server).Start)
					reference := r.push(t, "base:tag", smallImage(t, nil))
					r.fail(func(w http.ResponseWriter, request *http.Request) bool {
						header := request.Header.Get("Authorization")
						mine := strings.Contains(request.UserAgent(), "go-containerregistry")
						if header == "" || !strings.Contains(request.URL.Path, part) || part == "/blobs/" && mine {
							return false
						}
						user, password, _ := request.BasicAuth()
						w.WriteHeader(http.StatusForbidden)
						fmt.Fprintf(w, `{"errors":[{"code":"DENIED","message":"got %s, which is %s:%s"}]}`, header, user, password)
						return true
					})
					s := registryScene(t, reference, e)
					give(t, s, r.host)
					o := s.fail(102, texts...)
					checkNoSecret(t, "stdout", []byte(o.stdout))
					checkNoSecret(t, "stderr", []byte(o.stderr))
				}
			})
		})
	}
}

// Credentials that cannot be understood are bad usage, and are not repeated.
func TestRegistryAuthThatIsNoJSON(t *testing.T) {
	s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
	s.env["CNB_REGISTRY_AUTH"] = `{"host": "` + registryPassword
	o := s.fail(3, "CNB_REGISTRY_AUTH")
	checkNoSecret(t, "stderr", []byte(o.stderr))
}
