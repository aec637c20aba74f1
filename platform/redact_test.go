package platform

import (
	"encoding/base64"
	"testing"
)

// Nothing that is secret is left in a text, however it got there, and the rest stays.
func TestRedact(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte("user:pass-word"))
	redact := redactor(
		map[string][]byte{"key": []byte("-----BEGIN-----\nfirst-line-of-it\nx\n"), "token": []byte(" token-1 \n"), "longer": []byte("token-12"), "empty": nil},
		headers{"a": "Basic " + basic, "b": "Bearer the-bearer-token"},
		map[string]string{"HTTP_PROXY": "http://me:p%40ss@proxy:1", "NO_PROXY": "localhost"},
	)
	for text, want := range map[string]string{
		"plain words, x":                       "plain words, x",
		"got token-1!":                         "got [secret]!",
		"got token-12!":                        "got [secret]!",
		"-----BEGIN-----\nfirst-line-of-it\nx": "[secret]",
		"   | first-line-of-it":                "   | [secret]",
		"Authorization: Basic " + basic:        "Authorization: [secret]",
		basic:                                  "[secret]",
		"docker login -p pass-word":            "docker login -p [secret]",
		"token=the-bearer-token":               "token=[secret]",
		"http://me:p%40ss@proxy:1 and p@ss":    "http://me:[secret]@proxy:1 and [secret]",
		"localhost":                            "localhost",
	} {
		if got := redact(text); got != want {
			t.Errorf("%q becomes %q, wanted %q", text, got, want)
		}
	}
}
