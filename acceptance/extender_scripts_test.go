package acceptance

import (
	"archive/tar"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts of the extender need no engine, and get the address of one that is
// not there. Their bases are layouts: base, of one layer, with the user 1001:1000;
// rebasable, the same with the label io.buildpacks.rebasable=true; and base with
// damages, no-manifest and other-config.
func TestExtenderScripts(t *testing.T) {
	plain := scriptBase(t, nil)
	rebasable := scriptBase(t, map[string]string{"io.buildpacks.rebasable": "true"})
	runScripts(t, "extender", func(env *testscript.Env) error {
		writeLayout(t, filepath.Join(env.WorkDir, "base"), plain)
		writeLayout(t, filepath.Join(env.WorkDir, "rebasable"), rebasable)
		for name, damage := range map[string]func(blobs string) error{
			"no-manifest": func(blobs string) error {
				return os.Remove(filepath.Join(blobs, digest(t, plain).Hex))
			},
			"other-config": func(blobs string) error {
				return os.WriteFile(filepath.Join(blobs, manifestOf(t, plain).Config.Digest.Hex), []byte("{}"), 0o644)
			},
		} {
			writeLayout(t, filepath.Join(env.WorkDir, name), plain)
			if err := damage(filepath.Join(env.WorkDir, name, "blobs", "sha256")); err != nil {
				return err
			}
		}
		env.Setenv("CNB_EXTEND_KIND", "run")
		env.Setenv("CNB_IN_CONTAINER", "false")
		env.Setenv("BUILDKIT_HOST", "unix://"+filepath.Join(env.WorkDir, "no-such-socket"))
		return nil
	})
}

// scriptBase is an image that is never run.
func scriptBase(t *testing.T, labels map[string]string) v1.Image {
	t.Helper()
	const passwd = "root:x:0:0::/root:/bin/sh\ncnb:x:1001:1000::/:/bin/sh\n"
	layer := tarLayer(t, []tar.Header{{Name: "etc/passwd", Mode: 0o644, Size: int64(len(passwd))}}, map[string]string{"etc/passwd": passwd})
	image, err := mutate.Append(empty.Image,
		mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "the base's layer"}},
		mutate.Addendum{History: v1.History{CreatedBy: "the base's ENV", EmptyLayer: true}})
	check(t, err)
	config, err := image.ConfigFile()
	check(t, err)
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", goarch
	config.Config = v1.Config{User: "1001:1000", Env: []string{"PATH=/bin"}, Labels: labels}
	image, err = mutate.ConfigFile(image, config)
	check(t, err)
	return image
}
