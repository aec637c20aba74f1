//go:build linux

package embedded_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile/internal/needs"
)

func needOrdinary(t *testing.T) (state string) {
	t.Helper()
	needRoot(t) // to become somebody else
	needs.Program(t, "newuidmap", "uidmap")
	needs.Program(t, "newgidmap", "uidmap")
	own := t.TempDir()
	state = filepath.Join(own, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, ordinaryUID, ordinaryUID); err != nil {
		t.Fatal(err)
	}
	// The directories that testing makes are root's alone.
	for _, dir := range []string{own, filepath.Dir(own)} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return state
}

// An ordinary user gets the same isolation, and is root of many users in a RUN.
func TestOrdinaryUser(t *testing.T) {
	needOverlayfs(t)
	state := needOrdinary(t)
	output := startHelper(t, helperOrdinary, state,
		"echo id $(busybox id -u); busybox chown 33:33 /tmp && echo owner $(busybox stat -c %u:%g /tmp)").output(t)
	for _, want := range []string{"in a user namespace (overlayfs)", "id 0\n", "owner 33:33\n"} {
		if !strings.Contains(output, want) {
			t.Errorf("an ordinary user's RUN lacks %q:\n%s", want, output)
		}
	}
	again := startHelper(t, helperOrdinary, state,
		"echo id $(busybox id -u); busybox chown 33:33 /tmp && echo owner $(busybox stat -c %u:%g /tmp)").output(t)
	if !strings.Contains(again, "cached: run") {
		t.Errorf("the second time is not cached:\n%s", again)
	}
}

func TestOrdinaryUsersRunSeesNothingOfTheProgram(t *testing.T) {
	state := needOrdinary(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GRAFT_ENGINE_TEST_SECRET", "do not tell")
	checkIsolation(t, func(command string) (string, error) {
		return startHelper(t, helperOrdinary, state, command).output(t), nil
	}, "bin dev etc out proc tmp", secret) // and no /sys, which is not theirs
}

func TestOrdinaryUsersKilledProgramLeavesNothing(t *testing.T) {
	state := needOrdinary(t)
	command, mark := sleepFor()
	h := startHelper(t, helperOrdinary, state, command)
	eventually(t, "the RUN runs", func() bool { return len(processesWith("sleep\x00"+mark)) == 2 })
	if err := h.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	h.Wait()
	nothingIsLeft(t, state, mark)
	if output := startHelper(t, helperOrdinary, state, "echo alive").output(t); !strings.Contains(output, "alive") {
		t.Errorf("the next engine does not run: %s", output)
	}
}

// Where the kernel makes no user namespaces, that is told, and nothing else.
func TestOrdinaryUserWithoutUserNamespaces(t *testing.T) {
	state := needOrdinary(t)
	h := startHelper(t, helperNoNamespaces, state, "true")
	err := h.Wait()
	if err == nil {
		t.Fatal("an engine ran without a user namespace")
	}
	text := h.errors.String()
	if !strings.Contains(text, "user namespaces are not permitted") || strings.Contains(text, "runc") {
		t.Errorf("the error is:\n%s", text)
	}
}

// Root needs control groups, and is told so before anything runs; an ordinary user does
// without.
func TestRootWithoutControlGroups(t *testing.T) {
	needRoot(t)
	h := startHelper(t, helperNoGroups, t.TempDir(), "true")
	if err := h.Wait(); err == nil {
		t.Fatal("an engine ran without control groups")
	}
	if text := h.errors.String(); !strings.Contains(text, "no control groups can be made") {
		t.Errorf("the error is:\n%s", text)
	}
}
