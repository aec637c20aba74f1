package chain_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/graft-cnb/graft/dockerfile"
	"github.com/graft-cnb/graft/dockerfile/result"
)

// applyRun extends a run image and tells how that ended.
func applyRun(t *testing.T, h *harness, o baseOptions, contents ...string) error {
	t.Helper()
	_, err := h.Apply(t.Context(), dockerfile.Application{
		Kind:     dockerfile.KindRun,
		Base:     asLayout(t, makeBase(t, o)),
		Steps:    steps(t, dockerfile.KindRun, contents...),
		Extended: filepath.Join(t.TempDir(), "run"),
	})
	return err
}

// A uid of more than 32 bits passed as not root: only 0 was refused, and a runtime that
// cuts the number off makes it 0.
func TestAccountWithAnImpossibleNumberIsRefused(t *testing.T) {
	for uid, want := range map[string]string{
		"4294967296": "no number that a user can have", "-4294967296": "no number that a user can have", "2147483648": "no number",
		"99999999999999999999": "no number", "2147483647": "",
	} {
		h := withEngine(t)
		err := applyRun(t, h, baseOptions{user: "1001"}, from+"USER root\nRUN echo new:x:"+uid+":5::/:/bin/sh >>/etc/passwd\nUSER new\n")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "a/run.Dockerfile:5")) {
			t.Errorf("uid %s: %v", uid, err)
		}
	}
}

// So it did as user_id and group_id, which USER then took.
func TestImpossibleNumbersAreNoArgs(t *testing.T) {
	for name, c := range map[string]struct{ one, arg string }{
		"name of a user":    {"USER root\nRUN echo big:x:4294967296:5::/:/bin/sh >>/etc/passwd\nUSER big\n", "user_id"},
		"name of a group":   {"USER root\nRUN echo big:x:4294967296: >>/etc/group\nUSER 1001:big\n", "group_id"},
		"number of a user":  {"USER 4294967296\n", "user_id"},
		"number of a group": {"USER 1001:4294967296\n", "group_id"},
	} {
		t.Run(name, func(t *testing.T) {
			err := applyRun(t, withEngine(t), baseOptions{user: "1001"}, from+c.one, from+"ARG "+c.arg+"\nUSER 7:${"+c.arg+"}\n")
			if err == nil || !strings.Contains(err.Error(), "no number that a user or a group can have") || !strings.Contains(err.Error(), "b/run.Dockerfile:2") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// USER 1234 was root where an extension had made an account that is *called* 1234 with
// uid 0: runtimes look at names first.
func TestNumberThatIsTheNameOfRootIsRefused(t *testing.T) {
	const root = "1234:x:0:0::/:/bin/sh"
	for name, c := range map[string]struct{ step, want string }{
		"appended":           {"RUN echo " + root + " >>/etc/passwd", "has uid 0"},
		"copied":             {"COPY <<EOF /etc/passwd\n" + root + "\nEOF", "has uid 0"},
		"in the layer below": {"RUN echo " + root + " >>/etc/passwd\nRUN echo other >/etc/other", "has uid 0"},
		"by a link":          {"RUN echo " + root + " >/tmp/p\nRUN rm /etc/passwd; /bin/busybox ln -s ../tmp/p /etc/passwd", "has uid 0"},
		"by a hard link":     {"RUN echo " + root + " >/a; rm /etc/passwd; /bin/busybox ln /a /etc/passwd; echo >/zz", "has uid 0"},
		"links in a circle":  {"RUN rm /etc/passwd; /bin/busybox ln -s passwd /etc/passwd", "too many symbolic links"},
		"taken back":         {"RUN echo " + root + " >>/etc/passwd\nRUN rm /etc/passwd; echo cnb:x:1001:1000:: >/etc/passwd", ""},
		"removed":            {"RUN echo " + root + " >>/etc/passwd\nRUN rm /etc/passwd", ""},
		"removed and anew":   {"RUN echo " + root + " >>/etc/passwd\nRUN rm -r /etc/*; echo >/etc/x", ""},
		"by its number":      {"RUN echo x:x:1234:0::/:/bin/sh >>/etc/passwd", ""},
		"that of the base":   {"RUN echo >/x", ""},
	} {
		for _, form := range []result.Compression{result.Uncompressed, result.Gzip} {
			t.Run(name+", "+string(form), func(t *testing.T) {
				h := withEngine(t)
				h.LayerCompression = form
				err := applyRun(t, h, baseOptions{user: "1001"}, from+"USER root\n"+c.step+"\nUSER 1234\n")
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("error %v, want %q", err, c.want)
				}
			})
		}
	}
}
