package platform

import "strings"

// proxyVariables are those that build tools agree upon; each has a lower-case
// form too.
var proxyVariables = []string{"HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"}

// proxy collects the proxy variables that are set. Where both forms are, the
// upper-case one counts, since a RUN sees one value under both names.
func proxy(env func(string) string) map[string]string {
	set := map[string]string{}
	for _, name := range proxyVariables {
		for _, spelled := range []string{name, strings.ToLower(name)} {
			if value := env(spelled); value != "" {
				set[name] = value
				break
			}
		}
	}
	return set
}
