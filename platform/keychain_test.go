package platform

import (
	"encoding/base64"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// userAt asks a keychain about a repository.
func userAt(t *testing.T, keychain authn.Keychain, repository string) string {
	t.Helper()
	target, err := name.NewRepository(repository)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := authn.Resolve(t.Context(), keychain, target)
	if err != nil {
		t.Fatal(err)
	}
	config, err := authn.Authorization(t.Context(), auth)
	if err != nil {
		t.Fatal(err)
	}
	return config.Username
}

// Credentials for Docker Hub were found under some of its names only, and others in the
// docker config file than in CNB_REGISTRY_AUTH.
func TestDockerHubHasManyNames(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	basic := base64.StdEncoding.EncodeToString([]byte("user:pass-word"))
	for _, key := range []string{
		"docker.io", "index.docker.io", "registry-1.docker.io", "https://index.docker.io/v1/",
		"https://docker.io", "https://registry-1.docker.io/v2/",
	} {
		dir := t.TempDir()
		writeTestFile(t, filepath.Join(dir, "config.json"), `{"auths": {"`+key+`": {"auth": "`+basic+`"}}}`)
		for _, repository := range []string{"debian", "docker.io/some/app", "index.docker.io/some/app", "registry-1.docker.io/some/app"} {
			t.Setenv("DOCKER_CONFIG", t.TempDir())
			keychain, err := Keychain(`{"` + key + `":"Basic ` + basic + `"}`)
			if err != nil {
				t.Fatal(err)
			}
			if user := userAt(t, keychain, repository); user != "user" {
				t.Errorf("CNB_REGISTRY_AUTH with %s gives %q for %s", key, user, repository)
			}
			t.Setenv("DOCKER_CONFIG", dir)
			if keychain, err = Keychain(""); err != nil {
				t.Fatal(err)
			}
			if user := userAt(t, keychain, repository); user != "user" {
				t.Errorf("a config.json with %s gives %q for %s", key, user, repository)
			}
			if user := userAt(t, keychain, "registry.example/some/app"); user != "" {
				t.Errorf("a config.json with %s gives %q for another registry", key, user)
			}
		}
	}
}

// What is named as references have it goes before what is only meant so.
func TestExactRegistryComesFirst(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	header := func(user string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":x")) }
	keychain, err := Keychain(`{"https://a.example/":"` + header("scheme") + `","a.example":"` + header("bare") + `","b.example/own/app":"` + header("repository") + `"}`)
	if err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]string{"a.example/app": "bare", "b.example/own/app": "repository", "b.example/other": ""} {
		if user := userAt(t, keychain, repository); user != want {
			t.Errorf("%s: %q, wanted %q", repository, user, want)
		}
	}
}
