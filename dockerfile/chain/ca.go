package chain

import (
	"fmt"
	"maps"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// caSecret is the id and caPath the place of the certificates that every RUN
// gets. They are a secret to the engine, so that neither the layer nor what it
// caches by has their content.
const (
	caSecret = "graft-run-ca-cert"
	caPath   = "/run/secrets/" + caSecret + ".pem"
)

// caVariables are where programs look for certificates: OpenSSL and Go, curl,
// Python's requests and pip, Node.js, git, the AWS tools, cargo.
var caVariables = []string{
	"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT",
	"NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO",
}

// secrets are what the engine may ask for.
func (r *run) secrets() map[string][]byte {
	if len(r.RunCA) == 0 {
		return r.Secrets
	}
	all := maps.Clone(r.Secrets)
	if all == nil {
		all = map[string][]byte{}
	}
	all[caSecret] = r.RunCA
	return all
}

// mountCA gives every RUN of a graph the certificates, and the variables that
// lead to them. It is done to the graph, not to the Dockerfiles, because there the
// variables would end in the image, and triggers of a base would be left out.
func (r *run) mountCA(def *llb.Definition) error {
	if len(r.RunCA) == 0 {
		return nil
	}
	renamed := map[string]string{}
	for n, data := range def.Def { // each comes after those that it depends on
		var op pb.Op
		if err := op.Unmarshal(data); err != nil {
			return fmt.Errorf("read the build graph: %w", err)
		}
		changed := false
		for _, in := range op.Inputs {
			if to, ok := renamed[in.Digest]; ok {
				in.Digest, changed = to, true
			}
		}
		if exec := op.GetExec(); exec != nil {
			addCA(exec)
			changed = true
		}
		if !changed {
			continue
		}
		out, err := op.Marshal()
		if err != nil {
			return fmt.Errorf("write the build graph: %w", err)
		}
		def.Def[n] = out
		before, after := digest.FromBytes(data), digest.FromBytes(out)
		renamed[before.String()] = after.String()
		moveKey(def.Metadata, before, after)
		if def.Source != nil {
			moveKey(def.Source.Locations, before.String(), after.String())
		}
	}
	return nil
}

// addCA changes one RUN.
func addCA(exec *pb.ExecOp) {
	for _, name := range caVariables {
		exec.Meta.Env = setVariable(exec.Meta.Env, name, caPath)
	}
	exec.Mounts = append(exec.Mounts, &pb.Mount{
		Input:     int64(pb.Empty),
		Output:    int64(pb.SkipOutput),
		Dest:      caPath,
		MountType: pb.MountType_SECRET,
		SecretOpt: &pb.SecretOpt{ID: caSecret, Mode: 0o444},
	})
}

// setVariable sets a variable in a list of NAME=VALUE.
func setVariable(env []string, name, value string) []string {
	for n, kv := range env {
		if k, _, _ := strings.Cut(kv, "="); k == name {
			env[n] = name + "=" + value
			return env
		}
	}
	return append(env, name+"="+value)
}

func moveKey[K comparable, V any](m map[K]V, from, to K) {
	if v, ok := m[from]; ok {
		delete(m, from)
		m[to] = v
	}
}
