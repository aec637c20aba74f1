package chain

import (
	"errors"
	"testing"
)

// What connections put before an engine's message was shown as often as the message had
// passed one.
func TestCauseOfAnEnginesError(t *testing.T) {
	for text, want := range map[string]string{
		"failed to solve: rpc error: code = Unknown desc = rpc error: code = Unknown desc = no space": "no space",
		"failed to copy: rpc error: code = Unavailable desc = unexpected EOF":                         "failed to copy: unexpected EOF",
		"rpc error: code = Unknown desc = failed to solve: http: server gave HTTP response to HTTPS client": "http: server gave HTTP response to HTTPS client" +
			" (if the registry is meant to be without TLS, name it with -insecure-registry)",
	} {
		if got := cause(errors.New(text)); got != want {
			t.Errorf("%q becomes %q, wanted %q", text, got, want)
		}
	}
}
