package chain

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/sys/user"

	"github.com/graft-cnb/graft/dockerfile"
)

// Placeholders stand for the numbers of a user and a group that can only be
// looked up once an engine is there. No image uses them.
const (
	placeholderUser  = "4294967289"
	placeholderGroup = "4294967288"
)

// ids are user_id and group_id for the next Dockerfile (image_extension.md,
// "Phase: Extension"): the numbers of User of the image so far. A name is looked
// up in that image. Without a group it is the image's CNB_GROUP_ID that counts;
// without that the group is empty.
func (p *plan) ids(ctx context.Context, env environment) (uid, gid string, err error) {
	name, group, hasGroup := strings.Cut(p.image.Config.User, ":")
	switch {
	case name == "" || name == "root":
		uid = "0"
	case isNumber(name):
		if uid, err = p.number(name); err != nil {
			return "", "", err
		}
	default:
		if uid, err = p.lookup(ctx, env, passwdFile, name, placeholderUser); err != nil {
			return "", "", err
		}
	}
	switch {
	case !hasGroup || group == "":
		gid = p.env("CNB_GROUP_ID")
	case isNumber(group):
		if gid, err = p.number(group); err != nil {
			return "", "", err
		}
	default:
		if gid, err = p.lookup(ctx, env, "/etc/group", group, placeholderGroup); err != nil {
			return "", "", err
		}
	}
	return uid, gid, nil
}

// number is a part of User of the image so far that is a number.
func (p *plan) number(text string) (string, error) {
	if n, err := strconv.Atoi(text); err != nil || !possible(n) && !slices.Contains(p.placeholders, text) {
		return "", fmt.Errorf("USER %s of the image so far: %s is no number that a user or a group can have", p.image.Config.User, text)
	}
	return text, nil
}

// lookup finds the number of a name in a file of the image so far.
func (p *plan) lookup(ctx context.Context, env environment, file, name, placeholder string) (string, error) {
	if env.readFile == nil {
		p.provisional = true
		p.placeholders = append(p.placeholders, placeholder)
		return placeholder, nil
	}
	id, found, err := lookupName(ctx, env, p.state, file, name)
	if err != nil {
		return "", err
	}
	if !found {
		return "", fmt.Errorf("USER %s of the image so far: %s has no %q", p.image.Config.User, file, name)
	}
	if !possible(id) {
		return "", fmt.Errorf("USER %s of the image so far: %s says that %q is %d, which is no number that a user or a group can have", p.image.Config.User, file, name, id)
	}
	return strconv.Itoa(id), nil
}

// lookupName reads /etc/passwd or /etc/group of a state.
func lookupName(ctx context.Context, env environment, st llb.State, file, name string) (id int, found bool, err error) {
	data, err := env.readFile(ctx, st, file)
	if err != nil {
		return 0, false, fmt.Errorf("look up %q: read %s of the image: %w", name, file, err)
	}
	return parseName(data, file, name)
}

// parseName finds a name in the content of /etc/passwd or /etc/group.
func parseName(data []byte, file, name string) (id int, found bool, err error) {
	if file == "/etc/group" {
		groups, err := user.ParseGroup(bytes.NewReader(data))
		if err != nil {
			return 0, false, fmt.Errorf("parse %s of the image: %w", file, err)
		}
		for _, g := range groups {
			if g.Name == name {
				return g.Gid, true, nil
			}
		}
		return 0, false, nil
	}
	users, err := user.ParsePasswd(bytes.NewReader(data))
	if err != nil {
		return 0, false, fmt.Errorf("parse %s of the image: %w", file, err)
	}
	for _, u := range users {
		if u.Name == name {
			return u.Uid, true, nil
		}
	}
	return 0, false, nil
}

// env is a variable of the image so far.
func (p *plan) env(name string) string {
	for _, kv := range p.image.Config.Env {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v
		}
	}
	return ""
}

// userName is the user, without the group, that the image ends with.
func (p *plan) userName() string {
	name, _, _ := strings.Cut(p.image.Config.User, ":")
	return name
}

// namedUser tells whether the user that a run image ends with is a name that has
// to be looked up in the result.
func (p *plan) namedUser() bool {
	name := p.userName()
	return p.checksUser && name != "" && name != "root" && !isNumber(name)
}

// check judges what is known of the extended image before anything runs: a run
// image must not end as root (image_extension.md, "Phase: Extension").
func (r *run) check(p *plan) error {
	if !p.checksUser || p.guessed() {
		return nil
	}
	name := p.userName()
	number, err := strconv.Atoi(name)
	if name == "" || name == "root" || err == nil && number == 0 {
		return r.rootError(p, fmt.Sprintf("USER %q is root", p.image.Config.User))
	}
	if err == nil && !possible(number) {
		return r.rootError(p, fmt.Sprintf("USER %q is no number that a user can have", p.image.Config.User))
	}
	return nil
}

// checkNamedUser judges a user that has a name, given the result's /etc/passwd.
func (r *run) checkNamedUser(p *plan, passwd []byte) error {
	uid, found, err := parseName(passwd, passwdFile, p.userName())
	if err != nil {
		return err
	}
	if !found {
		return r.rootError(p, fmt.Sprintf("USER %q is not in /etc/passwd of the extended image, and might be anyone", p.image.Config.User))
	}
	return r.checkAccount(p, uid)
}

// checkAccount judges the number that an account of the extended image has.
func (r *run) checkAccount(p *plan, uid int) error {
	switch {
	case uid == 0:
		return r.rootError(p, fmt.Sprintf("USER %q has uid 0 in /etc/passwd of the extended image: it is root", p.image.Config.User))
	case !possible(uid):
		return r.rootError(p, fmt.Sprintf("USER %q has uid %d in /etc/passwd of the extended image, which is no number that a user can have", p.image.Config.User, uid))
	}
	return nil
}

// rootError blames the Dockerfile that set the user last, or the base.
func (r *run) rootError(p *plan, what string) error {
	const demand = "an extended run image must not end as root; end the last run.Dockerfile with `USER ${user_id}:${group_id}` or the number of another user"
	if p.userStep != nil {
		return p.userStep.problem(p.userLine, p.userTrigger+what+", and "+demand, nil)
	}
	return fmt.Errorf("base image %q: %s, no Dockerfile sets another, and %s", r.app.Base, what, demand)
}

// guessed tells whether the user that the image ends with rests on a
// placeholder.
func (p *plan) guessed() bool {
	for _, part := range strings.Split(p.image.Config.User, ":") {
		if slices.Contains(p.placeholders, part) {
			return true
		}
	}
	return false
}

// checksUser tells whether the user of the extended image matters: a run image
// that is extended at all.
func (r *run) checksUser() bool {
	return r.app.Kind == dockerfile.KindRun && len(r.steps) > 0
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}
