package acceptance

import (
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
)

// certificateOf is the certificate of a registry with TLS, which is an authority
// of its own, as PEM.
func certificateOf(r *testRegistry) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}))
}

// A registry with a private certificate is trusted by -registry-ca alone: for the
// base, for images that a Dockerfile copies from, and for pushes.
func TestRegistryCA(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.address == "" {
			e.state = t.TempDir()
		}
		r := newRegistry(t, (*httptest.Server).StartTLS)
		reference := r.push(t, "base:tag", smallImage(t, nil))
		other := r.push(t, "other:tag", scriptBase(t, nil))
		s := registryScene(t, reference, e)
		s.step("three", "COPY --from="+other+" /etc/passwd /copied")
		s.env["CNB_REGISTRY_AUTH"] = fmt.Sprintf(`{%q: %q}`, r.host, basicAuth())
		s.fail(102, reference, "-registry-ca")
		s.write("ca.pem", certificateOf(r))
		s.env["CNB_REGISTRY_CA"] = s.path("ca.pem")
		s.succeed("-output", "registry:"+r.host+"/extended:1")
		validateImage(t, r.pull(t, r.host+"/extended:1"))
		if r.asked("PUT /v2/extended/blobs") == 0 {
			t.Error("nothing was pushed")
		}
	})
}

// Files that are no certificates are bad usage.
func TestBadCertificates(t *testing.T) {
	s := newScene(t, "run", "oci:"+smallBase(t, nil), engine{})
	s.step("one", "USER 7")
	s.write("text", "no certificate")
	s.write("key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})))
	s.write("broken", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})))
	for _, variable := range []string{"CNB_REGISTRY_CA", "CNB_CA_CERT"} {
		for file, text := range map[string]string{
			"text": "no certificate", "key": "PRIVATE KEY", "broken": "certificate 1", "missing": "no such file",
		} {
			s.env[variable] = s.path(file)
			s.fail(3, variable, text, s.path(file))
		}
		delete(s.env, variable)
	}
}

// -ca-cert is there for every RUN, whoever its user is, and nowhere else: not in a
// layer, not in the config, not in the cache. Other certificates leave what is
// cached as it is.
func TestCACert(t *testing.T) {
	eachEngine(t, func(t *testing.T, e engine) {
		if e.address == "" {
			e.state = t.TempDir()
		}
		base := smallBase(t, nil)
		r := newRegistry(t, (*httptest.Server).StartTLS)
		s := newScene(t, "run", "oci:"+base, e)
		certificate := certificateOf(r)
		s.write("ca.pem", certificate)
		s.env["CNB_CA_CERT"] = s.path("ca.pem")
		s.env["CNB_LOG_LEVEL"] = "debug"
		s.step("one", `RUN tr a-zA-Z b-zaB-ZA <$SSL_CERT_FILE >/tmp/seen`, "ENV SSL_CERT_FILE=/of/the/image")
		s.step("two", "USER root",
			"RUN for v in SSL_CERT_FILE CURL_CA_BUNDLE REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS GIT_SSL_CAINFO; do eval test -s \\$$v || exit 1; done; touch /done",
			"COPY file /data/", "USER 9")
		s.write("app/file", "content")
		o := s.succeed()
		files := s.files(openLayout(t, base))
		if got := shift(files["tmp/seen"]); got != certificate {
			t.Errorf("a RUN reads\n%s", files["tmp/seen"])
		}
		for path := range files {
			if strings.Contains(path, "run") {
				t.Errorf("%s is in a layer", path)
			}
		}
		for _, kv := range configOf(t, s.image()).Config.Env {
			if name, value, _ := strings.Cut(kv, "="); value != "/of/the/image" && strings.Contains(name, "CA") || strings.Contains(value, "graft") {
				t.Errorf("the config has %s", kv)
			}
		}
		checkNowhere(t, s, o, e, certificate, strings.Split(certificate, "\n")[2])

		before := digest(t, s.image())
		s.write("ca.pem", certificate+certificate)
		s.succeed()
		if got := digest(t, s.image()); got != before {
			t.Errorf("with other certificates the image is %v, and was %v", got, before)
		}
	})
}

// shift undoes what the RUN did to keep the text out of the layer.
func shift(text string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == 'a' || c == 'A':
			return c + 25
		case c > 'a' && c <= 'z' || c > 'A' && c <= 'Z':
			return c - 1
		}
		return c
	}, text)
}

// What fails after -ca-cert has changed the graph is still told by its line.
func TestCACertKeepsLines(t *testing.T) {
	s := newScene(t, "run", "oci:"+smallBase(t, nil), embedded(t))
	s.write("ca.pem", certificateOf(newRegistry(t, (*httptest.Server).StartTLS)))
	s.env["CNB_CA_CERT"] = s.path("ca.pem")
	s.step("one", "RUN true", "RUN echo told; false", "USER 9")
	s.fail(102, "extension one", "run.Dockerfile:4", "RUN echo told; false", "exit code 1", "    told")
}
