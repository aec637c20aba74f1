package platform

// BuilderInputs are what the extender tells the builder that it hands over to
// (platform.md, "builder").
type BuilderInputs struct {
	// Program is the builder.
	Program string
	// User is whom it runs as.
	User BuildUser
	// Variables are its inputs, by the names of their variables. Which flags it knows
	// depends on its version, and a variable that it does not know does no harm.
	Variables map[string]string
	// Withheld are variables of the extender that it does not get, since they hold
	// credentials.
	Withheld []string
	// Untouched are the paths of the extender's inputs and of its cache, which are no part
	// of the image even where they lie in its root filesystem.
	Untouched []string
}

// builderFlags are the inputs that extender and builder share.
var builderFlags = []string{"analyzed", "app", "build-config", "buildpacks", "group", "layers", "log-level", "no-color", "plan", "platform"}

// withheld are the variables of inputs that may hold credentials.
var withheld = []string{"CNB_REGISTRY_AUTH", "CNB_SECRETS", "CNB_CACHE_FROM", "CNB_CACHE_TO"}

// builderInputs are what the builder gets of the extender's inputs.
func builderInputs(v *values, env func(string) string, stateDir string) BuilderInputs {
	in := BuilderInputs{
		Program:   v.path("builder"),
		User:      BuildUser{UID: v.id("uid"), GID: v.id("gid")},
		Variables: map[string]string{"CNB_PLATFORM_API": v.api.Version},
		Withheld:  append(secretVariables(v), withheld...),
		Untouched: []string{"/dev", "/proc", "/sys", stateDir},
	}
	for _, flag := range builderFlags {
		input := extenderInput(flag)
		if v.api.minor < input.since {
			continue
		}
		value := v.text(flag)
		if input.kind == path {
			value = v.path(flag)
		}
		if value != "" {
			in.Variables[input.variable] = value
		}
	}
	if value := env("CNB_EXEC_ENV"); value != "" {
		in.Variables["CNB_EXEC_ENV"] = value
	}
	for _, flag := range []string{"analyzed", "app", "extended", "generated", "group", "kaniko-dir", "layers", "plan", "platform"} {
		if place := v.path(flag); place != "" {
			in.Untouched = append(in.Untouched, place)
		}
	}
	return in
}

// extenderInput is the input with that flag.
func extenderInput(flag string) input {
	for _, in := range extenderProgram.inputs {
		if in.flag == flag {
			return in
		}
	}
	panic("the extender has no input " + flag)
}
