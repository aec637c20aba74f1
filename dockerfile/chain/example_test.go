package chain_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
)

// A Dockerfile that adds no layer is applied without any engine.
func ExampleApplier_Apply() {
	dir, err := os.MkdirTemp("", "graft-example-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	// A base image in an OCI layout.
	file, err := empty.Image.ConfigFile()
	if err != nil {
		panic(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config.User = "linux", "amd64", "1001:1000"
	image, err := mutate.ConfigFile(empty.Image, file)
	if err != nil {
		panic(err)
	}
	base, err := layout.Write(filepath.Join(dir, "base"), empty.Index)
	if err != nil {
		panic(err)
	}
	if err := base.AppendImage(image); err != nil {
		panic(err)
	}

	applier := &chain.Applier{}
	applied, err := applier.Apply(context.Background(), dockerfile.Application{
		Kind: dockerfile.KindRun,
		Base: "oci:" + filepath.Join(dir, "base"),
		Steps: []dockerfile.Step{{
			Extension: "samples/env",
			Path:      "run.Dockerfile",
			Content:   []byte("ARG base_image\nFROM ${base_image}\nENV GREETING=hello\n"),
		}},
		Extended: filepath.Join(dir, "extended", "run"),
	})
	if err != nil {
		panic(err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "extended", "run"))
	if err != nil {
		panic(err)
	}
	fmt.Println(applied[0].Layers, "layers,", len(entries), "extended image")
	fmt.Println(entries[0].Name() == applied[0].Manifest)
	// Output:
	// 0 layers, 1 extended image
	// true
}
