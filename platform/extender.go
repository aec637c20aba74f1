package platform

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// ExtenderInputs are the inputs of the extender (platform.md, "extender").
type ExtenderInputs struct {
	API       API
	Log       *Log
	Analyzed  string
	App       string
	Extended  string
	Generated string
	Group     string
	Layers    string
	// Images are those to extend: one, or the build image and the run image.
	Images []ExtendImage
	// LayerCompression is the form of added layers: "uncompressed" or "gzip".
	LayerCompression string
	// RewriteTimestamps dates the files of added layers like the image.
	RewriteTimestamps bool
	// Secrets are what RUN --mount=type=secret may ask for, by id.
	Secrets map[string][]byte
	// SSH are agents that RUN --mount=type=ssh may use, as buildctl has them.
	SSH []string
	// Proxy are the proxy variables of the environment, by name; a RUN sees them.
	Proxy map[string]string
	// RegistryCA are further certificates to trust registries by.
	RegistryCA []*x509.Certificate
	// RunCA are certificates (PEM) that every RUN finds.
	RunCA []byte
	// BaseMetadata is where a restorer leaves what it has read of base images.
	BaseMetadata string
	// Engine is which engine of the program is used where BuildKit is empty: "embedded",
	// "inplace", or, empty, whichever can be.
	Engine string
	// BuildKit are the addresses of BuildKit daemons; none for an engine of the program.
	BuildKit []string
	// AppID is what decides the order in which these are tried; empty to find something.
	AppID string
	// BuildKitTLS is how a daemon at tcp:// is spoken to.
	BuildKitTLS BuildKitTLS
	// Preflight asks only which engine would be used.
	Preflight bool
	// StateDir is where the embedded engine keeps its cache.
	StateDir string
	// CacheTTL is the age at which unused records of that cache are dropped.
	CacheTTL time.Duration
	// CacheSize is what that cache may hold after a run, in bytes; 0 for any size.
	CacheSize int64
	// InContainer tells whether the extender runs in a platform's container.
	InContainer bool
	// Builder is what the builder gets, which takes over after the build image.
	Builder BuilderInputs
	// Print is how to print what would be done, instead of doing it: "plan",
	// "dockerfile" or "llb"; empty to do it. Out is where to.
	Print string
	Out   io.Writer
	// Report is the file or descriptor that gets the report; empty for none.
	Report string
	// Redact takes secrets out of a text. The log does so by itself.
	Redact func(text string) string
	// Progress is how the engine's progress is shown.
	Progress string
	// ProgressFile receives the progress instead of the log; empty for the log.
	ProgressFile       string
	InsecureRegistries []string
	Keychain           authn.Keychain
	// Epoch is the time that the extended image carries; zero for the default.
	Epoch time.Time
}

// BuildKitTLS names the PEM files for TLS with a BuildKit daemon; all empty for none.
type BuildKitTLS struct{ CA, Cert, Key, ServerName string }

var extenderProgram = program{
	name:      "extender",
	purpose:   "apply generated Dockerfiles to the build image or the run image, with BuildKit",
	oldestAPI: 10,
	inputs: []input{
		inAnalyzed, inApp, inBuildConfig, inBuildpacks,
		{"extended", "CNB_EXTENDED_DIR", "<layers>/extended", "`DIR` for the extended image, as <kind>/sha256:<hex>", 12, path},
		inGenerated, inGroup, inLayers, inPlan, inPlatform,
		{"kind", "CNB_EXTEND_KIND", "build", "which image to extend: build, run, or build,run for both, side by side in one engine; of both, nothing is written unless both succeed (but a push to a registry is not taken back) (`KIND`)", 12, text},
		{"base", "CNB_BASE", "", "`IMAGE` to extend instead of the one in <analyzed>: a registry reference, oci:DIR for an OCI image layout, oci-archive:FILE for one in a tar file (of several images in one: oci:DIR:NAME or oci:DIR@sha256:DIGEST, and FILE likewise), docker-archive:FILE for what docker save writes, or docker:NAME (or ID) for one in the Docker daemon; with both kinds build=IMAGE and run=IMAGE, as two flags or with a comma", 0, lines},
		{"output", "CNB_OUTPUT", "", "`WHERE` to put the whole extended image: oci:DIR (a layout, whose other images are gone then), oci-archive:FILE (a tar file), registry:REFERENCE or docker:NAME (in the Docker daemon); can be given more than once (in the variable: with commas); with both kinds build=WHERE or run=WHERE", 0, list},
		{"layer-compression", "CNB_LAYER_COMPRESSION", "uncompressed", "`FORM` of the layers that are added, wherever they go: uncompressed or gzip", 0, text},
		{"cache-from", "CNB_CACHE_FROM", "", "`CACHE` to take from what another engine has made, as buildctl has it: type=registry,ref=REFERENCE, type=local,src=DIR, a REFERENCE alone, or what else a remote engine knows; can be given more than once (in the variable: one on each line); with both kinds build=CACHE or run=CACHE is for one of them; one that cannot be used draws a warning", 0, lines},
		{"cache-to", "CNB_CACHE_TO", "", "`CACHE` to give to what this engine makes: type=registry,ref=REFERENCE, type=local,dest=DIR, type=inline (in the image itself, whose digest then differs from run to run), a REFERENCE alone, or what else a remote engine knows, with further options of buildctl's such as mode=max (and registry.insecure=true for a remote engine, which knows nothing of <insecure-registry>); can be given more than once (in the variable: one on each line); with both kinds build=CACHE or run=CACHE; one that cannot be written draws a warning", 0, lines},
		{"rewrite-timestamps", "CNB_REWRITE_TIMESTAMPS", "", "date what is newer in the layers that are added to the time that the image carries, so that Dockerfiles that do the same each time give the same image in every cold run; costs a pass over these layers", 0, boolean},
		{"secret", "CNB_SECRETS", "", "`SECRET` that a RUN --mount=type=secret,id=ID may read: id=ID,src=FILE or id=ID,env=VARIABLE; can be given more than once (in the variable: one on each line)", 0, lines},
		{"ssh", "CNB_SSH", "", "`AGENT` that a RUN --mount=type=ssh may use: default (the one at SSH_AUTH_SOCK), ID=SOCKET, or ID=KEYFILE,KEYFILE for one with these keys; can be given more than once (in the variable: one on each line); keys are never part of the image or the cache", 0, lines},
		{"registry-ca", "CNB_REGISTRY_CA", "", "`FILE` with certificates (PEM) of authorities that registries have theirs from, beside those that the system knows", 0, path},
		{"ca-cert", "CNB_CA_CERT", "", "`FILE` with certificates (PEM) for each RUN, instead of those of the image: mounted while it runs, with SSL_CERT_FILE, CURL_CA_BUNDLE and the like naming it; never part of the image", 0, path},
		{"buildkit", "BUILDKIT_HOST", "", "`ADDRESS` of a BuildKit daemon, like unix:///run/buildkit/buildkitd.sock, or docker:// for the one in the Docker daemon, or several with commas, of which the first that answers is used, in the order of <app-id>; without one the extender brings its own engine", 0, text},
		{"engine", "CNB_ENGINE", "auto", "`WHICH` engine to use: remote is the one of <buildkit>; embedded runs in this program and isolates what it runs; inplace runs in this program too, on the root filesystem of this container, and isolates nothing; auto is remote if <buildkit> is given, else embedded where mounts and namespaces are allowed, else, in a container, inplace", 0, text},
		{"app-id", "CNB_APP_ID", "", "`NAME` of the application, so that it meets the same daemon and its warm cache each time (default: the repository that an output goes to, else that of the image in <analyzed>, else <app> with the repositories of the base images)", 0, text},
		{"buildkit-tls-ca", "CNB_BUILDKIT_TLS_CA", "", "PEM `FILE` with the authority that signed the certificate of the daemon at tcp://; this or another of these four switches TLS on", 0, path},
		{"buildkit-tls-cert", "CNB_BUILDKIT_TLS_CERT", "", "PEM `FILE` with the certificate to show to the daemon", 0, path},
		{"buildkit-tls-key", "CNB_BUILDKIT_TLS_KEY", "", "PEM `FILE` with that certificate's private key", 0, path},
		{"buildkit-tls-server-name", "CNB_BUILDKIT_TLS_SERVER_NAME", "", "`NAME` that the daemon's certificate is made out to (default: the host of its address)", 0, text},
		{"preflight", "CNB_PREFLIGHT", "", "say which engine would be used and how it isolates a RUN, or line by line what is missing (exit code 103); extend nothing", 0, boolean},
		{"print", "CNB_PRINT", "", "`FORM` in which to print what would be done, without an engine and without doing it: plan for people, dockerfile for one Dockerfile that comes to the same, llb for BuildKit's build graph, as buildctl build reads it (on a terminal: as JSON); only that goes to stdout", 0, text},
		{"report", "CNB_REPORT", "", "`FILE` or descriptor (/dev/fd/3) that gets what was done to each image, step by step, as JSON, also when it failed", 0, path},
		{"progress", "CNB_PROGRESS", "auto", "how to show what BuildKit does: auto, tty, plain, quiet or rawjson (`HOW`)", 0, text},
		{"progress-file", "CNB_PROGRESS_FILE", "", "`FILE` or descriptor (/dev/fd/3) that gets the progress; rawjson needs one", 0, path},
		{"state-dir", "CNB_STATE_DIR", "", "`DIR` of the embedded engine's cache (default: cache/graft in <kaniko-dir> in a container or if that is given, else graft in the user's cache directory)", 0, path},
		{"kaniko-dir", "CNB_KANIKO_DIR", "/kaniko", "`DIR` that the platform's restorer shares with the extender: what it has read of base images is used", 0, path},
		{"kaniko-cache-ttl", "CNB_KANIKO_CACHE_TTL", "336h", "`AGE` at which unused records of the cache are dropped", 0, text},
		{"cache-size", "CNB_CACHE_SIZE", "", "`SIZE` that the embedded engine's cache is brought down to after each run, such as 20GB (default: it is pruned by age alone)", 0, text},
		{"in-container", "CNB_IN_CONTAINER", "", "say whether this is a platform's container, instead of finding out: in one, the build image is extended in place, and the builder takes over", 0, boolean},
		{"builder", "CNB_EXTEND_BUILDER", "/cnb/lifecycle/builder", "`PROGRAM` that takes over in a container, once the build image is extended there: as -uid and -gid, with its inputs as variables, and with its exit code", 0, path},
		{"insecure-registry", "CNB_INSECURE_REGISTRIES", "", "`HOST` of a registry, with :PORT if it has one, to speak to without TLS or without verifying it; can be given more than once (in the variable: with commas)", 0, list},
		inUID, inGID,
		inLogLevel, inNoColor,
	},
	variables: [][2]string{
		{"CNB_REGISTRY_AUTH", "JSON object, registry to Authorization header (default: the docker config file, else anonymous)"},
		{"HTTP_PROXY, HTTPS_PROXY, FTP_PROXY, ALL_PROXY, NO_PROXY", "and in lower case: used for registries, and seen by each RUN; never part of the image or the cache"},
		{"DOCKER_HOST, DOCKER_CERT_PATH, DOCKER_TLS_VERIFY", "where the Docker daemon is (default: the usual socket)"},
		{"SOURCE_DATE_EPOCH", "seconds since 1970 that the extended image's config carries as its time (default: a fixed date)"},
	},
	examples: []string{
		"extender -kind run                         # after generator, base from analyzed.toml",
		"extender -kind build -uid 1001 -gid 1000   # in a container of the build image; ends as the builder",
		"extender -kind run -base oci:./debian -output oci:./extended",
		"extender -kind run -print plan               # what would be done, in words",
		"extender -kind build,run -output build=oci:./builder -output run=oci:./runner",
		"extender -kind build -buildkit unix:///run/buildkit/buildkitd.sock \\\n    -base registry.example.com/builder -output registry:registry.example.com/builder:extended",
	},
	codes: []Code{CodeOK, CodeFailed, CodeUsage, CodePlatformAPI, CodeExtend, CodeEngine, CodeInterrupted, CodeTerminated},
}

// RunExtender resolves the extender's inputs from the world, calls action with
// them, reports its error and returns the exit code.
func RunExtender(ctx context.Context, world World, action func(context.Context, ExtenderInputs) error) Code {
	return extenderProgram.run(ctx, world, func(ctx context.Context, c common) error {
		v := c.values
		in := ExtenderInputs{
			API:                v.api,
			Log:                c.log,
			Analyzed:           v.path("analyzed"),
			App:                v.path("app"),
			Extended:           v.path("extended"),
			Generated:          v.path("generated"),
			Group:              v.path("group"),
			Layers:             v.path("layers"),
			Images:             extendImages(v),
			LayerCompression:   v.oneOf("layer-compression", "uncompressed", "gzip"),
			RewriteTimestamps:  v.bool("rewrite-timestamps"),
			Secrets:            secrets(v, c.env),
			SSH:                v.many["ssh"],
			Proxy:              proxy(c.env),
			RegistryCA:         certificates(v),
			RunCA:              runCertificates(v),
			BaseMetadata:       filepath.Join(v.path("kaniko-dir"), "cache", "base"),
			BuildKit:           buildKit(v),
			AppID:              v.text("app-id"),
			BuildKitTLS:        buildKitTLS(v),
			CacheSize:          v.size("cache-size"),
			Preflight:          v.bool("preflight"),
			CacheTTL:           v.duration("kaniko-cache-ttl"),
			InContainer:        inContainer(v, c.env),
			Print:              printForm(v),
			Out:                c.log.Out,
			Report:             v.path("report"),
			Progress:           v.oneOf("progress", "auto", "tty", "plain", "quiet", "rawjson"),
			ProgressFile:       v.path("progress-file"),
			InsecureRegistries: insecureRegistries(v),
		}
		in.Epoch = epoch(v, c.env)
		in.Engine = ownEngine(v)
		in.StateDir = stateDir(v, in.InContainer)
		in.Builder = builderInputs(v, c.env, in.StateDir)
		if in.Progress == "rawjson" && in.ProgressFile == "" {
			v.fail(fmt.Errorf("%s: rawjson is for machines and needs -progress-file", v.source["progress"]))
		}
		if in.Print != "" {
			c.log.Out = c.log.Err
			checkPrint(v, in)
		}
		if v.err != nil {
			return v.err
		}
		keychain, err := Keychain(c.env("CNB_REGISTRY_AUTH"))
		if err != nil {
			return err
		}
		auth, _ := parseHeaders(c.env("CNB_REGISTRY_AUTH")) // without a value there are none
		redactor := newRedactor(in.Secrets, auth, in.Proxy)
		in.Redact, c.log.Redact = redactor.redact, redactor.redact
		in.Keychain = redactedKeychain{keychain, redactor}
		return action(ctx, in)
	})
}

// printForm is how to print; empty for not at all.
func printForm(v *values) string {
	if !v.given("print") {
		return ""
	}
	return v.oneOf("print", "plan", "dockerfile", "llb")
}

// checkPrint refuses to print what cannot be printed.
func checkPrint(v *values, in ExtenderInputs) {
	if in.Print != "plan" && len(in.Images) > 1 {
		v.fail(fmt.Errorf("%s: the form %s is for one image: give -kind build or -kind run", v.source["print"], in.Print))
	}
	if v.source["report"] == "-report" {
		v.fail(errors.New("-report: -print does nothing that there could be a report of"))
	}
}

// buildKit are the daemons to use: none where an engine of this program is asked for.
func buildKit(v *values) []string {
	addresses := splitList(v.text("buildkit"))
	switch engine := v.oneOf("engine", "auto", "embedded", "inplace", "remote"); {
	case engine == "remote" && len(addresses) == 0:
		v.fail(fmt.Errorf("%s: a remote engine needs -buildkit with its address", v.source["engine"]))
	case engine == "embedded" || engine == "inplace":
		if v.source["buildkit"] == "-buildkit" && len(addresses) > 0 {
			v.fail(fmt.Errorf("-buildkit: it names a daemon, and %s asks for the %s engine", v.source["engine"], engine))
		}
		return nil
	case v.text("buildkit") != "" && len(addresses) == 0:
		v.fail(fmt.Errorf("%s: %q names no daemon; leave it out for an engine of the extender's own", v.source["buildkit"], v.text("buildkit")))
	}
	return addresses
}

// ownEngine is the engine of this program that is asked for, if one is.
func ownEngine(v *values) string {
	if engine := v.text("engine"); engine == "embedded" || engine == "inplace" {
		return engine
	}
	return ""
}

// buildKitTLS is complete: a certificate without its key is of no use. It is an error to
// ask by flag for TLS where there is no connection to encrypt; variables may be there for
// other calls.
func buildKitTLS(v *values) BuildKitTLS {
	tls := BuildKitTLS{
		CA:         v.path("buildkit-tls-ca"),
		Cert:       v.path("buildkit-tls-cert"),
		Key:        v.path("buildkit-tls-key"),
		ServerName: v.text("buildkit-tls-server-name"),
	}
	for _, pair := range [][2]string{{"buildkit-tls-cert", "buildkit-tls-key"}, {"buildkit-tls-key", "buildkit-tls-cert"}} {
		if v.given(pair[0]) && !v.given(pair[1]) {
			v.fail(fmt.Errorf("%s: it needs -%s too", v.source[pair[0]], pair[1]))
		}
	}
	for _, name := range []string{"ca", "cert", "key", "server-name"} {
		flag := "buildkit-tls-" + name
		if v.source[flag] == "-"+flag && !strings.Contains(v.text("buildkit"), "tcp://") {
			v.fail(fmt.Errorf("-%s: TLS is for a daemon at tcp://, and -buildkit names none", flag))
		}
	}
	return tls
}

// epoch reads SOURCE_DATE_EPOCH.
func epoch(v *values, env func(string) string) time.Time {
	raw := env("SOURCE_DATE_EPOCH")
	if raw == "" {
		return time.Time{}
	}
	seconds, err := strconv.ParseInt(raw, 10, 64)
	if err != nil {
		v.fail(fmt.Errorf("SOURCE_DATE_EPOCH: %q is no number of seconds", raw))
		return time.Time{}
	}
	at := time.Unix(seconds, 0).UTC()
	if at.Year() < 0 || at.Year() > 9999 {
		v.fail(fmt.Errorf("SOURCE_DATE_EPOCH: %s seconds lead to the year %d, and the configuration of an image has room for four digits", raw, at.Year()))
	}
	return at
}

// inContainer finds out whether the program runs in a container, where
// changing the root filesystem is what a platform wants, or on somebody's own
// machine, where it never is.
func inContainer(v *values, env func(string) string) bool {
	if v.given("in-container") {
		return v.bool("in-container")
	}
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); err == nil {
			return true
		}
	}
	return env("container") != "" || env("KUBERNETES_SERVICE_HOST") != ""
}

func stateDir(v *values, inContainer bool) string {
	if v.given("state-dir") {
		return v.path("state-dir")
	}
	if inContainer || v.given("kaniko-dir") {
		return filepath.Join(v.path("kaniko-dir"), "cache", "graft")
	}
	user, err := os.UserCacheDir()
	if err != nil {
		v.fail(fmt.Errorf("no directory for the engine's cache: %w; give one with -state-dir", err))
	}
	return filepath.Join(user, "graft")
}
