package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
)

// Keychain gives the credentials for a registry (platform.md, "Registry
// Authentication"): the header that CNB_REGISTRY_AUTH names for it, else the
// docker config file with its credential helpers, else none. registryAuth is
// the variable's value, a JSON object from registry to Authorization header; it
// may be empty. Docker Hub may have any of its names in both. Bad JSON is an
// error that carries CodeUsage and does not quote the value.
func Keychain(registryAuth string) (authn.Keychain, error) {
	if registryAuth == "" {
		return configKeychain{}, nil
	}
	all, err := parseHeaders(registryAuth)
	if err != nil {
		return nil, err
	}
	own := headerKeychain{}
	for _, registry := range slices.Sorted(maps.Keys(all)) {
		auth, err := parseHeader(all[registry])
		if err != nil {
			return nil, WithCode(CodeUsage, fmt.Errorf("CNB_REGISTRY_AUTH: header for %s: %w", registry, err))
		}
		own[registry] = auth
		if bare := bareRegistry(registry); all[bare] == "" {
			own[bare] = auth
		}
	}
	return authn.NewMultiKeychain(own, configKeychain{}), nil
}

// headers are Authorization headers by registry.
type headers map[string]string

func parseHeaders(registryAuth string) (headers, error) {
	all := headers{}
	if err := json.Unmarshal([]byte(registryAuth), &all); err != nil {
		return nil, WithCode(CodeUsage, fmt.Errorf("CNB_REGISTRY_AUTH: not a JSON object of registry to Authorization header"))
	}
	return all, nil
}

type headerKeychain map[string]authn.AuthConfig

var _ authn.Keychain = headerKeychain{}

// Resolve finds the header by registry, as the platform spelled it or as
// references have it.
func (k headerKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	for _, name := range []string{target.String(), target.RegistryStr()} {
		for _, spelled := range []string{name, bareRegistry(name)} {
			if auth, ok := k[spelled]; ok {
				return authn.FromConfig(auth), nil
			}
		}
	}
	return authn.Anonymous, nil
}

// configKeychain is the docker config file, in which Docker Hub may have any of its names.
type configKeychain struct{}

var (
	_ authn.Keychain        = configKeychain{}
	_ authn.ContextKeychain = configKeychain{}
)

// Resolve does what ResolveContext does, for as long as it takes.
func (k configKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext asks the file.
func (configKeychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	auth, err := authn.DefaultKeychain.ResolveContext(ctx, target)
	if err != nil || auth != authn.Anonymous || !slices.Contains(hubNames, target.RegistryStr()) {
		return auth, err
	}
	// That was Docker Hub by the name that docker login gives it, and no other.
	file, err := config.Load(os.Getenv("DOCKER_CONFIG"))
	if err != nil {
		return nil, err
	}
	for _, name := range hubNames {
		found, err := file.GetCredentialsStore(name).Get(name)
		if err != nil {
			return nil, err
		}
		found.ServerAddress = ""
		if found != (types.AuthConfig{}) {
			return authn.FromConfig(authn.AuthConfig{
				Username: found.Username, Password: found.Password, Auth: found.Auth,
				IdentityToken: found.IdentityToken, RegistryToken: found.RegistryToken,
			}), nil
		}
	}
	return authn.Anonymous, nil
}
