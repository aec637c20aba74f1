package platform

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecret is the size in bytes that BuildKit takes a secret to.
const maxSecret = 500 << 10

// secrets reads what the inputs say of secrets, by id. No error repeats a value.
func secrets(v *values, env func(string) string) map[string][]byte {
	all := map[string][]byte{}
	for n, spec := range v.many["secret"] {
		id, value, err := secret(spec, env)
		if _, twice := all[id]; err == nil && twice {
			err = fmt.Errorf("the id %q is given twice", id)
		}
		if err != nil {
			v.fail(fmt.Errorf("%s: number %d: %w", v.source["secret"], n+1, err))
			return nil
		}
		all[id] = value
	}
	return all
}

// secret reads one, written as with docker build: id=ID,src=FILE or
// id=ID,env=VARIABLE. Without either the id names the variable.
func secret(spec string, env func(string) string) (id string, value []byte, err error) {
	id, file, variable, err := parseSecret(spec)
	switch {
	case err != nil:
		return "", nil, err
	case file != "":
		value, err = readSecret(file)
	default:
		value = []byte(env(variable))
		// Of an empty one only the process's own environment tells whether it is set.
		if _, set := os.LookupEnv(variable); len(value) == 0 && !set {
			err = fmt.Errorf("the variable %s is not set", variable)
		}
	}
	if err == nil && len(value) > maxSecret {
		err = fmt.Errorf("it is larger than the %d bytes that BuildKit takes", maxSecret)
	}
	if err != nil {
		return "", nil, fmt.Errorf("the secret %q: %w", id, err)
	}
	return id, value, nil
}

// secretVariables are the variables that hold secrets, of those that can be understood.
func secretVariables(v *values) []string {
	var names []string
	for _, spec := range v.many["secret"] {
		if _, _, variable, err := parseSecret(spec); err == nil && variable != "" {
			names = append(names, variable)
		}
	}
	return names
}

// parseSecret takes one apart: either a file or a variable holds the secret.
func parseSecret(spec string) (id, file, variable string, err error) {
	for _, field := range strings.Split(spec, ",") {
		key, text, ok := strings.Cut(field, "=")
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "id":
			id = text
		case "src", "source":
			file = text
		case "env":
			variable = text
		case "type":
			ok = ok && (text == "file" || text == "env")
		default:
			ok = false
		}
		if !ok || text == "" {
			// What is not understood may be the secret itself.
			return "", "", "", errors.New("this is not of the form id=ID,src=FILE or id=ID,env=VARIABLE")
		}
	}
	switch {
	case id == "":
		return "", "", "", errors.New("the id is missing; write id=ID,src=FILE or id=ID,env=VARIABLE")
	case file != "" && variable != "":
		return "", "", "", fmt.Errorf("the secret %q has both src and env; give one", id)
	case file == "" && variable == "":
		variable = id
	}
	return id, file, variable, nil
}

// readSecret reads a file, but no more of one that is too large than shows it.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSecret+1))
}
