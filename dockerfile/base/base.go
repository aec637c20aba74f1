package base

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// LayoutPrefix marks a base (or an output) that is the directory of an OCI
// image layout rather than a registry reference.
const LayoutPrefix = "oci:"

// Failures of Open that a caller may want to tell apart. Each is wrapped by an
// error that names the base and says what to try.
var (
	// ErrNotLayout: the directory is missing, or holds no OCI image layout.
	ErrNotLayout = errors.New("not an OCI image layout")
	// ErrNoImage: there is an index, and no image in it for the platform.
	ErrNoImage = errors.New("no image for the platform")
	// ErrNotFound: the registry does not have the repository, tag or digest, or the layout
	// not the name or digest.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous: the layout has several images for the platform.
	ErrAmbiguous = errors.New("it is not clear which image is meant")
	// ErrUnauthorized: the registry refused the credentials, or wants some.
	ErrUnauthorized = errors.New("unauthorized")
	// ErrUnsupported: the image is of a kind that cannot be extended.
	ErrUnsupported = errors.New("unsupported image")
)

// Options say how to reach a base. The zero value reads anonymously, with TLS,
// and prefers images for the machine that the program runs on.
type Options struct {
	// Keychain gives the credentials of a registry. Nil: anonymous.
	Keychain authn.Keychain
	// InsecureRegistries are hosts, with port if any, that are spoken to over
	// plain HTTP, or over TLS whose certificate is not checked.
	InsecureRegistries []string
	// RootCAs are certificates that a registry may have its own from, beside those
	// that the system knows.
	RootCAs []*x509.Certificate
	// Metadata is a directory with image layouts named by digest, which need not have
	// layers. An image that is asked for by one of these digests is read there.
	Metadata string
	// Silence is how long a registry may neither send nor take anything before the
	// request is given up. Zero: 30 seconds.
	Silence time.Duration
	// Temp is the directory for the layers of an image of a Docker daemon. Empty: the
	// system's for temporary files.
	Temp string
	// Platform picks one image of an index. Nil: linux on this machine's
	// architecture.
	Platform *ocispecs.Platform
	// Transport carries requests to registries. Nil: go-containerregistry's.
	Transport http.RoundTripper
}

// Image is a base image: metadata in memory, layers on demand. It is safe for
// concurrent use.
type Image struct {
	// Source is the base as it was given to Open.
	Source string
	// Name is a reference with the digest of the image's manifest. For a base
	// from a registry the image can be pulled by it; for a layout it only names
	// the image, and nothing can be pulled.
	Name string
	// Digest is the digest of the image's manifest (never of an index).
	Digest v1.Hash
	// Layout is the directory of the layout, empty for a registry base.
	Layout string
	// Metadata is the directory that an image of a registry was read from instead,
	// empty if it was not.
	Metadata string
	// Insecure tells that the base's registry is one of InsecureRegistries.
	Insecure bool
	// Manifest is the image's manifest, RawManifest the bytes it was read from.
	Manifest    *v1.Manifest
	RawManifest []byte
	// RawConfig is the configuration as it is stored.
	RawConfig []byte
	// Config is the configuration, as far as the OCI image specification goes.
	Config ocispecs.Image

	image     v1.Image
	reference name.Reference
	// private tells that an engine might not speak to the registry: it is known by one of
	// RootCAs only, or speaks plain HTTP.
	private atomic.Bool
	// ended is closed when nobody waits any longer for what a registry has. Nil: never.
	ended <-chan struct{}
}

// Pullable tells whether an engine can pull the image by Name, given credentials:
// it lies in a registry that anybody can speak to.
func (i *Image) Pullable() bool {
	return i.reference != nil && !i.Insecure && !i.private.Load()
}

// InRegistry tells whether the image lies in a registry, under Name.
func (i *Image) InRegistry() bool { return i.reference != nil }

// Open reads the metadata of the base that source names: "oci:DIR",
// "oci-archive:FILE", "docker-archive:FILE", "docker:NAME", or else a registry reference.
// DIR and FILE of an OCI image layout may be followed by ":NAME" (the image's
// org.opencontainers.image.ref.name) or "@sha256:HEX". A tag is resolved once; Digest and
// Name then stand for what it was at that time. Errors name source, and wrap one of the
// package's sentinels where one fits.
func Open(ctx context.Context, source string, opts Options) (*Image, error) {
	if source == "" {
		return nil, errors.New("read base image: no base is named")
	}
	var img *Image
	var err error
	kind, path, _ := strings.Cut(source, ":")
	switch kind + ":" {
	case LayoutPrefix:
		img, err = openLayout(path, opts)
	case OCIArchivePrefix:
		img, err = openOCIArchive(path, opts)
	case DockerArchivePrefix:
		img, err = openDockerArchive(path)
	case DockerPrefix:
		img, err = openDocker(ctx, path, opts)
	default:
		img, err = openSteadily(ctx, source, opts)
	}
	if err != nil {
		return nil, fmt.Errorf("read base image %q: %w", source, err)
	}
	img.Source = source
	if err := img.load(); err != nil {
		return nil, fmt.Errorf("read base image %q: %w", source, err)
	}
	return img, nil
}

// maxConfig is how large the configuration of an image may be, in bytes: it is held in
// memory, and who made the image says how much that takes.
const maxConfig = 16 << 20

// load fills in what every kind of base has, and checks that it belongs
// together.
func (i *Image) load() error {
	var err error
	if i.RawManifest, err = i.image.RawManifest(); err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	if i.Manifest, err = i.image.Manifest(); err != nil {
		return fmt.Errorf("parse manifest: %w", err)
	}
	if size := i.Manifest.Config.Size; size > maxConfig {
		return fmt.Errorf("configuration %s is said to have %d bytes, and no image has more than %d: the image is damaged", i.Manifest.Config.Digest, size, maxConfig)
	}
	if i.RawConfig, err = i.image.RawConfigFile(); err != nil {
		return fmt.Errorf("read configuration %s: %w", i.Manifest.Config.Digest, err)
	}
	digest, _, err := v1.SHA256(strings.NewReader(string(i.RawConfig)))
	if err != nil {
		return err
	}
	if digest != i.Manifest.Config.Digest {
		return fmt.Errorf("configuration has digest %s, the manifest says %s: the image is damaged", digest, i.Manifest.Config.Digest)
	}
	if err := json.Unmarshal(i.RawConfig, &i.Config); err != nil {
		return fmt.Errorf("parse configuration %s: %w", digest, err)
	}
	if i.Config.OS == "" || i.Config.Architecture == "" {
		return fmt.Errorf("%w: the configuration names no os and architecture (is it an artifact rather than an image?)", ErrUnsupported)
	}
	if i.Config.OS != "linux" {
		return fmt.Errorf("%w: the image is for %s, only linux images can be extended", ErrUnsupported, i.Config.OS)
	}
	if l, d := len(i.Manifest.Layers), len(i.Config.RootFS.DiffIDs); l != d {
		return fmt.Errorf("the manifest has %d layers and the configuration %d diffIDs: the image is damaged", l, d)
	}
	return nil
}

// Platform is the platform that the image's configuration names.
func (i *Image) Platform() ocispecs.Platform { return i.Config.Platform }

// Layers are the base's layers for go-containerregistry. Those of a registry
// know where they came from, so that a push to the same registry mounts them
// instead of sending them, and are read on where the registry cuts them off.
func (i *Image) Layers() ([]v1.Layer, error) {
	layers, err := i.image.Layers()
	if err != nil {
		return nil, fmt.Errorf("read layers of base image %q: %w", i.Source, err)
	}
	if i.reference == nil {
		return layers, nil
	}
	out := make([]v1.Layer, len(layers))
	for n, l := range layers {
		if mountable, ok := l.(*remote.MountableLayer); ok {
			l = mountable.Layer
		}
		steady, err := newSteadyLayer(l, i.ended)
		if err != nil {
			return nil, fmt.Errorf("read layers of base image %q: %w", i.Source, err)
		}
		out[n] = &remote.MountableLayer{Layer: steady, Reference: i.reference}
	}
	return out, nil
}

// Layer opens the blob of the n-th layer as it is stored, lowest first. The
// caller closes it; the content is verified while it is read.
func (i *Image) Layer(n int) (io.ReadCloser, error) {
	layers, err := i.Layers()
	if err != nil {
		return nil, err
	}
	if n < 0 || n >= len(layers) {
		return nil, fmt.Errorf("base image %q has %d layers, number %d was asked for", i.Source, len(layers), n)
	}
	r, err := layers[n].Compressed()
	if err != nil {
		return nil, fmt.Errorf("read layer %s of base image %q: %w", i.Manifest.Layers[n].Digest, i.Source, err)
	}
	return r, nil
}

// FromImage makes a base of an image that is already at hand, such as one that
// a test builds. Name has to be a reference without a digest.
func FromImage(name string, image v1.Image) (*Image, error) {
	digest, err := image.Digest()
	if err != nil {
		return nil, fmt.Errorf("digest of image %q: %w", name, err)
	}
	img := &Image{Source: name, Name: name + "@" + digest.String(), Digest: digest, image: image}
	if err := img.load(); err != nil {
		return nil, fmt.Errorf("read image %q: %w", name, err)
	}
	return img, nil
}
