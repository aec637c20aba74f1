package dockerfile

// Applied tells what an Application resulted in. After a failure it tells how far it
// came; what is not known is zero.
type Applied struct {
	Base AppliedBase
	// Steps are the Dockerfiles, in order, as far as they could be converted.
	Steps []AppliedStep
	// Engine is what has made the layers; zero if none was needed.
	Engine AppliedEngine
	// Manifest is the digest of the extended image's manifest, as sha256:<hex>.
	Manifest string
	// Layers is the number of layers that were added to the base, Bytes their size as
	// they are stored.
	Layers int
	Bytes  int64
	// Env is the environment that the extended image gives to its processes, as
	// NAME=value.
	Env []string
	// Failed tells that the error of Apply is about this image.
	Failed bool
}

// AppliedBase is the image that was extended.
type AppliedBase struct {
	// Name is a reference with the digest of the image's manifest.
	Name string
	// Digest is that digest, as sha256:<hex>.
	Digest string
	// Platform is os/arch or os/arch/variant.
	Platform string
}

// AppliedEngine is the engine that made the layers.
type AppliedEngine struct {
	// Description is a line about the engine as a whole.
	Description string
	// Isolation is the part of it that says what keeps a RUN apart from the machine.
	Isolation string
}

// AppliedStep is what became of one Dockerfile.
type AppliedStep struct {
	Extension, Path string
	// Args are the build arguments that it was given, the extension's own ones last.
	// build_id is not among them, since it is another each time, and neither is what
	// is not known yet.
	Args []Arg
	// Instructions are what the Dockerfile comes to, in order: what the image triggers
	// (ONBUILD), then its own.
	Instructions []AppliedInstruction
}

// Outcome is what became of an instruction.
type Outcome string

// The outcomes.
const (
	// OutcomeConfig: it changes nothing but the configuration.
	OutcomeConfig Outcome = "config"
	// OutcomeCached: its layer was there already.
	OutcomeCached Outcome = "cached"
	// OutcomeDone: it was carried out.
	OutcomeDone Outcome = "done"
	// OutcomeFailed: it is what failed.
	OutcomeFailed Outcome = "failed"
	// OutcomePending: it was not finished.
	OutcomePending Outcome = "pending"
)

// AppliedInstruction is what became of one instruction.
type AppliedInstruction struct {
	// Line is where it begins, or that of FROM for one that the image triggers.
	Line int
	// Text is the instruction as it is written, the first line of a here-document.
	Text string
	// Triggered tells that the image before asks for it.
	Triggered bool
	Outcome   Outcome
	// Seconds is how long it took; zero if it was cached.
	Seconds float64
	// Layer is what it added; nil if nothing is there yet, or never will.
	Layer *AppliedLayer
}

// AppliedLayer is an added layer.
type AppliedLayer struct {
	// Digest is that of the layer as it is stored, DiffID that of its tar file.
	Digest, DiffID string
	// Bytes is its size as it is stored.
	Bytes int64
}
