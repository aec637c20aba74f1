package chain_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/chain"
)

// However Dockerfiles are written, what they are printed as can be read again: as many
// stages as extensions, each with the instructions that it has. (What is printed is built
// in the acceptance tests.)
func TestPrintedDockerfileCanBeRead(t *testing.T) {
	base := asLayout(t, makeBase(t, baseOptions{user: "1001:1000"}))
	all := map[string]int{ // instructions, as they are counted where args are printed on their own lines
		"":                               0,
		"RUN true":                       1,
		"RUN true\n":                     1,
		"  COPY a \\\n b\n\n# comment\n": 1,
		"\tcopy --link a b\n":            1,
		"COPY [\"a b\", \"/c\"]\n":       1,
		"COPY <<A <<B /x/\none\nA\ntwo\nB\nUSER 7":                                                                            2,
		"RUN <<EOF\nARG no\n# no\nEOF\nUSER 7\n":                                                                              2,
		"ARG own other=1 build_id user_id\nARG a=\"x y\" b='z' c=${a}\nENV A=$own\n":                                          3,
		"RUN --mount=type=bind,target=/m \\\n --mount=type=tmpfs,target=/o --mount=type=cache,target=/c ls --mount=type=no\n": 1,
		"RUN a \\\r\n# comment\r\n  b\r\nUSER 7\r\n":                                                                          2,
		"# check=skip=all\nRUN true\n":                                                                                        1,
		"ONBUILD RUN true\nLABEL a=\"b \\\nc\"\nSHELL [\"/bin/sh\"]\n":                                                        3,
	}
	for one, n := range all {
		for two, m := range all {
			app := dockerfile.Application{Kind: dockerfile.KindBuild, Base: base, BuildID: "an-id", Steps: steps(t, dockerfile.KindBuild, from+one, from+two)}
			for s := range app.Steps {
				app.Steps[s].Args = []dockerfile.Arg{{Name: "own", Value: `a "b" $c \ 'd'`}}
			}
			a := &chain.Applier{}
			for _, form := range []dockerfile.Form{dockerfile.FormPlan, dockerfile.FormLLBText} {
				if err := a.Print(t.Context(), io.Discard, form, app); err != nil {
					t.Fatalf("%q and %q: %v", one, two, err)
				}
			}
			var text bytes.Buffer
			if err := a.Print(t.Context(), &text, dockerfile.FormDockerfile, app); err != nil {
				t.Fatalf("%q and %q: %v", one, two, err)
			}
			parsed, err := parser.Parse(bytes.NewReader(text.Bytes()))
			if err != nil {
				t.Fatalf("%v in\n%s", err, text.String())
			}
			stages, _, err := instructions.Parse(parsed.AST, dockerfile.Silent())
			if err != nil || len(stages) != 2 || len(stages[0].Commands) != n || len(stages[1].Commands) != m {
				t.Fatalf("%q and %q: %v, %d stages in\n%s", one, two, err, len(stages), text.String())
			}
		}
	}
}

// The commands that are printed lacked the flags for secrets and agents that were given.
func TestPrintedCommandsHaveSecretsAndAgents(t *testing.T) {
	key := filepath.Join(t.TempDir(), "a key")
	writeKey(t, key)
	ssh, err := chain.ParseSSH([]string{"own=" + key})
	if err != nil {
		t.Fatal(err)
	}
	a := &chain.Applier{Secrets: map[string][]byte{"b": []byte("never-shown"), "a c": []byte("x")}, SSH: ssh}
	var said []string
	a.Info = func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	app := dockerfile.Application{
		Kind: dockerfile.KindBuild, Base: asLayout(t, makeBase(t, baseOptions{})), BuildID: "an-id",
		Steps: steps(t, dockerfile.KindBuild, from+"RUN --mount=type=secret,id=b --mount=type=ssh,id=own true\n"),
	}
	var text, graph bytes.Buffer
	if err := errors.Join(a.Print(t.Context(), &text, dockerfile.FormDockerfile, app), a.Print(t.Context(), &graph, dockerfile.FormLLBText, app)); err != nil {
		t.Fatal(err)
	}
	flags := " --secret 'id=a c,src=FILE' --secret id=b,src=FILE --ssh 'own=" + key + "'"
	if strings.Count(text.String(), flags) != 2 || !strings.Contains(strings.Join(said, "\n"), flags) || strings.Contains(text.String(), "never-shown") {
		t.Errorf("no two of %s in\n%s, or none in %q", flags, text.String(), said)
	}
}

// writeKey makes a private key for SSH.
func writeKey(t *testing.T, path string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: data}), 0o600); err != nil {
		t.Fatal(err)
	}
}
