package platform

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
)

// redacted stands in texts for what is secret.
const redacted = "[secret]"

// shortestLine is how long a line of a secret must be to count as one by itself.
const shortestLine = 8

// redactor makes a function that takes secrets out of texts: what -secret gives (whole, and
// each longer line of it), what CNB_REGISTRY_AUTH holds, and the passwords of proxies.
func redactor(secrets map[string][]byte, registryAuth headers, proxy map[string]string) func(string) string {
	var values []string
	for _, secret := range secrets {
		text := strings.TrimSpace(string(secret))
		values = append(values, text)
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); len(line) >= shortestLine {
				values = append(values, line)
			}
		}
	}
	for _, header := range registryAuth {
		_, credentials, _ := strings.Cut(header, " ")
		values = append(values, header, strings.TrimSpace(credentials))
		if auth, err := parseHeader(header); err == nil {
			values = append(values, auth.Password)
		}
	}
	for _, address := range proxy {
		if u, err := url.Parse(address); err == nil && u.User != nil {
			password, _ := u.User.Password()
			_, encoded, _ := strings.Cut(u.User.String(), ":")
			values = append(values, password, encoded)
		}
	}
	values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
	// What is part of another must not be taken out of it.
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	var pairs []string
	for _, value := range slices.Compact(values) {
		pairs = append(pairs, value, redacted)
	}
	return strings.NewReplacer(pairs...).Replace
}
