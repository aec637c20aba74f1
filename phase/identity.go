package phase

import (
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/platform"
)

// Identity tells the application apart from others, as far as its inputs say who it is.
// It is the repository that the extended image is sent to, else that of the application's
// image as analyzed.toml has it from the build before. Both are the same from build to
// build, whatever the tag or the digest is. Where neither is known, it is the path of the
// application together with the repositories of the base images: in a platform's
// containers that is the same for all applications that have these.
func (e Extender) Identity() string {
	for _, kind := range e.Kinds {
		for _, output := range e.Outputs[kind] {
			for _, prefix := range []string{"registry:", "docker:"} {
				if reference, ok := strings.CutPrefix(output, prefix); ok {
					return repository(reference)
				}
			}
		}
	}
	analyzed, err := e.analyzed()
	if err != nil {
		analyzed = platform.Analyzed{} // it is told of when the file is needed
	}
	if image := analyzed.ImageReference(); strings.Contains(image, "/") { // else it is a Docker daemon's id
		return repository(image)
	}
	parts := []string{e.App}
	for _, base := range []struct {
		kind      dockerfile.Kind
		reference string
	}{
		{dockerfile.KindBuild, analyzed.BuildReference()},
		{dockerfile.KindRun, analyzed.RunReference()},
	} {
		if given := e.Bases[base.kind]; given != "" {
			base.reference = given
		}
		parts = append(parts, repository(base.reference))
	}
	return strings.Join(parts, "\n")
}

// repository is a reference without tag and digest; what is none stays as it is.
func repository(reference string) string {
	ref, err := name.ParseReference(reference, name.WeakValidation)
	if err != nil {
		return reference
	}
	return ref.Context().Name()
}

// analyzed reads the analyzed file; one that is not there is empty.
func (e Extender) analyzed() (platform.Analyzed, error) {
	data, err := os.ReadFile(e.Analyzed)
	if err != nil && !os.IsNotExist(err) {
		return platform.Analyzed{}, &platform.FileError{What: "analyzed", Path: e.Analyzed, Err: err}
	}
	return platform.ParseAnalyzed(e.Analyzed, data)
}
