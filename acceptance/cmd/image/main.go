// Command image makes and opens OCI images for the demo, the acceptance tests and
// the benchmarks: a base image from a root file system, a large one from a small
// one, the analyzed.toml that a platform's analyzer would write for it, and a
// directory from an image, so that what an extension installed can be run; and the
// image of an application, as an exporter makes it of an extended run image.
//
// It stands for the parts of a platform that are not part of graft. It never
// extends an image, and never imports a package of graft: what it finds in an
// image is evidence only as long as it shares no code with what made the image.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	app := &cli.App{
		Name:            "image",
		Usage:           "make, describe and unpack OCI images for demo, tests and benchmarks",
		HideHelpCommand: true,
		Commands:        []*cli.Command{createCommand(), growCommand(), analyzeCommand(), unpackCommand(), assembleCommand()},
	}
	if err := app.RunContext(ctx, os.Args); err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

// arguments returns the positional arguments of a command when there are as
// many as names, and else an error that says which ones it takes.
func arguments(c *cli.Context, names ...string) ([]string, error) {
	if c.NArg() != len(names) {
		return nil, fmt.Errorf("%s takes the arguments %v, and has %v: see image %[1]s -help", c.Command.Name, names, c.Args().Slice())
	}
	return c.Args().Slice(), nil
}
