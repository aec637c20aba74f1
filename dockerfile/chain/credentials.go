package chain

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"

	authutil "github.com/containerd/containerd/v2/core/remotes/docker/auth"
	remoteserrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"golang.org/x/crypto/nacl/sign"
	"google.golang.org/grpc"

	"github.com/graft-cnb/graft/dockerfile/base"
)

// hubHost is where Docker Hub's registry really is; keychains know it by its
// other name.
const hubHost = "registry-1.docker.io"

// credentials answers an engine that pulls from a registry. A registry that
// works with tokens gets one that was fetched here, so that the engine never
// sees the secret; only with basic authentication it must.
type credentials struct {
	auth.UnimplementedAuthServer
	keychain authn.Keychain
	registry base.Options
	seed     []byte
}

var (
	_ session.Attachable = (*credentials)(nil)
	_ auth.AuthServer    = (*credentials)(nil)
)

// newCredentials backs a session with a keychain (nil is anonymous), and speaks to
// services that give tokens as to their registries.
func newCredentials(registry base.Options) *credentials {
	seed := make([]byte, 32)
	_, _ = rand.Read(seed) // never fails
	return &credentials{keychain: registry.Keychain, registry: registry, seed: seed}
}

// Register makes the session answer for credentials.
func (c *credentials) Register(server *grpc.Server) { auth.RegisterAuthServer(server, c) }

// config asks the keychain about a registry.
func (c *credentials) config(ctx context.Context, host string) (*authn.AuthConfig, error) {
	if c.keychain == nil {
		return &authn.AuthConfig{}, nil
	}
	if host == hubHost {
		host = name.DefaultRegistry
	}
	registry, err := name.NewRegistry(host)
	if err != nil {
		return nil, fmt.Errorf("credentials for %q: %w", host, err)
	}
	authenticator, err := authn.Resolve(ctx, c.keychain, registry)
	if err != nil {
		return nil, fmt.Errorf("credentials for %q: %w", host, err)
	}
	config, err := authn.Authorization(ctx, authenticator)
	if err != nil {
		return nil, fmt.Errorf("credentials for %q: %w", host, err)
	}
	return config, nil
}

// secret is a user name, empty for an identity token, and what proves it.
func secret(config *authn.AuthConfig) (user, password string) {
	if config.IdentityToken != "" {
		return "", config.IdentityToken
	}
	return config.Username, config.Password
}

// Credentials gives user name and password, for basic authentication.
func (c *credentials) Credentials(ctx context.Context, req *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	config, err := c.config(ctx, req.Host)
	if err != nil {
		return nil, err
	}
	user, password := secret(config)
	return &auth.CredentialsResponse{Username: user, Secret: password}, nil
}

// GetTokenAuthority promises that tokens are fetched here. The key tells the
// engine whose tokens it may reuse: without credentials anybody's, else only
// those of this run.
func (c *credentials) GetTokenAuthority(ctx context.Context, req *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	key, err := c.key(ctx, req.Host, req.Salt)
	if err != nil {
		return nil, err
	}
	return &auth.GetTokenAuthorityResponse{PublicKey: key.Public().(ed25519.PublicKey)}, nil
}

// VerifyTokenAuthority proves possession of the key.
func (c *credentials) VerifyTokenAuthority(ctx context.Context, req *auth.VerifyTokenAuthorityRequest) (*auth.VerifyTokenAuthorityResponse, error) {
	key, err := c.key(ctx, req.Host, req.Salt)
	if err != nil {
		return nil, err
	}
	return &auth.VerifyTokenAuthorityResponse{Signed: sign.Sign(nil, req.Payload, (*[64]byte)(key))}, nil
}

func (c *credentials) key(ctx context.Context, host string, salt []byte) (ed25519.PrivateKey, error) {
	config, err := c.config(ctx, host)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, salt)
	mac.Write([]byte(host))
	if *config != (authn.AuthConfig{}) {
		mac.Write(c.seed)
	}
	return ed25519.NewKeyFromSeed(mac.Sum(nil)[:ed25519.SeedSize]), nil
}

// FetchToken gets a token from the registry's token service.
func (c *credentials) FetchToken(ctx context.Context, req *auth.FetchTokenRequest) (*auth.FetchTokenResponse, error) {
	config, err := c.config(ctx, req.Host)
	if err != nil {
		return nil, err
	}
	if config.RegistryToken != "" {
		return &auth.FetchTokenResponse{Token: config.RegistryToken}, nil
	}
	client, err := c.client(req.Host)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	user, password := secret(config)
	options := authutil.TokenOptions{
		Realm: req.Realm, Service: req.Service, Scopes: req.Scopes, Username: user, Secret: password,
	}
	if password == "" || user != "" {
		resp, err := authutil.FetchToken(ctx, client, nil, options)
		if err == nil {
			return &auth.FetchTokenResponse{Token: resp.Token, ExpiresIn: int64(resp.ExpiresInSeconds)}, nil
		}
		var status remoteserrors.ErrUnexpectedStatus
		if password == "" || !errors.As(err, &status) {
			return nil, fmt.Errorf("fetch a token for %s: %w", req.Host, err)
		}
	}
	resp, err := authutil.FetchTokenWithOAuth(ctx, client, nil, "graft", options)
	if err != nil {
		return nil, fmt.Errorf("fetch a token for %s: %w", req.Host, err)
	}
	return &auth.FetchTokenResponse{Token: resp.AccessToken, ExpiresIn: int64(resp.ExpiresInSeconds)}, nil
}

// client is for the service that gives tokens for a registry.
func (c *credentials) client(host string) (*http.Client, error) {
	registry, err := name.NewRegistry(host)
	if err != nil {
		return nil, fmt.Errorf("fetch a token for %s: %w", host, err)
	}
	return &http.Client{Transport: base.Transport(registry, c.registry)}, nil
}
