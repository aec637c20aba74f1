package base

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// openRegistry resolves a reference to one image of its registry.
func openRegistry(ctx context.Context, source string, opts Options) (*Image, error) {
	ref, err := ParseReference(source, opts.InsecureRegistries)
	if err != nil {
		return nil, err
	}
	if img := openSparse(ctx, ref, opts); img != nil {
		return img, nil
	}
	img := &Image{Insecure: insecure(ref.Context().Registry, opts.InsecureRegistries), reference: ref}
	if opts.Transport == nil {
		opts.Transport = transportFor(ref.Context().Registry, opts, func() { img.private.Store(true) })
	}
	desc, err := remote.Get(ref, RemoteOptions(ctx, ref, opts)...)
	if err != nil {
		return nil, explain(ref, err)
	}
	switch {
	case desc.MediaType.IsIndex():
		index, err := desc.ImageIndex()
		if err != nil {
			return nil, explain(ref, err)
		}
		if img.image, err = pick(index, platformOf(opts), 0); err != nil {
			return nil, explain(ref, err)
		}
	case desc.MediaType.IsImage():
		if img.image, err = desc.Image(); err != nil {
			return nil, explain(ref, err)
		}
	default:
		if desc.MediaType == "" {
			return nil, fmt.Errorf("%w: the registry gives no media type (Content-Type) with the manifest of %s", ErrUnsupported, ref)
		}
		return nil, fmt.Errorf("%w: %s is of media type %s", ErrUnsupported, ref, desc.MediaType)
	}
	if img.Digest, err = img.image.Digest(); err != nil {
		return nil, explain(ref, err)
	}
	img.Name = CanonicalRepository(ref.Context()) + "@" + img.Digest.String()
	return img, nil
}

// ParseReference parses a registry reference; the scheme follows from whether
// its host is one of insecureRegistries. A name without tag and digest means
// the tag "latest", one without a host Docker Hub, as everywhere.
func ParseReference(source string, insecureRegistries []string) (name.Reference, error) {
	ref, err := name.ParseReference(source)
	if err != nil {
		return nil, fmt.Errorf("parse reference (HOST/REPOSITORY:TAG, HOST/REPOSITORY@sha256:..., or oci:DIR for a layout): %w", err)
	}
	if insecure(ref.Context().Registry, insecureRegistries) {
		return name.ParseReference(source, name.Insecure)
	}
	return ref, nil
}

// CanonicalRepository spells a repository as container engines do: Docker Hub
// is docker.io.
func CanonicalRepository(repo name.Repository) string {
	host := repo.RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	return host + "/" + repo.RepositoryStr()
}

// RemoteOptions are the options for go-containerregistry that opts amount to.
// Requests that fail for a moment are tried again by it.
func RemoteOptions(ctx context.Context, ref name.Reference, opts Options) []remote.Option {
	out := []remote.Option{remote.WithContext(ctx), remote.WithUserAgent("graft")}
	if opts.Keychain != nil {
		out = append(out, remote.WithAuthFromKeychain(opts.Keychain))
	}
	rt := opts.Transport
	if rt == nil {
		rt = transportFor(ref.Context().Registry, opts, func() {})
	}
	return append(out, remote.WithTransport(rt))
}

// hubNames are the names that Docker Hub's registry has in references and in settings.
var hubNames = []string{name.DefaultRegistry, "docker.io", "registry-1.docker.io"}

// insecure tells whether a registry was named as insecure.
func insecure(registry name.Registry, registries []string) bool {
	host := registry.RegistryStr()
	if slices.Contains(hubNames, host) {
		return slices.ContainsFunc(registries, func(r string) bool { return slices.Contains(hubNames, r) })
	}
	return slices.Contains(registries, host)
}

// explain says what a registry's refusal means and what to try.
func explain(ref name.Reference, err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("registry %s has a certificate of an authority that is not known here; name that one's with -registry-ca: %w",
			ref.Context().RegistryStr(), err)
	}
	var slow net.Error
	if errors.As(err, &slow) && slow.Timeout() {
		return fmt.Errorf("registry %s does not answer: %w", ref.Context().RegistryStr(), err)
	}
	if strings.Contains(err.Error(), "SSRF protection") {
		return fmt.Errorf("registry %s keeps blobs at a private address, where only a registry that has a private address itself, or is named with -insecure-registry, may send us: %w",
			ref.Context().RegistryStr(), err)
	}
	var te *transport.Error
	if !errors.As(err, &te) {
		return fmt.Errorf("ask registry %s: %w", ref.Context().RegistryStr(), err)
	}
	switch te.StatusCode {
	case http.StatusNotFound:
		return fmt.Errorf("%w: registry %s has no %s; check the name and the tag or digest: %w",
			ErrNotFound, ref.Context().RegistryStr(), ref.Name(), err)
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: registry %s does not let us read %s; log in to it (docker login %s), or set CNB_REGISTRY_AUTH, or check the name: %w",
			ErrUnauthorized, ref.Context().RegistryStr(), ref.Name(), ref.Context().RegistryStr(), err)
	}
	return fmt.Errorf("ask registry %s for %s: %w", ref.Context().RegistryStr(), ref.Name(), err)
}
