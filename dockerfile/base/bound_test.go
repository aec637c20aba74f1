package base_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// changedManifest is a registry's image some/app:tag with another manifest than it was
// pushed with, and its digest.
func changedManifest(t *testing.T, host string, img v1.Image, change func(*v1.Manifest)) (reference string) {
	t.Helper()
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	manifest = manifest.DeepCopy()
	change(manifest)
	data, err := json.Marshal(manifest)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+host+"/v2/some/app/manifests/changed", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", string(manifest.MediaType))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("the registry says %s", response.Status)
	}
	return host + "/some/app:changed"
}

// A configuration that no image has is refused before it is read: a registry said of one
// that it had a hundred gigabytes, and it would have gone into memory.
func TestConfigurationOfAnySizeIsRefused(t *testing.T) {
	asked := false
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	img := image(t, "linux", runtime.GOARCH)
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	watch := false
	host := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = asked || watch && strings.HasSuffix(r.URL.Path, config.String())
		inner.ServeHTTP(w, r)
	}))
	ref, err := name.ParseReference(host + "/some/app:tag")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	changed := changedManifest(t, host, img, func(m *v1.Manifest) { m.Config.Size = 100 << 30 })
	watch = true
	_, err = base.Open(t.Context(), changed, base.Options{})
	if err == nil || !strings.Contains(err.Error(), "107374182400 bytes") {
		t.Errorf("the error is %v", err)
	}
	if asked {
		t.Error("the registry was asked for it")
	}
}
