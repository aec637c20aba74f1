package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// inherited are the variables that modules get from the program's own
// environment: those that describe the machine and its way to the network.
var inherited = []string{
	"CNB_STACK_ID", "HOSTNAME", "HOME",
	"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy",
}

// pathVariables are lists of directories, to which a user's value is prepended
// (platform.md, "POSIX Path Variables").
var pathVariables = []string{"PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "PKG_CONFIG_PATH"}

// ModuleEnv makes the environment of modules (platform.md, "Buildpack
// Environment").
type ModuleEnv struct {
	// Environ looks up a variable of the program's own environment.
	Environ func(string) string
	// Account is the user that the program became, if it did: HOME and USER are
	// that user's.
	Account Account
	// PlatformDir holds the user's variables in env/.
	PlatformDir string
	// BuildConfigDir holds the operator's variables in env/; empty where the
	// Platform API has none.
	BuildConfigDir string
}

// For is the environment of a module: what is inherited, then the user's
// variables unless the module wants a clear environment, then the operator's.
// It is an error if a variable's file cannot be read.
func (e ModuleEnv) For(clearEnv bool) (map[string]string, error) {
	vars := map[string]string{}
	for _, name := range slices.Concat(inherited, pathVariables) {
		if value := e.lookup(name); value != "" {
			vars[name] = value
		}
	}
	if e.Account != (Account{}) {
		vars["HOME"], vars["USER"] = e.Account.Home, e.Account.Name
	}
	if !clearEnv && e.PlatformDir != "" {
		err := eachEnvFile(filepath.Join(e.PlatformDir, "env"), func(name, value string) {
			if slices.Contains(pathVariables, name) {
				value = join(value, string(os.PathListSeparator), vars[name])
			}
			vars[name] = value
		})
		if err != nil {
			return nil, fmt.Errorf("user's environment: %w", err)
		}
	}
	if e.BuildConfigDir != "" {
		if err := applyOperatorDir(filepath.Join(e.BuildConfigDir, "env"), vars); err != nil {
			return nil, fmt.Errorf("operator's environment: %w", err)
		}
	}
	return vars, nil
}

func (e ModuleEnv) lookup(name string) string {
	if e.Environ == nil {
		return ""
	}
	return e.Environ(name)
}

// applyOperatorDir changes vars by the files of <build-config>/env: the suffix
// says how, and without one the value is a default (buildpack.md, "Environment
// Variable Modification Rules"; platform.md, "Operator-Defined Variables").
func applyOperatorDir(dir string, vars map[string]string) error {
	delimiters := map[string]string{}
	err := eachEnvFile(dir, func(file, value string) {
		if name, suffix, _ := strings.Cut(file, "."); suffix == "delim" {
			delimiters[name] = value
		}
	})
	if err != nil {
		return err
	}
	return eachEnvFile(dir, func(file, value string) {
		name, suffix, _ := strings.Cut(file, ".")
		switch suffix {
		case "", "default":
			if vars[name] == "" {
				vars[name] = value
			}
		case "override":
			vars[name] = value
		case "append":
			vars[name] = join(vars[name], delimiters[name], value)
		case "prepend":
			vars[name] = join(value, delimiters[name], vars[name])
		}
	})
}

// join puts a delimiter between two values, where both are there.
func join(a, delimiter, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + delimiter + b
}

// eachEnvFile calls f with the name and the contents of every file in dir, by
// name. Links are followed, since platforms mount secrets that way; a
// directory that is not there has none.
func eachEnvFile(dir string, f func(name, value string)) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		file := filepath.Join(dir, entry.Name())
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		value, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		f(entry.Name(), string(value))
	}
	return nil
}

// EnvList is an environment as processes take it, in a fixed order.
func EnvList(vars map[string]string) []string {
	list := make([]string, 0, len(vars))
	for name, value := range vars {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}
