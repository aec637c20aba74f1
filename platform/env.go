package platform

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
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
	own            map[string]string
	user, operator []envFile
}

// EnvSources is what the environment of modules is made of.
type EnvSources struct {
	// Environ looks up a variable of the program's own environment.
	Environ func(string) string
	// PlatformDir holds the user's variables in env/.
	PlatformDir string
	// BuildConfigDir holds the operator's variables in env/; empty where the
	// Platform API has none.
	BuildConfigDir string
}

// Read reads what the environment of modules is made of. If the program became
// another user, HOME and USER are that user's. It is an error that carries
// CodeFailed if a variable's file cannot be read.
func (s EnvSources) Read(account Account) (ModuleEnv, error) {
	env := ModuleEnv{own: map[string]string{}}
	for _, name := range slices.Concat(inherited, pathVariables) {
		if value := s.Environ(name); value != "" {
			env.own[name] = value
		}
	}
	if account != (Account{}) {
		env.own["HOME"] = account.Home
		if account.Name != "" {
			env.own["USER"] = account.Name
		}
	}
	for dir, files := range map[string]*[]envFile{s.PlatformDir: &env.user, s.BuildConfigDir: &env.operator} {
		if dir == "" {
			continue
		}
		var err error
		if *files, err = readEnvDir(filepath.Join(dir, "env")); err != nil {
			return ModuleEnv{}, WithCode(CodeFailed, fmt.Errorf("environment of the modules: %w", err))
		}
	}
	return env, nil
}

// For is the environment of a module: what is inherited, then the user's
// variables unless the module wants a clear environment, then the operator's.
func (e ModuleEnv) For(clearEnv bool) map[string]string {
	vars := maps.Clone(e.own)
	if vars == nil {
		vars = map[string]string{}
	}
	if !clearEnv {
		for _, f := range e.user {
			value := f.value
			if slices.Contains(pathVariables, f.name) {
				value = join(value, string(os.PathListSeparator), vars[f.name])
			}
			vars[f.name] = value
		}
	}
	applyOperator(e.operator, vars)
	return vars
}

// envFile is a file that sets or changes a variable.
type envFile struct{ name, value string }

// applyOperator changes vars by the files of <build-config>/env: the suffix says
// how, and without one the value is a default (buildpack.md, "Environment
// Variable Modification Rules"; platform.md, "Operator-Defined Variables").
func applyOperator(files []envFile, vars map[string]string) {
	delimiters := map[string]string{}
	for _, f := range files {
		if name, suffix, _ := strings.Cut(f.name, "."); suffix == "delim" {
			delimiters[name] = f.value
		}
	}
	for _, f := range files {
		name, suffix, _ := strings.Cut(f.name, ".")
		switch suffix {
		case "", "default":
			if vars[name] == "" {
				vars[name] = f.value
			}
		case "override":
			vars[name] = f.value
		case "append":
			vars[name] = join(vars[name], delimiters[name], f.value)
		case "prepend":
			vars[name] = join(f.value, delimiters[name], vars[name])
		}
	}
}

// join puts a delimiter between two values, where both are there.
func join(a, delimiter, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + delimiter + b
}

// readEnvDir reads every file in dir, by name. Links are followed, since
// platforms mount secrets that way; a directory that is not there has none.
func readEnvDir(dir string) ([]envFile, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []envFile
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		value, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		files = append(files, envFile{entry.Name(), string(value)})
	}
	return files, nil
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
