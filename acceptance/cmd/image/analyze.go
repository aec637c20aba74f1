package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/BurntSushi/toml"
	"github.com/urfave/cli/v2"
)

// analyzed is the part of analyzed.toml that detection, generation and
// extension read (platform.md, "analyzed.toml").
type analyzed struct {
	BuildImage *imageReference `toml:"build-image,omitempty"`
	RunImage   runImage        `toml:"run-image"`
}

type imageReference struct {
	Reference string `toml:"reference"`
}

type runImage struct {
	Image     string `toml:"image,omitempty"`
	Reference string `toml:"reference,omitempty"`
	Target    target `toml:"target"`
}

type target struct {
	OS      string  `toml:"os"`
	Arch    string  `toml:"arch"`
	Variant string  `toml:"variant,omitempty"`
	Distro  *distro `toml:"distro,omitempty"`
}

type distro struct {
	Name    string `toml:"name"`
	Version string `toml:"version"`
}

func analyzeCommand() *cli.Command {
	return &cli.Command{
		Name:      "analyze",
		Usage:     "write the analyzed.toml that a platform's analyzer would write for a new application on this base",
		ArgsUsage: "oci:DIR|REFERENCE ANALYZED.TOML",
		Description: "The image becomes both the build image and the run image, pinned by its digest. An image in a\n" +
			"layout directory has no name that a later phase could find it by: then only its target is\n" +
			"written, and the extender is told the place with -base.",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, "IMAGE", "ANALYZED.TOML")
			if err != nil {
				return err
			}
			return analyze(c.Context, args[0], args[1])
		},
	}
}

// analyze writes what is known about the image at location to file.
func analyze(ctx context.Context, location, file string) error {
	src, err := open(ctx, location)
	if err != nil {
		return err
	}
	config, err := src.Image.ConfigFile()
	if err != nil {
		return fmt.Errorf("reading the configuration of %s: %w", location, err)
	}
	found := analyzed{RunImage: runImage{
		Target: target{OS: config.OS, Arch: config.Architecture, Variant: config.Variant},
	}}
	if labels := config.Config.Labels; labels[labelDistroName] != "" {
		found.RunImage.Target.Distro = &distro{Name: labels[labelDistroName], Version: labels[labelDistroVersion]}
	}
	if src.Reference != "" {
		found.BuildImage = &imageReference{Reference: src.Reference}
		found.RunImage.Image, found.RunImage.Reference = location, src.Reference
	}
	var text bytes.Buffer
	if err := toml.NewEncoder(&text).Encode(found); err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing what is known about %s: %w", location, err)
	}
	return nil
}
