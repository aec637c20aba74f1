package result

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/graft-cnb/graft/dockerfile/base"
	"github.com/graft-cnb/graft/dockerfile/internal/patience"
)

// pushBackoff is how often a request of a push that fails for a moment is repeated: after
// so many seconds, 1, 2 and 4.
var pushBackoff = remote.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.1, Steps: 4}

// maxRetryAfter is how long a registry may ask to be left alone.
const maxRetryAfter = 30 * time.Second

// push sends the image to a registry. Layers that the registry has, in this
// repository or in the one that the base came from, are not sent.
func (i *Image) push(ctx context.Context, reference string, opts base.Options) error {
	ref, err := base.ParseReference(reference, opts.InsecureRegistries)
	if err != nil {
		return fmt.Errorf("push to %q: %w", reference, err)
	}
	all := append(base.RemoteOptions(ctx, ref, opts),
		remote.WithTransport(obliging{base.Transport(ref.Context().Registry, opts)}),
		remote.WithRetryBackoff(pushBackoff), remote.WithRetryPredicate(isOfAMoment))
	err = remote.Write(ref, i, all...)
	if err == nil {
		return nil
	}
	hint := ""
	var te *transport.Error
	var silent *patience.SilentError
	switch {
	case errors.As(err, &silent):
		hint = " (the registry does not answer)"
	case !errors.As(err, &te):
	case te.StatusCode == http.StatusUnauthorized, te.StatusCode == http.StatusForbidden:
		hint = fmt.Sprintf(" (log in with the right to push: docker login %s, or set CNB_REGISTRY_AUTH)", ref.Context().RegistryStr())
	default:
		// The library leaves it out where the registry says more.
		hint = fmt.Sprintf(" (the registry answers %d %s)", te.StatusCode, http.StatusText(te.StatusCode))
	}
	return fmt.Errorf("push to %s%s: %w", ref.Name(), hint, err)
}

// isOfAMoment tells whether what failed may go well another time: the status says so,
// whatever a registry says beside it, or the connection was lost.
func isOfAMoment(err error) bool {
	var te *transport.Error
	if errors.As(err, &te) {
		return te.StatusCode == http.StatusRequestTimeout || te.StatusCode == http.StatusTooManyRequests ||
			te.StatusCode >= http.StatusInternalServerError || te.Temporary()
	}
	var temporary interface{ Temporary() bool }
	if errors.As(err, &temporary) && temporary.Temporary() {
		return true
	}
	for _, lost := range []error{io.ErrUnexpectedEOF, io.EOF, syscall.EPIPE, syscall.ECONNRESET, net.ErrClosed} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return false
}

// obliging waits, before it returns a refusal, as long as the registry asks to be left
// alone.
type obliging struct{ http.RoundTripper }

func (o obliging) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := o.RoundTripper.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable {
		return response, err
	}
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil || seconds <= 0 {
		return response, nil
	}
	select {
	case <-time.After(min(time.Duration(seconds)*time.Second, maxRetryAfter)):
	case <-r.Context().Done():
	}
	return response, nil
}
