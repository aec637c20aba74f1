//go:build linux

package inplace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets"
	"golang.org/x/sys/unix"
)

// secretFile is a secret of one RUN.
type secretFile struct {
	id, dest string
	data     []byte
	uid, gid int
	mode     os.FileMode
}

// loadSecrets asks the client for the secrets of a RUN.
func (s *runSession) loadSecrets(ctx context.Context) ([]secretFile, error) {
	var files []secretFile
	for _, m := range s.secrets {
		if m.SecretOpt == nil || m.SecretOpt.ID == "" {
			return nil, fmt.Errorf("the secret mount at %s names no secret", m.Dest)
		}
		var data []byte
		err := s.sessions.Any(ctx, s.group, func(ctx context.Context, _ string, caller session.Caller) error {
			var err error
			data, err = secrets.GetSecret(ctx, caller, m.SecretOpt.ID)
			return err
		})
		if errors.Is(err, secrets.ErrNotFound) && m.SecretOpt.Optional {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, secretFile{
			id: m.SecretOpt.ID, dest: m.Dest, data: data,
			uid: int(m.SecretOpt.Uid), gid: int(m.SecretOpt.Gid),
			mode: os.FileMode(m.SecretOpt.Mode & 0o777),
		})
	}
	return files, nil
}

// write makes the file.
func (s secretFile) write(path string) error {
	if err := os.WriteFile(path, s.data, 0o600); err != nil {
		return err
	}
	if err := os.Lchown(path, s.uid, s.gid); err != nil {
		return err
	}
	return os.Chmod(path, s.mode)
}

// secretsPrefix begins the names of the directories that secrets are in.
const secretsPrefix = "graft-"

// memoryDir makes the directory for a RUN's secrets: in memory where the container has
// a place for that.
func (t *targets) memoryDir() (string, error) {
	dir := filepath.Join(t.root, "dev/shm")
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
		dir = tmpDir(t.state)
		t.log.Write(slog.LevelWarn, "the container has no /dev/shm in memory: secrets of a RUN are in a file of the state directory while it runs")
	}
	made, err := os.MkdirTemp(dir, secretsPrefix)
	if err != nil {
		return "", err
	}
	t.tmp = append(t.tmp, made)
	// Users other than root get to the files, and see no names.
	return made, os.Chmod(made, 0o711)
}
