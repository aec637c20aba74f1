package platform

import (
	"encoding/json"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Keychain gives the credentials for a registry (platform.md, "Registry
// Authentication"): the header that CNB_REGISTRY_AUTH names for it, else the
// docker config file with its credential helpers, else none. registryAuth is
// the variable's value, a JSON object from registry to Authorization header; it
// may be empty. Bad JSON is an error that carries CodeUsage and does not quote
// the value.
func Keychain(registryAuth string) (authn.Keychain, error) {
	if registryAuth == "" {
		return authn.DefaultKeychain, nil
	}
	all, err := parseHeaders(registryAuth)
	if err != nil {
		return nil, err
	}
	own := headerKeychain{}
	for registry, header := range all {
		auth, err := parseHeader(header)
		if err != nil {
			return nil, WithCode(CodeUsage, fmt.Errorf("CNB_REGISTRY_AUTH: header for %s: %w", registry, err))
		}
		own[registry] = auth
	}
	return authn.NewMultiKeychain(own, authn.DefaultKeychain), nil
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

// Resolve finds the header by registry, as the platform spelled it.
func (k headerKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	for _, name := range []string{target.String(), target.RegistryStr()} {
		if auth, ok := k[name]; ok {
			return authn.FromConfig(auth), nil
		}
	}
	return authn.Anonymous, nil
}
