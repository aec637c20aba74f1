package platform

import (
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Nothing that is secret is left in a text, however it got there, and the rest stays.
func TestRedact(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte("user:pass-word"))
	redact := newRedactor(
		map[string][]byte{"key": []byte("-----BEGIN-----\nfirst-line-of-it\nx\n"), "token": []byte(" token-1 \n"), "longer": []byte("token-12"), "empty": nil},
		headers{"a": "Basic " + basic, "b": "Bearer the-bearer-token"},
		map[string]string{"HTTP_PROXY": "http://me:p%40ss@proxy:1", "NO_PROXY": "localhost"},
	).redact
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

// What the docker config file has was shown when a registry repeated it, since nobody but
// the keychain knew it.
func TestRedactWhatAKeychainGives(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("DOCKER_CONFIG", dir)
	const password = `pass"word & more`
	basic := base64.StdEncoding.EncodeToString([]byte("user:" + password))
	writeTestFile(t, filepath.Join(dir, "config.json"), `{"auths": {"a.example": {"auth": "`+basic+`"}, "b.example": {"registrytoken": "a-token-of-it"}}}`)
	keychain, err := Keychain("")
	if err != nil {
		t.Fatal(err)
	}
	r := newRedactor(nil, nil, nil)
	told := redactedKeychain{keychain, r}
	if user := userAt(t, told, "a.example/app"); user != "user" {
		t.Errorf("the user is %q", user)
	}
	userAt(t, told, "b.example/app")
	if user := userAt(t, told, "c.example/app"); user != "" {
		t.Errorf("the user of an unknown registry is %q", user)
	}
	for text, want := range map[string]string{
		"got Basic " + basic:                                 "got Basic [secret]",
		"user:" + password:                                   "[secret]",
		password + "!":                                       "[secret]!",
		`{"message":"pass\"word \u0026 more"}`:               `{"message":"[secret]"}`,
		"password=pass%22word+%26+more&scope=x":              "password=[secret]&scope=x",
		"Bearer a-token-of-it":                               "Bearer [secret]",
		"got Bearer eyJhbGciOiJSUzI1NiJ9.e30.c2ln":           "got Bearer [secret]",
		`Bearer realm="https://a.example/token",service="a"`: `Bearer realm="https://a.example/token",service="a"`,
		"bearer authentication-is-wanted":                    "bearer authentication-is-wanted",
		"user":                                               "user",
	} {
		if got := r.redact(text); got != want {
			t.Errorf("%q becomes %q, wanted %q", text, got, want)
		}
	}
}

// A password of few characters is taken out where it stands by itself, and does not make
// all else unreadable.
func TestRedactShortPasswords(t *testing.T) {
	r := newRedactor(nil, nil, nil)
	r.addAuth(authn.AuthConfig{Username: "user", Password: "ab12"})
	r.addAuth(authn.AuthConfig{Username: "other", Password: "a"})
	pair := base64.StdEncoding.EncodeToString([]byte("other:a"))
	for text, want := range map[string]string{
		"ab12":               "[secret]",
		"sha256:ab12ab123":   "sha256:ab12ab123",
		"was ab12, is xab12": "was [secret], is xab12",
		"a banana":           "a banana",
		"sent other:a":       "sent [secret]",
		"sent " + pair:       "sent [secret]",
	} {
		if got := r.redact(text); got != want {
			t.Errorf("%q becomes %q, wanted %q", text, got, want)
		}
	}
}

// The log never shows what is secret, in what lines and at what level ever.
func TestLogRedacts(t *testing.T) {
	var out strings.Builder
	r := newRedactor(map[string][]byte{"id": []byte("the-secret")}, nil, nil)
	log := &Log{Out: &out, Err: &out, Level: LevelDebug, Redact: r.redact}
	log.Debugf("%s", "the-secret")
	log.Errorf("the-%s", "secret")
	w := log.Lines(LevelInfo, "id")
	for _, part := range []string{"the-", "secret\n"} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if want := "[secret]\nERROR: [secret]\n[id] [secret]\n"; out.String() != want {
		t.Errorf("got %q, wanted %q", out.String(), want)
	}
}
