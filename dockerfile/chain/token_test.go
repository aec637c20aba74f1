package chain_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/graft-cnb/graft/dockerfile"
)

// tokenRegistry gives access to bearers of a token, and tokens to who has the
// secret. It notes who asked for tokens, and every header that held the secret.
type tokenRegistry struct {
	registry http.Handler
	url      string

	mu     sync.Mutex
	agents []string
	grants []string
}

const (
	token         = "t0ken-for-the-registry"
	identityToken = "1dentity-t0ken"
)

func (r *tokenRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/token" {
		r.serveToken(w, req)
		return
	}
	if req.Header.Get("Authorization") != "Bearer "+token {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="test"`, r.url))
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
		return
	}
	r.registry.ServeHTTP(w, req)
}

func (r *tokenRegistry) serveToken(w http.ResponseWriter, req *http.Request) {
	_, p, _ := req.BasicAuth()
	grant := "basic"
	if req.Method == http.MethodPost {
		grant, p = req.FormValue("grant_type"), req.FormValue("refresh_token")+req.FormValue("password")
	}
	r.mu.Lock()
	r.agents = append(r.agents, req.UserAgent())
	r.grants = append(r.grants, grant)
	r.mu.Unlock()
	if p != password && p != identityToken {
		http.Error(w, "no", http.StatusUnauthorized)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
}

type identity struct{ authn.AuthConfig }

func (i identity) Resolve(authn.Resource) (authn.Authenticator, error) {
	return authn.FromConfig(i.AuthConfig), nil
}

// Where a registry works with tokens, the engine gets a token and never the
// secret behind it: by password, by identity token, or a token that was given.
func TestEngineGetsTokensAndNoSecrets(t *testing.T) {
	for what, c := range map[string]struct {
		config authn.AuthConfig
		grants bool
	}{
		"password":       {authn.AuthConfig{Username: "user", Password: password}, true},
		"identity token": {authn.AuthConfig{IdentityToken: identityToken}, true},
		"registry token": {authn.AuthConfig{RegistryToken: token}, false},
	} {
		t.Run(what, func(t *testing.T) {
			h := withEngine(t)
			r := &tokenRegistry{registry: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
			s := httptest.NewServer(r)
			t.Cleanup(s.Close)
			r.url = s.URL
			host := strings.TrimPrefix(s.URL, "http://")
			h.Keychain = identity{c.config}
			image := neverSeen(t, makeBase(t, baseOptions{labels: map[string]string{"unique": what}}))
			ref, err := name.ParseReference(host + "/some/base:v1")
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(ref, image, remote.WithAuthFromKeychain(h.Keychain)); err != nil {
				t.Fatal(err)
			}
			e := apply(t, h, dockerfile.Application{
				Kind: dockerfile.KindBuild, Base: ref.Name(),
				Steps: steps(t, dockerfile.KindBuild, from+"RUN echo "+strings.ReplaceAll(what, " ", "-")+" > /x\n"),
			})
			if c.grants != (len(r.grants) > 0) {
				t.Errorf("tokens were asked for by %v", r.grants)
			}
			for _, agent := range r.agents {
				if strings.Contains(agent, "buildkit") {
					t.Errorf("the engine asked for a token itself: %s", agent)
				}
			}
			for _, secret := range []string{password, identityToken, token} {
				assertNowhere(t, secret, h, e)
			}
		})
	}
}
