//go:build linux

package inplace

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/cache"
	"github.com/moby/buildkit/frontend"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/llbsolver/ops"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
)

// localWorker is BuildKit's worker with operations that work on the root filesystem.
type localWorker struct {
	*base.Worker
	manager *manager
	exec    *executor
}

var _ worker.Worker = (*localWorker)(nil)

// CacheManager gives wrapped references.
func (w *localWorker) CacheManager() cache.Manager { return w.manager }

// LoadRef loads a result of the cache.
func (w *localWorker) LoadRef(ctx context.Context, id string, hidden bool) (cache.ImmutableRef, error) {
	ref, err := w.Worker.LoadRef(ctx, id, hidden)
	return w.manager.immutable(ref), err
}

// FromRemote makes a result of layers that are elsewhere.
func (w *localWorker) FromRemote(ctx context.Context, remote *solver.Remote) (cache.ImmutableRef, error) {
	ref, err := w.Worker.FromRemote(ctx, remote)
	return w.manager.immutable(ref), err
}

// ResolveOp finds out how a step of a graph is done.
func (w *localWorker) ResolveOp(v solver.Vertex, _ frontend.FrontendLLBBridge, sm *session.Manager, _ worker.ProxyOpt) (solver.Op, error) {
	op, ok := v.Sys().(*pb.Op)
	if !ok {
		return nil, fmt.Errorf("there is no way to do %v", v.Name())
	}
	switch kind := op.Op.(type) {
	case *pb.Op_Source:
		inner, err := ops.NewSourceOp(v, kind, op.Platform, w.SourceManager, w.ParallelismSem, sm, w)
		if err != nil {
			return nil, err
		}
		return &sourceOp{inner, w}, nil
	case *pb.Op_Exec:
		return w.newExecOp(v, kind, op.Platform, sm)
	case *pb.Op_File:
		return w.newFileOp(v, kind)
	}
	return nil, errNotLinear
}

// sourceOp wraps what a source gives.
type sourceOp struct {
	solver.Op
	worker *localWorker
}

func (o *sourceOp) Exec(ctx context.Context, job solver.JobContext, inputs []solver.Result) ([]solver.Result, error) {
	results, err := o.Op.Exec(ctx, job, inputs)
	if err != nil {
		return nil, err
	}
	for n, result := range results {
		ref, ok := result.Sys().(*worker.WorkerRef)
		if !ok {
			return nil, fmt.Errorf("a source gave a %T", result.Sys())
		}
		results[n] = worker.NewWorkerRefResult(o.worker.manager.immutable(ref.ImmutableRef), o.worker)
	}
	return results, nil
}

// changingOp makes the layer of what an operation has changed at once: BuildKit would
// do so when the next one begins, or never.
type changingOp struct{ solver.Op }

func (o *changingOp) Exec(ctx context.Context, job solver.JobContext, inputs []solver.Result) ([]solver.Result, error) {
	results, err := o.Op.Exec(ctx, job, inputs)
	if err != nil {
		return nil, err
	}
	for _, result := range results {
		ref, ok := result.Sys().(*worker.WorkerRef)
		if !ok || ref.ImmutableRef == nil {
			continue
		}
		if err := ref.ImmutableRef.Finalize(ctx); err != nil {
			for _, r := range results {
				err = errors.Join(err, r.Release(context.WithoutCancel(ctx)))
			}
			return nil, err
		}
	}
	return results, nil
}

// execOp is a RUN. What it is cached by includes its secret mounts, as anywhere else;
// what is done about them is done by the executor, since BuildKit would mount them.
type execOp struct {
	solver.Op             // does it
	asked     *ops.ExecOp // says what it is
	session   *runSession
}

func (w *localWorker) newExecOp(v solver.Vertex, op *pb.Op_Exec, platform *pb.Platform, sm *session.Manager) (solver.Op, error) {
	asked, err := ops.NewExecOp(v, op, platform, w.manager, w.ParallelismSem, sm, w.exec, w, nil, false)
	if err != nil {
		return nil, err
	}
	plain, secrets := withoutSecrets(op.Exec)
	s := &runSession{executor: w.exec, sessions: sm, secrets: secrets, lasting: map[string]bool{}}
	for _, m := range plain.Mounts {
		s.lasting[m.Dest] = m.MountType == pb.MountType_CACHE
	}
	done, err := ops.NewExecOp(v, &pb.Op_Exec{Exec: plain}, platform, w.manager, w.ParallelismSem, sm, s, w, nil, false)
	if err != nil {
		return nil, err
	}
	return &execOp{&changingOp{done}, asked, s}, nil
}

func (o *execOp) CacheMap(ctx context.Context, job solver.JobContext, index int) (*solver.CacheMap, bool, error) {
	return o.asked.CacheMap(ctx, job, index)
}

func (o *execOp) Exec(ctx context.Context, job solver.JobContext, inputs []solver.Result) ([]solver.Result, error) {
	o.session.group = job.Session()
	return o.Op.Exec(ctx, job, inputs)
}

// withoutSecrets takes the secret mounts out of a RUN.
func withoutSecrets(op *pb.ExecOp) (*pb.ExecOp, []*pb.Mount) {
	plain := op.CloneVT()
	plain.Mounts = nil
	var secrets []*pb.Mount
	for _, m := range op.Mounts {
		if m.MountType == pb.MountType_SECRET {
			secrets = append(secrets, m)
		} else {
			plain.Mounts = append(plain.Mounts, m)
		}
	}
	return plain, secrets
}
