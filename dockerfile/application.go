package dockerfile

// Kind says which of the two base images a Dockerfile extends
// (image_extension.md, "Phase: Extension").
type Kind string

// The kinds, spelled as in the names of generated files.
const (
	KindBuild Kind = "build"
	KindRun   Kind = "run"
)

// Arg is one build argument of an extension (image_extension.md,
// "extend-config.toml").
type Arg struct {
	Name  string `toml:"name"`
	Value string `toml:"value"`
}

// Step is one generated Dockerfile with everything that applying it takes.
type Step struct {
	// Extension is the id of the extension that generated the Dockerfile.
	Extension string
	// Path is where the Dockerfile was read, for messages.
	Path string
	// Content is the Dockerfile itself.
	Content []byte
	// Args are the extension's own build arguments, in its order.
	Args []Arg
	// Target is the platform that the image is for, as os/arch or
	// os/arch/variant; FROM may use it by the args that the Dockerfile language
	// has for it. Empty: linux on this machine's architecture.
	Target string
	// Context is the directory that ADD and COPY read.
	Context string
}

// Application is one image to extend: a base, and the Dockerfiles to apply to
// it in order. It says what is wanted and nothing of how it is done.
type Application struct {
	Kind Kind
	// Base is a registry reference, "oci:" and the path of an OCI image layout,
	// "oci-archive:" and that of one in a tar file, "docker-archive:" and that of a file
	// of docker save, or "docker:" and the name or id of an image in the Docker daemon.
	Base string
	// BuildID is the UUID that every Dockerfile gets as build_id.
	BuildID string
	Steps   []Step
	// Extended is the directory <extended>/<kind>, which will hold the extended
	// image as its only entry: an OCI layout named by the manifest's digest,
	// with only the layers that were added. Empty: no such layout is written.
	Extended string
	// Outputs are further destinations of the whole image: "oci:DIR",
	// "oci-archive:FILE", "registry:REFERENCE" or "docker:NAME".
	Outputs []string
	// Root is the root directory of a container of the base image, which is made one of
	// the extended image: what was added is applied to it, in place. Empty: none is.
	Root string
	// RootSkip are absolute paths, seen from Root, that are left as they are, with
	// everything below them. Mounts are left alone without being named.
	RootSkip []string
}

// Form is how the extension of an image is printed instead of being done.
type Form string

// The forms.
const (
	// FormPlan is text for people.
	FormPlan Form = "plan"
	// FormDockerfile is one Dockerfile that comes to the same.
	FormDockerfile Form = "dockerfile"
	// FormLLB is BuildKit's build graph, as its client reads it; FormLLBText is the same
	// with an operation on each line, as JSON.
	FormLLB     Form = "llb"
	FormLLBText Form = "llb-text"
)
