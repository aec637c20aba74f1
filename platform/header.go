package platform

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// parseHeader takes an Authorization header apart: Basic with user and
// password, Bearer with a registry token, X-Identity with an identity token.
// Its errors never quote the header.
func parseHeader(header string) (authn.AuthConfig, error) {
	scheme, value, ok := strings.Cut(strings.TrimSpace(header), " ")
	value = strings.TrimSpace(value)
	if !ok || value == "" {
		return authn.AuthConfig{}, errors.New("not of the form <scheme> <credentials>")
	}
	switch strings.ToLower(scheme) {
	case "basic":
		pair, err := base64.StdEncoding.DecodeString(value)
		if err != nil {
			return authn.AuthConfig{}, errors.New("the credentials of Basic are not base64")
		}
		user, password, ok := strings.Cut(string(pair), ":")
		if !ok {
			return authn.AuthConfig{}, errors.New("the credentials of Basic are not user:password")
		}
		return authn.AuthConfig{Username: user, Password: password}, nil
	case "bearer":
		return authn.AuthConfig{RegistryToken: value}, nil
	case "x-identity":
		return authn.AuthConfig{IdentityToken: value}, nil
	}
	return authn.AuthConfig{}, errors.New("the scheme is neither Basic nor Bearer nor X-Identity")
}
