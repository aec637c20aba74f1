package platform

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// hubNames are the names that people and programs have for Docker Hub's registry; the
// first is the one that references to it are parsed to.
var hubNames = []string{name.DefaultRegistry, "docker.io", "registry-1.docker.io"}

// bareRegistry is a registry, or a repository in one, without what people copy along with
// its name: a scheme, slashes at the end, the path of the registry's interface. Docker Hub
// has one name only.
func bareRegistry(s string) string {
	for _, scheme := range []string{"https://", "http://"} {
		if len(s) >= len(scheme) && strings.EqualFold(s[:len(scheme)], scheme) {
			s = s[len(scheme):]
			break
		}
	}
	host, path, _ := strings.Cut(strings.TrimRight(s, "/"), "/")
	if slices.Contains(hubNames, host) {
		host = name.DefaultRegistry
	}
	if path == "" || path == "v1" || path == "v2" {
		return host
	}
	return host + "/" + path
}

// insecureRegistries are hosts, with port if any, as references have them. Docker Hub is
// there under each of its names.
func insecureRegistries(v *values) []string {
	var hosts []string
	for _, given := range v.many["insecure-registry"] {
		host := bareRegistry(strings.TrimSpace(given))
		if host == name.DefaultRegistry {
			hosts = append(hosts, hubNames...)
			continue
		}
		registry, err := name.NewRegistry(host, name.StrictValidation)
		if err != nil || registry.RegistryStr() != host || strings.ContainsAny(host, "*,=\"'") {
			v.fail(fmt.Errorf("%s: %q is no host of a registry, such as registry.example.com or localhost:5000", v.source["insecure-registry"], given))
			continue
		}
		hosts = append(hosts, host)
	}
	return hosts
}
