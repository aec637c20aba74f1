package platform

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/authn"
)

// redacted stands in texts for what is secret.
const redacted = "[secret]"

// How long a line of a secret must be to count as one by itself; what is shorter than
// shortestPart is a secret only where it stands alone, and what is shorter than
// shortestWord not even there: each a or 1 of a text would be one.
const (
	shortestLine = 8
	shortestPart = 6
	shortestWord = 4
)

// redactor takes secrets out of texts. It can learn of more while it is in use, and is safe
// for concurrent use.
type redactor struct {
	mu     sync.Mutex
	known  map[string]bool
	parts  *strings.Replacer // nil: to be made again
	inners []string          // those that count only where they stand alone
}

// newRedactor makes a redactor for what -secret gives (whole, and each longer line of it),
// what CNB_REGISTRY_AUTH holds, and the passwords of proxies.
func newRedactor(secrets map[string][]byte, registryAuth headers, proxy map[string]string) *redactor {
	r := &redactor{known: map[string]bool{}}
	for _, secret := range secrets {
		text := strings.TrimSpace(string(secret))
		r.add(text)
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); len(line) >= shortestLine {
				r.add(line)
			}
		}
	}
	for _, header := range registryAuth {
		_, credentials, _ := strings.Cut(strings.TrimSpace(header), " ")
		r.add(strings.TrimSpace(header), strings.TrimSpace(credentials))
		if auth, err := parseHeader(header); err == nil {
			r.addAuth(auth)
		}
	}
	for _, address := range proxy {
		if u, err := url.Parse(address); err == nil && u.User != nil {
			password, _ := u.User.Password()
			_, encoded, _ := strings.Cut(u.User.String(), ":")
			r.add(password, encoded)
		}
	}
	return r
}

// addAuth learns of the credentials of a registry, in each form in which they are sent.
func (r *redactor) addAuth(auth authn.AuthConfig) {
	r.add(auth.Password, auth.IdentityToken, auth.RegistryToken, auth.Auth)
	if auth.Password == "" {
		return
	}
	pair := auth.Username + ":" + auth.Password
	r.add(pair, base64.StdEncoding.EncodeToString([]byte(pair)))
}

// add learns of secrets, in each spelling that a message may have for them.
func (r *redactor) add(secrets ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, secret := range secrets {
		quoted := strconv.Quote(secret)
		spellings := []string{secret, quoted[1 : len(quoted)-1], url.QueryEscape(secret), url.PathEscape(secret)}
		if text, err := json.Marshal(secret); err == nil {
			spellings = append(spellings, string(text[1:len(text)-1]))
		}
		for _, s := range spellings {
			if len(secret) >= shortestWord && !r.known[s] {
				r.known[s] = true
				r.parts = nil
			}
		}
	}
}

// prepare sorts what is known: what is part of another must not be taken out of it. The
// caller holds the lock.
func (r *redactor) prepare() {
	r.inners = nil
	var values []string
	for value := range r.known {
		if len(value) < shortestPart {
			r.inners = append(r.inners, value)
		} else {
			values = append(values, value)
		}
	}
	longestFirst := func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) }
	slices.SortFunc(values, longestFirst)
	slices.SortFunc(r.inners, longestFirst)
	var pairs []string
	for _, value := range values {
		pairs = append(pairs, value, redacted)
	}
	r.parts = strings.NewReplacer(pairs...)
}

// bearer is a token as it is sent, which nobody has told of: a service has given it for
// credentials.
var bearer = regexp.MustCompile(`(?i)(\bbearer )([a-z0-9._~+/-]{16,}=*)`)

// redact takes what is secret out of a text.
func (r *redactor) redact(text string) string {
	r.mu.Lock()
	if r.parts == nil {
		r.prepare()
	}
	parts, words := r.parts, r.inners
	r.mu.Unlock()
	text = parts.Replace(text)
	for _, word := range words {
		text = replaceWord(text, word)
	}
	return bearer.ReplaceAllStringFunc(text, func(found string) string {
		if !strings.ContainsAny(found, "0123456789") {
			return found // words
		}
		return found[:len("bearer ")] + redacted
	})
}

// replaceWord takes a short secret out where no letter or digit is before or after it.
func replaceWord(text, word string) string {
	var out strings.Builder
	done := 0
	for {
		n := strings.Index(text[done:], word)
		if n < 0 {
			break
		}
		at, end := done+n, done+n+len(word)
		before, _ := utf8.DecodeLastRuneInString(text[:at])
		after, _ := utf8.DecodeRuneInString(text[end:])
		out.WriteString(text[done:at])
		if partOfWord(before) || partOfWord(after) {
			out.WriteString(word)
		} else {
			out.WriteString(redacted)
		}
		done = end
	}
	out.WriteString(text[done:])
	return out.String()
}

func partOfWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// redactedKeychain tells a redactor of the credentials that a keychain gives, before
// anybody can send them.
type redactedKeychain struct {
	authn.Keychain
	redactor *redactor
}

var (
	_ authn.Keychain        = redactedKeychain{}
	_ authn.ContextKeychain = redactedKeychain{}
)

// Resolve does what ResolveContext does, for as long as it takes.
func (k redactedKeychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	return k.ResolveContext(context.Background(), target)
}

// ResolveContext asks the keychain.
func (k redactedKeychain) ResolveContext(ctx context.Context, target authn.Resource) (authn.Authenticator, error) {
	auth, err := authn.Resolve(ctx, k.Keychain, target)
	if err != nil || auth == authn.Anonymous {
		return auth, err
	}
	config, err := authn.Authorization(ctx, auth)
	if err != nil {
		return nil, err
	}
	k.redactor.addAuth(*config)
	return auth, nil
}
